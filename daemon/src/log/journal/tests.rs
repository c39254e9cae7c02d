use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::{Dispatch, dispatcher, info, warn};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::log::{QUEUE, queue};

/// The fields of a datagram, as journald reads them.
fn fields(mut datagram: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = Vec::new();
    while let Some(end) = datagram.iter().position(|&byte| byte == b'\n') {
        let (name, rest) = datagram.split_at(end);
        let (length, rest) = rest[1..].split_first_chunk::<8>().unwrap();
        let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        assert_eq!(rest[0], b'\n');
        fields.push((text(name), text(value)));
        datagram = &rest[1..];
    }
    assert!(datagram.is_empty());
    fields
}

fn logging(layer: impl Layer<tracing_subscriber::Registry> + Send + Sync, work: impl FnOnce()) {
    dispatcher::with_default(&Dispatch::new(tracing_subscriber::registry().with(layer)), work);
}

#[test]
fn an_event_is_a_datagram_of_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    assert!(Socket::open(&path).is_err(), "nobody listens");
    let journald = UnixDatagram::bind(&path).unwrap();
    let socket = Mutex::new(Socket::open(&path).unwrap());
    logging(Journal::new(socket), || {
        warn!(see = "link-down", id = %"a-1", total_us = 7, status = "ok", x.y = ?Some(1), "two\nlines = {}", 2);
    });
    let mut buffer = vec![0; 4_096];
    assert_eq!(journald.recv(&mut buffer).unwrap(), 0, "the question whether it is there");
    let length = journald.recv(&mut buffer).unwrap();
    let fields = fields(&buffer[..length]);
    for (name, value) in [
        ("PRIORITY", "4"),
        ("NOWD_PART", module_path!()),
        ("MESSAGE", "two\nlines = 2 (total us 7, status ok, x.y Some(1))"),
        ("NOWD_SEE", "link-down"),
        ("MESSAGE_ID", "ef90b37e423e5cc2988aec36b4c04df6"),
        ("NOWD_ID", "a-1"),
        ("NOWD_TOTAL_US", "7"),
        ("NOWD_STATUS", "ok"),
        ("NOWD_X_Y", "Some(1)"),
    ] {
        assert!(fields.contains(&(name.into(), value.into())), "{name}={value} is not in {fields:?}");
    }
}

/// `journalctl` shows the message alone.
#[test]
fn a_message_says_what_it_is_about() {
    let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
    let message = |work: &dyn Fn()| {
        lines.lock().unwrap().clear();
        let sink = Arc::clone(&lines);
        logging(Journal::new(move || Sink(Arc::clone(&sink))), work);
        let fields = fields(&lines.lock().unwrap());
        let mut messages = fields.iter().filter(|(name, _)| name == "MESSAGE");
        let (_, message) = messages.next().unwrap();
        assert!(messages.next().is_none(), "one message: {fields:?}");
        message.clone()
    };
    let cases: [(&dyn Fn(), &str); 7] = [
        (&|| info!(reason = "a\u{1b}b\nc", "no"), "no (reason a b c)"),
        (&|| info!("it says: {}", "a\u{1b}[2J\rb\nc"), "it says: a [2J b\nc"),
        (
            &|| info!(port = "relay", device = "/dev/x", "the port is open"),
            "the port is open (port relay, device /dev/x)",
        ),
        (&|| info!(port = "relay", days_left = 3, "relay: ends in 3 days"), "relay: ends in 3 days"),
        (&|| info!(lost = 3, "30 lines"), "30 lines (lost 3)"),
        (&|| info!(session = "s", id = "i", see = "x", "the link is up"), "the link is up"),
        (
            &|| info!(kind = "call", method = "gate.open", caller = "ops", "call gate.open: ok"),
            "call gate.open: ok",
        ),
    ];
    for (work, expected) in cases {
        assert_eq!(message(work), expected);
    }
    let long = "ä".repeat(10_000);
    assert!(message(&|| info!(reason = long, "no")).len() < 400);
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(datagram);
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// More than socket and queue hold, and nobody who reads: every event returns, and what is lost is counted and told.
#[test]
fn a_journald_that_stands_still_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let journald = UnixDatagram::bind(&path).unwrap();
    let (datagrams, guard) = queue(Socket::open(&path).unwrap());
    let lost = datagrams.error_counter();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(Journal::new(datagrams)));
    dispatcher::with_default(&dispatch, || {
        let text = "x".repeat(1_000);
        // The kernel keeps a few hundred datagrams at most, whatever their size.
        for _ in 0..QUEUE + 2_000 {
            info!("{text}");
        }
    });
    let so_far = lost.dropped_lines();
    assert!(so_far > 0, "nothing was lost");
    // It goes on when somebody reads again; what was not lost comes.
    journald.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut buffer = vec![0; 4_096];
    let mut came = 0;
    while came + so_far < QUEUE + 2_000 {
        let length = journald.recv(&mut buffer).expect("what was not lost comes");
        came += usize::from(length > 0);
    }
    drop(guard);
}

/// Takes nothing until the gate's other end is dropped; then keeps what comes.
struct Gate(std::sync::mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

impl Write for Gate {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.recv().ok();
        self.1.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes has no subscriber of its own here, so the whole process gets one: no other test logs globally.
#[test]
fn what_was_lost_is_told_when_there_is_room_again() {
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let (open, gate) = std::sync::mpsc::channel();
    let (lines, _guard) = queue(Gate(gate, Arc::clone(&heard)));
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone());
    dispatcher::set_global_default(Dispatch::new(tracing_subscriber::registry().with(layer))).unwrap();
    while lines.error_counter().dropped_lines() < 100 {
        warn!("one of many");
    }
    drop(open);
    let bound = nowd_plugin::Deadline::after(Duration::from_secs(30));
    let told =
        || String::from_utf8_lossy(&heard.lock().unwrap()).contains("lines of the log were lost so far");
    while !told() {
        assert!(bound.check().is_ok(), "nothing was told of the lines that were lost");
        std::thread::sleep(Duration::from_millis(5));
    }
}
