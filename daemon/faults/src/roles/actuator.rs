//! The actuators: a service on D-Bus and a device on a serial line, which write down what they do.
//!
//! `Checked` looks at the deadline directly before it acts, as a plugin does; `Plain` and the serial device do not, as
//! services and devices that know nothing of nowd. `how` says how an actuator behaves: `now`; `slow` takes its time before
//! it acts; `busy`, `late` and `hang` act, and answer after a moment, when nobody waits any more, or never; `die-first` and
//! `die-after` end the process before or after acting.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use nowd_testkit::Pty;
use rustix::process::{Signal, getpid, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use zbus::{DBusError, interface};

use crate::act::{Act, Book};
use crate::clock;

/// How long a slow actuator takes.
const SLOW: Duration = Duration::from_millis(120);
/// How long a late one waits with its answer: longer than any budget of the suite.
const LATE: Duration = Duration::from_millis(1_700);
/// The longest line that the device reads, in bytes.
const LONGEST_LINE: usize = 512;

#[derive(Debug, Args)]
pub(crate) struct Actuator {
    pub(super) parent: i32,
    bus: String,
    /// Where to put the link to the serial port
    port: PathBuf,
    /// Where to write down what is done
    book: PathBuf,
}

/// Says `ready` when both are there.
pub(super) fn run(actuator: Actuator) -> anyhow::Result<()> {
    let Actuator { bus, port, book, .. } = actuator;
    let book = Arc::new(Book::open(&book)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let pty = Pty::open();
        let new = port.with_extension("new");
        std::os::unix::fs::symlink(pty.path(), &new)
            .and_then(|()| std::fs::rename(&new, &port))
            .context("the link to the serial port cannot be made")?;
        let _service = zbus::connection::Builder::address(bus.as_str())
            .serve_at("/com/example/arm", Arm { book: Arc::clone(&book) })
            .name("com.example.Arm")
            .build()
            .await?;
        println!("ready");
        device(pty, &book).await
    })
}

/// What the service answers instead of acting.
#[derive(Debug, DBusError)]
#[zbus(prefix = "com.example.Error")]
enum ArmError {
    /// The bus failed.
    #[zbus(error)]
    Bus(zbus::Error),
    /// The deadline has passed: nothing was done.
    TooLate(String),
    /// What was done cannot be written down.
    Broken(String),
}

struct Arm {
    book: Arc<Book>,
}

#[interface(name = "com.example.Arm1")]
impl Arm {
    /// Acts unless the deadline has passed.
    async fn checked(&self, number: u64, id: String, not_after: u64, how: String) -> Result<(), ArmError> {
        before(&how).await;
        let at = clock::now();
        if at >= not_after {
            return Err(ArmError::TooLate("its deadline has passed; nothing was done".into()));
        }
        self.act(&Act { at, number, id, not_after, way: "checked".into() })?;
        after(&how).await;
        Ok(())
    }

    /// Acts.
    async fn plain(&self, number: u64, id: String, not_after: u64, how: String) -> Result<(), ArmError> {
        before(&how).await;
        self.act(&Act { at: clock::now(), number, id, not_after, way: "plain".into() })?;
        after(&how).await;
        Ok(())
    }
}

impl Arm {
    fn act(&self, act: &Act) -> Result<(), ArmError> {
        self.book.write(act).map_err(|error| ArmError::Broken(format!("{error:#}")))
    }
}

async fn before(how: &str) {
    match how {
        "slow" => tokio::time::sleep(SLOW).await,
        "die-first" => die(),
        _ => {}
    }
}

async fn after(how: &str) {
    match how {
        "busy" => tokio::time::sleep(SLOW).await,
        "late" => tokio::time::sleep(LATE).await,
        "hang" => std::future::pending().await,
        "die-after" => die(),
        _ => {}
    }
}

/// As power does that fails: no goodbye, no core file.
fn die() {
    kill_process(getpid(), Signal::KILL).ok();
}

/// The device on the line: `ACT number id not_after how`, answered `OK number`.
async fn device(mut line: Pty, book: &Book) -> anyhow::Result<()> {
    let mut read = Vec::new();
    let mut chunk = [0; 256];
    let mut late: JoinSet<Vec<u8>> = JoinSet::new();
    loop {
        let len = tokio::select! {
            Some(Ok(answer)) = late.join_next() => {
                line.write_all(&answer).await?;
                continue;
            }
            len = line.read(&mut chunk) => len?,
        };
        for byte in chunk.get(..len).unwrap_or_default() {
            if *byte != b'\n' {
                if read.len() < LONGEST_LINE {
                    read.push(*byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&std::mem::take(&mut read)).into_owned();
            let Some((mut act, how)) = frame(&text) else {
                line.write_all(b"ERR\r\n").await?;
                continue;
            };
            before(&how).await;
            act.at = clock::now();
            book.write(&act)?;
            let answer = format!("OK {}\r\n", act.number).into_bytes();
            // The device hears the next frame in any case: it is only its answer that comes late, or never.
            late.spawn(async move {
                after(&how).await;
                answer
            });
        }
    }
}

fn frame(line: &str) -> Option<(Act, String)> {
    let mut words = line.trim_end().split(' ');
    if words.next() != Some("ACT") {
        return None;
    }
    let number = words.next()?.parse().ok()?;
    let id = words.next()?.to_owned();
    let not_after = words.next()?.parse().ok()?;
    let how = words.next()?.to_owned();
    Some((Act { at: 0, number, id, not_after, way: "serial".into() }, how))
}
