//! Logs: to journald when started by systemd, as text or JSON to standard error otherwise.
//!
//! Either may stand still: a pipe that nobody reads, a journald that hangs. So lines go there through a bounded queue
//! and a thread of its own. What does not fit is dropped, counted, and told when there is room again. Nobody who logs
//! ever waits.

use std::fs::File;
use std::io::{self, IsTerminal, Write, stderr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::warn;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{Filtered, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{ConfigError, LogConfig, LogFormat};

mod journal;

use journal::{Journal, Socket};

/// What counts the lines that this process has lost.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// What decides which parts log what.
static FILTER: OnceLock<reload::Handle<Filtering, Registry>> = OnceLock::new();

type Filtering = Filtered<Box<dyn Layer<Registry> + Send + Sync>, Targets, Registry>;

/// How many lines may wait to be written.
const QUEUE: usize = 4_096;

/// How long the end of the process waits for lines that are still to be written.
const FAREWELL: Duration = Duration::from_millis(100);

/// Writes what is left when it is dropped, if that can be done soon.
#[derive(Debug)]
pub(crate) struct Lines(Option<WorkerGuard>);

/// Starts logging for the process. Does nothing if the process already logs.
pub(crate) fn start(config: &LogConfig) -> Result<Lines, ConfigError> {
    let targets = check(config)?;
    let (layer, lines) = layer(config.format);
    // A process that already logs keeps doing so its own way.
    let (layer, handle) = reload::Layer::new(layer.with_filter(targets));
    if tracing_subscriber::registry().with(layer).try_init().is_ok() {
        FILTER.get_or_init(|| handle);
    }
    Ok(lines)
}

/// Other parts log, or less of them, from here on. Where lines go to stays as it was at the start of the process.
pub(crate) fn filter(config: &LogConfig) {
    if let (Ok(targets), Some(handle)) = (check(config), FILTER.get()) {
        // Without a subscriber nobody hears anything anyway.
        drop(handle.modify(|layer| *layer.filter_mut() = targets));
    }
}

/// Which parts log what.
pub(crate) fn check(config: &LogConfig) -> Result<Targets, ConfigError> {
    let error = || ConfigError::Value {
        key: "log.level",
        message: "must be `error`, `warn`, `info`, `debug` or `trace`, or such as `info,nowd_link=debug`"
            .into(),
    };
    // By itself a word that is no level would be taken for the name of a part.
    let is_level = |word: &str| word.contains('=') || word.trim().parse::<LevelFilter>().is_ok();
    if !config.level.split(',').all(is_level) {
        return Err(error());
    }
    config.level.parse().map_err(|_| error())
}

fn layer(format: LogFormat) -> (Box<dyn Layer<Registry> + Send + Sync>, Lines) {
    // systemd sets it for what it connects to the journal.
    if format == LogFormat::Auto
        && std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(socket) = Socket::open(Path::new(journal::SOCKET))
    {
        let (datagrams, lines) = queue(socket);
        return (Journal::new(datagrams).boxed(), lines);
    }
    let (writer, lines) = queue(stderr());
    let layer = fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text | LogFormat::Auto => layer.with_ansi(stderr().is_terminal()).boxed(),
    };
    (layer, lines)
}

/// Whether systemd brings what is written there into the journal: it says device and inode of what it has connected.
pub(crate) fn is_journal(output: &impl AsFd) -> bool {
    let Some(said) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let about = output.as_fd().try_clone_to_owned().and_then(|copy| File::from(copy).metadata());
    about.is_ok_and(|about| said.to_str() == Some(&format!("{}:{}", about.dev(), about.ino())))
}

/// How many lines this process has lost.
pub(crate) fn lost() -> usize {
    LOST.get().map_or(0, ErrorCounter::dropped_lines)
}

/// A queue before `output`, whose near end never waits.
fn queue(output: impl Write + Send + 'static) -> (NonBlocking, Lines) {
    let lost = Arc::new(OnceLock::new());
    let output = Telling { output, lost: Arc::clone(&lost), told: 0 };
    let (lines, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).finish(output);
    // Set once, and nobody else has it.
    drop(lost.set(lines.error_counter()));
    LOST.get_or_init(|| lines.error_counter());
    (lines, Lines(Some(guard)))
}

/// Tells what was lost, as a line of its own, after a line that got through.
struct Telling<W> {
    output: W,
    lost: Arc<OnceLock<ErrorCounter>>,
    told: usize,
}

impl<W: Write> Write for Telling<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.output.write(line)?;
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        if lost > self.told {
            self.told = lost;
            // Goes through the queue like any other, and would only be counted if that is full.
            warn!(
                see = "log-lines-lost",
                lost,
                "lines of the log were lost so far, because they came faster than they could be written"
            );
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let guard = self.0.take();
        let (done, ended) = sync_channel::<()>(0);
        // The guard waits longer for a log that is wedged than a process that was told to stop may take.
        let waiting = std::thread::Builder::new().spawn(move || {
            drop(guard);
            drop(done);
        });
        if waiting.is_ok() {
            // Nothing is ever sent: the thread's end is heard.
            ended.recv_timeout(FAREWELL).ok();
        }
    }
}
