//! The floor: what the parts cost that nowd is made of, with nothing of nowd between them.
//!
//! - *MQTT echo*: the load generator publishes a request's bytes on a request's topic; a process of its own with a connection
//!   of its own sends the same bytes back on the reply's topic. Both connections are TLS with client certificates, to the same
//!   mosquitto, under the same access rules; both hops have the same quality of service. The load generator and its
//!   connection are those with which gateways are called, and so is the payload but for its `not_after`. The far end is rumqttc's event loop over the same TLS stream
//!   as the gateway's (`echo-rumqttc`, which the targets count from), or nothing but packets and TLS (`echo-bare`).
//! - *D-Bus call*: zbus in the load generator calls the very method that the gateway calls, of the same service process, over
//!   the same dbus-daemon.
//! - *pty echo*: the load generator writes the line that the gateway writes to another line of the same device process, and
//!   reads the answer.
//! - *on its way*: `echo-bare` that makes that very D-Bus call, or writes that line, before it sends a message back. Measured one by
//!   one, all that takes part in MQTT is awake during the echo, and all that takes part in D-Bus during the call; here, as in a
//!   gateway, each part has fallen asleep while the others worked.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::fs::{Mode, OFlags, open};
use tokio::io::unix::AsyncFd;
use zbus::Connection;

use crate::drive::Metronome;
use crate::measure::{SECOND, Times, now};

/// The bare D-Bus call.
#[derive(Debug)]
pub(crate) struct Dbus(Connection);

impl Dbus {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        Ok(Self(zbus::connection::Builder::address(address).build().await?))
    }

    /// One call after the other.
    pub(crate) async fn alone(&self, calls: u32) -> anyhow::Result<Times> {
        alone(calls, async |number| self.once(number).await).await
    }

    /// One call after the other at this pace.
    pub(crate) async fn paced(&self, rate: u64, lasts: u64) -> anyhow::Result<Times> {
        paced(rate, lasts, async |number| self.once(number).await).await
    }

    /// One call.
    pub(crate) async fn once(&self, number: u32) -> anyhow::Result<()> {
        let (name, interface) = (Some("com.example.Bench"), Some("com.example.Bench1"));
        let reply = self.0.call_method(name, "/com/example/bench", interface, "Set", &(number,)).await?;
        let back: u32 = reply.body().deserialize()?;
        ensure!(back == number, "the service gave back {back} for {number}");
        Ok(())
    }
}

/// The bare echo at a serial line.
#[derive(Debug)]
pub(crate) struct Line(AsyncFd<OwnedFd>);

impl Line {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let line = open(path, flags, Mode::empty()).context("the serial line cannot be opened")?;
        #[allow(deprecated, reason = "its successor is unsafe to call; an `OwnedFd` keeps its file open")]
        let line = AsyncFd::new(line)?;
        Ok(Self(line))
    }

    /// One line after the other.
    pub(crate) async fn alone(&self, calls: u32) -> anyhow::Result<Times> {
        alone(calls, async |number| self.once(number).await).await
    }

    /// One line after the other at this pace.
    pub(crate) async fn paced(&self, rate: u64, lasts: u64) -> anyhow::Result<Times> {
        paced(rate, lasts, async |number| self.once(number).await).await
    }

    /// One line, and its answer.
    pub(crate) async fn once(&self, number: u32) -> anyhow::Result<()> {
        let (line, right) = (format!("SET {number}\r\n"), format!("OK {number}\r\n"));
        let answer = self.exchange(line.as_bytes()).await?;
        ensure!(answer == right.as_bytes(), "the device answered {answer:?}");
        Ok(())
    }

    async fn exchange(&self, line: &[u8]) -> anyhow::Result<Vec<u8>> {
        // So short a line fits the kernel's buffer at once.
        let written = rustix::io::write(self.0.get_ref(), line)?;
        ensure!(written == line.len(), "the serial line takes nothing");
        let mut answer = Vec::new();
        while answer.last() != Some(&b'\n') {
            let mut guard = self.0.readable().await?;
            let mut chunk = [0; 64];
            if let Ok(read) = guard.try_io(|line| Ok(rustix::io::read(line, &mut chunk)?)) {
                let len = read?;
                ensure!(len > 0, "the device is gone");
                answer.extend(chunk.get(..len).unwrap_or_default());
            }
        }
        Ok(answer)
    }
}

async fn alone(calls: u32, once: impl AsyncFn(u32) -> anyhow::Result<()>) -> anyhow::Result<Times> {
    let mut times = Times::new()?;
    for number in 0..calls {
        let begun = now();
        once(number).await?;
        times.record(now().saturating_sub(begun));
    }
    Ok(times)
}

/// Times count from when each was begun, as those of calls through a gateway at that pace do.
async fn paced(
    rate: u64,
    lasts: u64,
    once: impl AsyncFn(u32) -> anyhow::Result<()>,
) -> anyhow::Result<Times> {
    let (mut times, mut metronome) = (Times::new()?, Metronome::new()?);
    let begun = now();
    for number in 1..=u32::try_from(rate * lasts / SECOND)? {
        metronome.at(begun + u64::from(number) * SECOND / rate).await?;
        let begun = now();
        once(number).await?;
        times.record(now().saturating_sub(begun));
    }
    Ok(times)
}
