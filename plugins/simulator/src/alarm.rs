//! An alarm panel with eight zones on a serial line: lines of text, ended by CR and LF. Knows nothing of nowd.
//!
//! `ARM 3` answers `OK armed`, `SILENCE 3` answers `OK silent`, `STATUS 3` answers `OK` and the zone's state (`idle`
//! at first), `HANG` is never answered. A zone that is not there is `ERR no such zone`, anything else
//! `ERR unknown command`.

mod pty;

use std::future::pending;
use std::io;
use std::time::Duration;

use nowd_plugin::CancellationToken;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Interval, MissedTickBehavior, interval};

pub use pty::{PtyMaster, on_pty};

/// How many zones the panel has; they count from 1.
pub const ZONES: usize = 8;
/// The longest command, in bytes; a longer one is `ERR unknown command`.
const LONGEST_COMMAND: usize = 128;

/// Answers commands on `stream` until it ends, fails, or `stop` is raised.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, stop: CancellationToken) -> io::Result<()> {
    run(stream, None, stop).await
}

/// Like [`serve`], and sends a line `EVENT` with a number at once and then each `every` (longer than 0), as panels
/// do that nobody asked.
pub async fn serve_with_events(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    every: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut events = interval(every.max(Duration::from_millis(1)));
    events.set_missed_tick_behavior(MissedTickBehavior::Skip);
    run(stream, Some(events), stop).await
}

async fn run(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut events: Option<Interval>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut panel = Panel::default();
    let mut command = Vec::new();
    let mut chunk = [0; 256];
    let mut number = 0_u64;
    loop {
        let mut answer = Vec::new();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = next(events.as_mut()) => {
                number += 1;
                answer.extend_from_slice(format!("EVENT {number}\r\n").as_bytes());
            }
            len = stream.read(&mut chunk) => {
                let len = len?;
                if len == 0 {
                    return Ok(());
                }
                for byte in chunk.get(..len).unwrap_or_default() {
                    if *byte != b'\n' {
                        if command.len() <= LONGEST_COMMAND {
                            command.push(*byte);
                        }
                        continue;
                    }
                    let line = String::from_utf8_lossy(&command);
                    if let Some(line) = panel.answer(line.trim_end_matches('\r')) {
                        answer.extend_from_slice(format!("{line}\r\n").as_bytes());
                    }
                    command.clear();
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            written = stream.write_all(&answer) => written?,
        }
    }
}

async fn next(events: Option<&mut Interval>) {
    match events {
        Some(events) => {
            events.tick().await;
        }
        None => pending().await,
    }
}

#[derive(Debug)]
struct Panel {
    zones: [&'static str; ZONES],
}

impl Default for Panel {
    fn default() -> Self {
        Self { zones: ["idle"; ZONES] }
    }
}

impl Panel {
    /// The answer to a command; `None`: silence.
    fn answer(&mut self, command: &str) -> Option<String> {
        if command == "HANG" {
            return None;
        }
        let unknown = || Some("ERR unknown command".into());
        if command.len() > LONGEST_COMMAND {
            return unknown();
        }
        let Some((verb, zone)) = command.split_once(' ') else { return unknown() };
        let state = match verb {
            "ARM" => Some("armed"),
            "SILENCE" => Some("silent"),
            "STATUS" => None,
            _ => return unknown(),
        };
        let zone = zone.parse::<usize>().ok().and_then(|zone| self.zones.get_mut(zone.checked_sub(1)?));
        let Some(zone) = zone else { return Some("ERR no such zone".into()) };
        *zone = state.unwrap_or(*zone);
        Some(format!("OK {zone}"))
    }
}

#[cfg(test)]
mod tests;
