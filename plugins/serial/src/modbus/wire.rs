//! Frames of Modbus RTU: what a request is on the wire, and which of the bytes that come are its answer.
//!
//! `tokio-modbus` writes the request and understands the answer, as a client on a pipe in memory that is made anew for each
//! frame; so nothing is left in it for the next request. Which bytes it is shown is decided here, because on a shared
//! line much is heard that is no answer: the client alone gives up after 20 bytes of noise or a frame of another unit, waits for
//! what a noisy length promised, and takes an answer with fewer registers than were asked for. Only a frame of the
//! right unit, function, address and length with the right checksum is an answer. Opens no line.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use crc::{CRC_16_MODBUS, Crc};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::unconstrained;
use tokio_modbus::client::{Client, rtu};
use tokio_modbus::{Error, ExceptionCode, Request, Response, Slave};

/// The longest frame of Modbus RTU, in bytes.
pub(crate) const LONGEST_FRAME: usize = 256;
/// The length of an exception: unit, function, code, checksum.
const EXCEPTION: usize = 5;

const CHECKSUM: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// What a device says to a request.
pub(crate) type Answer = Result<Response, ExceptionCode>;

type Running = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

/// A client that is about to say `request`, and the other end of its pipe.
fn client(unit: u8, request: &Request<'static>) -> (DuplexStream, Running) {
    let (ours, theirs) = duplex(2 * LONGEST_FRAME);
    let request = request.clone();
    let call = async move { rtu::attach_slave(theirs, Slave(unit)).call(request).await };
    (ours, Box::pin(call))
}

/// What is ready without waiting, as everything on a pipe in memory is.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(unconstrained(future)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The frame of a request, with its checksum.
pub(crate) fn frame(unit: u8, request: &Request<'static>) -> io::Result<Vec<u8>> {
    let (mut ours, mut call) = client(unit, request);
    if let Some(ended) = at_once(&mut call) {
        let reason = ended.map_or_else(|e| e.to_string(), |_| "it was answered before it was written".into());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let mut frame = vec![0; 2 * LONGEST_FRAME];
    let len = at_once(ours.read(&mut frame)).transpose()?.unwrap_or(0);
    frame.truncate(len);
    if (4..=LONGEST_FRAME).contains(&len) {
        Ok(frame)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a frame of {len} bytes")))
    }
}

/// What a whole frame says to a request; `None`: it is no answer to it.
fn understand(unit: u8, request: &Request<'static>, frame: &[u8]) -> Option<Answer> {
    let (mut ours, mut call) = client(unit, request);
    if at_once(&mut call).is_some() {
        return None;
    }
    at_once(ours.write_all(frame))?.ok()?;
    at_once(call)?.ok()
}

/// Looks for the answer to one request in what comes over the line, in bounded memory whatever comes.
#[derive(Debug)]
pub(crate) struct Ear {
    unit: u8,
    request: Request<'static>,
    /// How the answer begins: unit, function, and what it repeats or how many bytes of data it has.
    head: Vec<u8>,
    /// How long the answer is.
    len: usize,
    /// The request itself, if the line repeats what is sent and has not done so yet.
    echo: Option<Vec<u8>>,
    /// What may still be the start of an answer.
    buffer: Vec<u8>,
    /// How many bytes were no part of an answer.
    noise: usize,
    /// What was sent, and how much of it came first of all.
    sent: Vec<u8>,
    repeated: usize,
    /// The last that came was the end of the echo.
    took_echo: bool,
}

impl Ear {
    /// For the answer to `request`, whose frame is `sent`. `echo`: the line repeats what is sent.
    pub(crate) fn new(unit: u8, request: &Request<'static>, sent: &[u8], echo: bool) -> Self {
        let (repeated, data) = match request {
            Request::ReadCoils(_, count) | Request::ReadDiscreteInputs(_, count) => {
                (2, Some(count.div_ceil(8)))
            }
            Request::ReadHoldingRegisters(_, count) | Request::ReadInputRegisters(_, count) => {
                (2, Some(count.saturating_mul(2)))
            }
            Request::MaskWriteRegister(..) => (8, None),
            Request::WriteSingleCoil(..)
            | Request::WriteSingleRegister(..)
            | Request::WriteMultipleCoils(..)
            | Request::WriteMultipleRegisters(..)
            | Request::ReportServerId
            | Request::ReadWriteMultipleRegisters(..)
            | Request::ReadDeviceIdentification(..)
            | Request::Custom(..) => (6, None),
        };
        let mut head = sent.get(..repeated).unwrap_or(sent).to_vec();
        head.extend(data.map(|data| u8::try_from(data).unwrap_or(u8::MAX)));
        let len = head.len() + usize::from(data.unwrap_or(0)) + 2;
        let echo = echo.then(|| sent.to_vec());
        Self {
            unit,
            request: request.clone(),
            head,
            len,
            echo,
            buffer: Vec::new(),
            noise: 0,
            sent: sent.to_vec(),
            repeated: 0,
            took_echo: false,
        }
    }

    /// Takes what came. `Some`: the answer; what follows it is dropped.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<Answer> {
        self.took_echo = false;
        for byte in bytes {
            if self.sent.get(self.repeated) == Some(byte) {
                self.repeated += 1;
            } else if self.repeated < self.sent.len() {
                self.sent.clear();
            }
            self.buffer.push(*byte);
            // The bytes before what may be an answer are not.
            while !self.buffer.is_empty() {
                match self.judge() {
                    Judged::Answer(answer) => {
                        self.buffer.clear();
                        return Some(answer);
                    }
                    Judged::Echo => self.buffer.clear(),
                    Judged::Open => break,
                    Judged::Noise => {
                        self.buffer.drain(..1);
                        self.noise += 1;
                    }
                }
            }
        }
        None
    }

    /// What the buffer is from its first byte on.
    fn judge(&mut self) -> Judged {
        let buffer = self.buffer.as_slice();
        if let Some(echo) = &self.echo {
            if buffer == echo {
                self.echo = None;
                self.took_echo = true;
                return Judged::Echo;
            }
            return if echo.starts_with(buffer) { Judged::Open } else { Judged::Noise };
        }
        let exception = self.exception(buffer);
        if !exception && !buffer.iter().zip(&self.head).all(|(heard, expected)| heard == expected) {
            return Judged::Noise;
        }
        let len = if exception { EXCEPTION } else { self.len };
        // There may be more: what was waited for here began with something longer that was none.
        let Some(frame) = buffer.get(..len) else { return Judged::Open };
        let answer = if checked(frame) { understand(self.unit, &self.request, frame) } else { None };
        answer.map_or(Judged::Noise, Judged::Answer)
    }

    fn exception(&self, buffer: &[u8]) -> bool {
        matches!((buffer, self.head.as_slice()), ([unit, function, ..], [our_unit, our_function, ..])
            if unit == our_unit && *function == our_function | 0x80)
    }

    /// Whether the first that was heard is what was sent, and more came after it.
    pub(crate) fn echoed(&self) -> bool {
        self.noise > 0 && !self.sent.is_empty() && self.repeated == self.sent.len()
    }

    /// The line has said nothing that was not an answer, not even the echo that it should.
    pub(crate) fn heard(&self) -> Heard {
        match (self.noise + self.buffer.len(), &self.echo) {
            (0, _) => Heard::Nothing,
            (bytes, None) => Heard::Other(bytes),
            (_, Some(_)) => Heard::NoEcho,
        }
    }
}

impl Ear {
    /// Whether what was sent came back.
    pub(super) const fn took_echo(&self) -> bool {
        self.took_echo
    }

    /// What came so far is no part of what comes now.
    pub(super) fn begin_anew(&mut self) {
        self.noise += self.buffer.len();
        self.buffer.clear();
    }
}

/// What has come while no answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// So many bytes of something else.
    Other(usize),
    /// Something, but not what was sent.
    NoEcho,
}

enum Judged {
    Answer(Answer),
    /// What was sent, come back.
    Echo,
    /// It may become one.
    Open,
    Noise,
}

/// Whether the last two bytes are the checksum of those before.
fn checked(frame: &[u8]) -> bool {
    frame
        .split_last_chunk::<2>()
        .is_some_and(|(data, checksum)| CHECKSUM.checksum(data).to_le_bytes() == *checksum)
}

#[cfg(test)]
mod tests;
