//! One connection to the nucleus, from dialling to its end.
//!
//! Two tasks, one that reads and one that writes, so that a nucleus that takes nothing hinders no answer, and both end with
//! the handle. Nothing of one connection is kept for the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::environment::{Environment, Token, mistake};
use crate::error::{IpcError, Refusal, line};
use crate::event::Event;
use crate::table::{Table, Told};
use crate::wire::{ACCEPTED, ENDS_STREAM, Frame, Kind, PRELUDE, Prelude};

/// How many frames of ours may wait to be written.
const QUEUE: usize = 64;
/// How many events may wait for [`Connection::next`], each of one frame at most; then nothing more is read. Together with
/// the answers to all streams and the queue this is 40 MiB where every frame is of the longest, which none is.
const EVENTS: usize = 32;
/// How long the reader has for the nucleus's last words when nothing can be written any more.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A ping with more than this is not answered, in bytes: pings cost little.
const LONGEST_PING: usize = 1024;

/// How to reach a nucleus.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Its socket.
    pub socket: PathBuf,
    /// Who we are to it.
    pub token: Token,
    /// How long dialling and being accepted may take together: 10 s.
    pub open_timeout: Duration,
    /// How long each call may take, and each frame, once it has begun, in either direction: 10 s.
    pub answer_timeout: Duration,
}

impl Options {
    /// With the usual bounds.
    #[must_use]
    pub const fn new(socket: PathBuf, token: Token) -> Self {
        let usual = Duration::from_secs(10);
        Self { socket, token, open_timeout: usual, answer_timeout: usual }
    }
}

impl From<&Environment> for Options {
    fn from(environment: &Environment) -> Self {
        Self::new(environment.socket.clone(), environment.token.clone())
    }
}

/// An open connection. Dropped, it is cut at once, and calls under way end with [`crate::CallError::Closed`].
#[derive(Debug)]
pub struct Connection {
    told: mpsc::Receiver<Told>,
    /// Reader and writer. The first that returns ends the connection.
    tasks: JoinSet<IpcError>,
    table: Arc<Table>,
    client: Client,
    /// Why it has ended.
    error: Option<IpcError>,
}

impl Connection {
    /// Dials, shows the token and waits until the nucleus accepts, all within `options.open_timeout`.
    pub async fn open(options: &Options) -> Result<Self, IpcError> {
        tokio::select! {
            // What has come counts, however late this task is woken; so wherever something is waited for here.
            biased;
            opened = Self::begin(options) => opened,
            () = tokio::time::sleep(options.open_timeout) => {
                Err(IpcError::OpenTimeout { after: options.open_timeout })
            }
        }
    }

    async fn begin(options: &Options) -> Result<Self, IpcError> {
        let path = &options.socket;
        if let Some(what) = mistake(path) {
            return Err(IpcError::Path { path: path.clone(), what });
        }
        let dialled = UnixStream::connect(path).await;
        let stream = dialled.map_err(|source| IpcError::Dial { path: path.clone(), source })?;
        let (mut read, mut write) = stream.into_split();
        let connect = Frame {
            kind: Kind::Connect,
            flags: 0,
            stream: 0,
            model: None,
            operation: None,
            payload: json!({"authToken": options.token.expose()}).to_string().into_bytes(),
        };
        write.write_all(&connect.write()?).await.map_err(|_| IpcError::ClosedAtConnect)?;
        accepted(&mut read).await?;

        let table = Arc::new(Table::default());
        let (queue, queued) = mpsc::channel(QUEUE);
        let (tell, told) = mpsc::channel(EVENTS);
        let bound = options.answer_timeout;
        let mut tasks = JoinSet::new();
        let reader = Reader { read, bound, table: Arc::clone(&table), queue: queue.clone(), tell };
        tasks.spawn(reader.run());
        let writer = Writer { write, bound, table: Arc::clone(&table), queued };
        tasks.spawn(writer.run());
        let client = Client::new(Arc::clone(&table), queue, bound);
        Ok(Self { told, tasks, table, client, error: None })
    }

    /// What asks the nucleus; may be cloned.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The next event. It must be called without long pauses: while 32 events wait nothing is read from the nucleus, and
    /// answers that are not read count as missing. So no call may be awaited where this is called, unless in a `select!` or
    /// a task of its own. May be dropped while waiting; nothing is lost.
    ///
    /// An error is the end of this connection; from then on there is only [`IpcError::Closed`].
    pub async fn next(&mut self) -> Result<Event, IpcError> {
        while self.error.is_none() {
            tokio::select! {
                biased;
                Some(told) = self.told.recv() => return Ok(read(told)),
                ended = self.tasks.join_next() => self.error = Some(reason(ended)),
            }
        }
        self.cut();
        // What came in before the end is still told, in its order.
        if let Ok(told) = self.told.try_recv() {
            return Ok(read(told));
        }
        Err(self.error.replace(IpcError::Closed).unwrap_or(IpcError::Closed))
    }

    fn cut(&mut self) {
        self.table.close();
        self.told.close();
        self.tasks.abort_all();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.table.close();
    }
}

fn read(told: Told) -> Event {
    match told {
        Told::Event(subscription, topic, payload) => Event::read(subscription, topic, &payload),
        Told::Ended(subscription, refusal) => Event::Ended { subscription, refusal },
    }
}

fn reason(ended: Option<Result<IpcError, tokio::task::JoinError>>) -> IpcError {
    match ended {
        Some(Ok(error)) => error,
        // A task that panicked or was cut: there is nothing to add.
        Some(Err(_)) | None => IpcError::Closed,
    }
}

/// Waits for the nucleus's yes, for as long as opening may take.
async fn accepted(read: &mut OwnedReadHalf) -> Result<(), IpcError> {
    let frame = match frame(read, Duration::MAX).await {
        Ok(frame) => frame,
        Err(IpcError::Lost { .. } | IpcError::CutOff) => return Err(IpcError::ClosedAtConnect),
        Err(error) => return Err(error),
    };
    match frame.kind {
        Kind::ConnectAck if frame.flags & ACCEPTED != 0 => Ok(()),
        Kind::ConnectAck => Err(IpcError::Refused),
        Kind::Error | Kind::ProtocolError | Kind::InternalError => Err(protocol(&frame)),
        Kind::Message | Kind::Ping | Kind::PingResponse | Kind::Connect | Kind::Unknown(_) => {
            Err(IpcError::Broken { what: "it came before the connection was accepted" })
        }
    }
}

fn protocol(frame: &Frame) -> IpcError {
    let message = Refusal::read(frame.model.as_deref(), &frame.payload).to_string();
    IpcError::Protocol { message: line(&message) }
}

/// The next frame. `bound` is for a frame that has begun; waiting for one has none.
async fn frame(read: &mut OwnedReadHalf, bound: Duration) -> Result<Frame, IpcError> {
    let mut prelude = [0; PRELUDE];
    let begun = match read.read(&mut prelude).await {
        Ok(0) => return Err(IpcError::Lost { source: None }),
        Ok(begun) => begun,
        Err(source) => return Err(IpcError::Lost { source: Some(source) }),
    };
    let rest = async {
        if let Some(others) = prelude.get_mut(begun..) {
            read.read_exact(others).await.map_err(cut_off)?;
        }
        let lengths = Prelude::read(prelude)?;
        let mut rest = vec![0; lengths.rest()];
        read.read_exact(&mut rest).await.map_err(cut_off)?;
        lengths.frame(prelude, &rest)
    };
    tokio::select! {
        biased;
        frame = rest => frame,
        () = tokio::time::sleep(bound) => {
            Err(IpcError::Stuck { what: "did not go on with a message", after: bound })
        }
    }
}

fn cut_off(error: std::io::Error) -> IpcError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return IpcError::CutOff;
    }
    IpcError::Lost { source: Some(error) }
}

struct Reader {
    read: OwnedReadHalf,
    bound: Duration,
    table: Arc<Table>,
    queue: mpsc::Sender<Vec<u8>>,
    tell: mpsc::Sender<Told>,
}

impl Reader {
    async fn run(mut self) -> IpcError {
        loop {
            match self.turn().await {
                Ok(()) => {}
                Err(error) => {
                    // Here already, so that nobody waits until somebody asks for the next event.
                    self.table.close();
                    return error;
                }
            }
        }
    }

    async fn turn(&mut self) -> Result<(), IpcError> {
        let frame = frame(&mut self.read, self.bound).await?;
        match frame.kind {
            Kind::Ping => self.pong(frame),
            Kind::ProtocolError | Kind::InternalError if frame.stream == 0 => return Err(protocol(&frame)),
            Kind::Message | Kind::Error | Kind::ProtocolError | Kind::InternalError => {
                let consequence = self.table.handle(frame);
                if let Some(stream) = consequence.end {
                    self.send(&end(stream));
                }
                for told in consequence.told.into_iter().flatten() {
                    self.tell.send(told).await.map_err(|_| IpcError::Closed)?;
                }
            }
            Kind::PingResponse | Kind::Connect | Kind::ConnectAck | Kind::Unknown(_) => {}
        }
        Ok(())
    }

    fn pong(&self, ping: Frame) {
        if ping.payload.len() <= LONGEST_PING {
            self.send(&Frame { kind: Kind::PingResponse, flags: 0, model: None, operation: None, ..ping });
        }
    }

    /// What is of use only, and lost when the nucleus takes nothing.
    fn send(&self, frame: &Frame) {
        if let Ok(bytes) = frame.write() {
            drop(self.queue.try_send(bytes));
        }
    }
}

/// The frame by which we end a stream.
pub(crate) const fn end(stream: i32) -> Frame {
    Frame {
        kind: Kind::Message,
        flags: ENDS_STREAM,
        stream,
        model: None,
        operation: None,
        payload: Vec::new(),
    }
}

struct Writer {
    write: OwnedWriteHalf,
    bound: Duration,
    table: Arc<Table>,
    queued: mpsc::Receiver<Vec<u8>>,
}

impl Writer {
    async fn run(mut self) -> IpcError {
        let error = self.write().await;
        if matches!(error, IpcError::Lost { .. }) {
            // Why it has closed may lie unread in the socket; then it is the reader that ends the connection.
            tokio::time::sleep(LAST_WORDS).await;
        }
        self.table.close();
        error
    }

    async fn write(&mut self) -> IpcError {
        while let Some(frame) = self.queued.recv().await {
            let written = tokio::select! {
                biased;
                written = self.write.write_all(&frame) => written,
                () = tokio::time::sleep(self.bound) => {
                    return IpcError::Stuck { what: "took no message", after: self.bound };
                }
            };
            if let Err(source) = written {
                return IpcError::Lost { source: Some(source) };
            }
        }
        IpcError::Closed
    }
}
