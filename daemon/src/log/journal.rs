//! Events as journald takes them: one datagram each, of fields with their lengths.
//!
//! The datagrams go to a writer that must not wait, as the queue of `tracing-appender` does not; the socket is at its
//! other end, on a thread of its own. So a journald that stands still holds up that thread and nothing else. Spans are
//! not written.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use uuid::Uuid;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Writes events into `W`, a datagram at a time.
#[derive(Debug)]
pub(super) struct Journal<W> {
    datagrams: W,
    /// What the journal knows the program by.
    identifier: String,
}

impl<W> Journal<W> {
    /// `datagrams` must take each whole and never wait.
    pub(super) fn new(datagrams: W) -> Self {
        let program = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&program).file_name().unwrap_or_default();
        Self { datagrams, identifier: name.to_string_lossy().into_owned() }
    }
}

impl<S, W> Layer<S> for Journal<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut datagram = Datagram::default();
        datagram.put("PRIORITY", priority(*metadata.level()));
        datagram.put("SYSLOG_IDENTIFIER", &self.identifier);
        datagram.put("NOWD_PART", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            datagram.put("CODE_FILE", file);
            datagram.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut datagram);
        datagram.message();
        // There is nowhere to say that the log does not work.
        self.datagrams.make_writer().write_all(&datagram.bytes).ok();
    }
}

/// The levels of syslog, without those that are not for programs like this one.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// The field of messages that ask for something: under which name the operator's guide has it.
const SEE: &str = "see";

/// The id of a message that the guide has under this name.
fn message_id(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("io.nowd.message.{name}").as_bytes()).simple().to_string()
}

/// The fields that a message does not need to be understood, and those of a call, whose message is made of them.
const ASIDE: [&str; 3] = [SEE, "session", "id"];
const OF_CALLS: &str = "kind";

/// How much of one field goes into the message, in bytes.
const LONGEST: usize = 300;

/// Fields as they go over the socket: name, newline, length (64 bits, little endian), value, newline.
#[derive(Default)]
struct Datagram {
    bytes: Vec<u8>,
    /// The sentence, and what it is about: `journalctl` shows nothing else.
    message: String,
    about: Vec<(&'static str, String)>,
}

impl Datagram {
    fn put(&mut self, name: &str, value: &str) {
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        for part in [name.as_bytes(), b"\n", &length.to_le_bytes(), value.as_bytes(), b"\n"] {
            self.bytes.extend_from_slice(part);
        }
    }

    /// journald takes capital letters, digits and underscores; the prefix keeps our names away from its own.
    fn field(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
            return;
        }
        if !ASIDE.contains(&field.name()) {
            self.about.push((field.name(), value.to_owned()));
        }
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        if field.name() == SEE {
            // By it the journal finds what its catalogue says of the message.
            self.put("MESSAGE_ID", &message_id(value));
        }
        let name: String = "NOWD_".chars().chain(field.name().chars().map(letter)).collect();
        self.put(&name, value);
    }
}

impl Datagram {
    /// The sentence, with what it does not say itself behind it: `the port is open (port relay, device /dev/ttyUSB0)`.
    fn message(&mut self) {
        let mut text = std::mem::take(&mut self.message);
        if self.about.iter().all(|(name, _)| *name != OF_CALLS) {
            let missing = self.about.iter().filter(|(_, value)| value.len() > LONGEST || !says(&text, value));
            let missing = missing.map(|(name, value)| {
                let end = value.floor_char_boundary(LONGEST);
                let (value, more) = value.split_at_checked(end).unwrap_or_default();
                // journalctl shows a message with such a character as a blob.
                let value = value.replace(char::is_control, " ");
                format!("{} {value}{}", name.replace('_', " "), if more.is_empty() { "" } else { "..." })
            });
            let missing: Vec<String> = missing.collect();
            if !missing.is_empty() {
                text = format!("{text} ({})", missing.join(", "));
            }
        }
        // Devices, services and brokers have their words in sentences too. A line's end is none of those characters to journalctl.
        self.put("MESSAGE", &text.replace(|c: char| c.is_control() && c != '\n', " "));
    }
}

/// Whether the sentence has this value, as a word of its own.
fn says(text: &str, value: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(value).any(|(at, _)| {
        let (before, rest) = text.split_at_checked(at).unwrap_or_default();
        !is_part(before.chars().next_back())
            && !is_part(rest.get(value.len()..).and_then(|after| after.chars().next()))
    })
}

impl Visit for Datagram {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // A value that cannot be shown is shown as far as it can.
        write!(text, "{value:?}").ok();
        self.field(field, &text);
    }
}

/// The far end: each write is one datagram, and waits until journald takes it.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Socket {
    /// Says if nobody listens at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // Without fields it is dropped there.
        socket.send_to(&[], path)?;
        Ok(Self { socket, path: path.to_owned() })
    }
}

impl Write for Socket {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        // By its path each time: a journald that was started again is found. One too large to be sent is dropped.
        self.socket.send_to(datagram, &self.path)?;
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
