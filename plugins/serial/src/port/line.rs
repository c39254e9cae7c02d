//! One open serial line: reading, writing and throwing away. What the bytes mean is known elsewhere.
//!
//! Never calls `flush`, which blocks its thread until the device takes the bytes, for ever if it does not.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nowd_plugin::{BootInstant, CancellationToken, Deadline};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::sleep;
use tokio_serial::{ClearBuffer, DataBits, FlowControl, SerialPort, SerialStream, StopBits};

pub(crate) use self::give_up::{GiveUp, Interrupt};
use self::open::switch_transceiver;
use super::config::{Flow, Parity, PortConfig};
use super::earlier::{Earlier, Hears};
use super::echo::Echo;
use crate::map::hears::{Ears, Talk};

mod give_up;
mod open;
mod reason;

/// The silence that is enough after a late answer has come.
const AFTER_ANSWER: Duration = Duration::from_millis(50);

/// How long an adapter may take to repeat what was sent, after the time that this needs on the wire.
const ECHO: Duration = Duration::from_millis(100);
/// How often the kernel is asked whether all bytes have gone out.
const OUTPUT_POLL: Duration = Duration::from_millis(2);
/// A line that is never silent is waited for no longer than this after a call without an answer.
pub(super) const LONGEST_SETTLE: Duration = Duration::from_secs(3);
/// A safe action is written when the line has been silent for this long, so that it does not meet an answer on its way.
/// USB adapters hold bytes back for 16 ms.
const QUIET: Duration = Duration::from_millis(50);
/// A line that is not silent keeps a safe action waiting no longer than this.
pub(crate) const LONGEST_UNREST: Duration = Duration::from_millis(250);
/// How much old input is thrown away before a write, in bytes; a device that floods must not hold up the call.
const MOST_DISCARDED: usize = 64 * 1024;
/// How much is read at once, in bytes.
const CHUNK: usize = 512;

/// An open line. Closing it throws away what was not sent, so that nothing goes out late.
#[derive(Debug)]
pub(crate) struct Line {
    stream: SerialStream,
    /// When the last byte went over the line, either way.
    active: BootInstant,
    /// Who listens for what the device says by itself.
    ears: Arc<Ears>,
    /// What the line must repeat before anything that comes is a device's.
    echo: Option<Echo>,
    /// The calls that were cut off and may still be answered: whatever comes is shown to them.
    pub(super) earlier: Earlier,
}

impl Line {
    /// Opens and sets up the device. Blocks: a device can take its time. Needs a runtime with I/O.
    pub(crate) fn open(config: &PortConfig, ears: Arc<Ears>) -> io::Result<Self> {
        let path = config.device.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let data_bits = match config.format.data_bits {
            5 => DataBits::Five,
            6 => DataBits::Six,
            7 => DataBits::Seven,
            _ => DataBits::Eight,
        };
        let parity = match config.format.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        };
        let flow = match config.flow {
            Flow::None => FlowControl::None,
            Flow::Hardware => FlowControl::Hardware,
            Flow::Software => FlowControl::Software,
        };
        // Before the device is ours alone, because it is opened a second time below.
        let transceiver = config.rs485.map(|rs485| switch_transceiver(config, rs485)).transpose()?;
        let builder = tokio_serial::new(path, config.baud)
            .data_bits(data_bits)
            .parity(parity)
            .stop_bits(if config.format.stop_bits == 2 { StopBits::Two } else { StopBits::One })
            .flow_control(flow);
        let stream = SerialStream::open(&builder).map_err(|e| reason::of_port(&config.device, &e))?;
        drop(transceiver);
        let line = Self { stream, active: BootInstant::now(), ears, echo: None, earlier: Earlier::default() };
        line.clear(ClearBuffer::All)?;
        Ok(line)
    }

    /// Reads what comes next, without the echo that is expected; so it may be nothing. Hanging up is an error. What listeners
    /// make of it is told to them with the next read, or by [`Ears::commit`], because it may be an answer.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = [0; CHUNK];
        let len = self.stream.read(&mut chunk).await?;
        if len == 0 {
            return Err(hung_up());
        }
        self.active = BootInstant::now();
        self.ears.commit();
        let bytes = chunk.get(..len).unwrap_or_default();
        let bytes = self.echo.as_mut().map_or_else(|| bytes.to_vec(), |echo| echo.strip(bytes));
        self.ears.hear(&bytes, self.active);
        Ok(bytes)
    }

    /// From now on what is written is expected back first, and dropped when it comes.
    pub(crate) fn expect_echo(&mut self) {
        self.echo = Some(Echo::default());
    }

    /// Waits until what was written has come back, or should have; also for a call that is late by then, so that the next
    /// one is not shown the echo of this.
    pub(crate) async fn wait_echo(&mut self, on_wire: Duration, stop: &CancellationToken) -> io::Result<()> {
        let mut over = pin!(sleep(on_wire.saturating_add(ECHO)));
        while self.echo.as_ref().is_some_and(Echo::is_open) {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                bytes = self.read() => {
                    self.earlier.feed(&bytes?);
                }
                () = &mut over => break,
            }
        }
        self.ears.commit();
        Ok(())
    }

    /// Expects no echo any more; says why what was expected is missing, if it is.
    pub(crate) fn forget_echo(&mut self) -> Option<&'static str> {
        let echo = self.echo.take()?;
        let (held, why) = echo.missing()?;
        self.ears.hear(held, self.active);
        Some(why)
    }

    /// Expects no echo any more; the call that was cut off last is told if it is missing.
    pub(super) fn end_echo(&mut self) {
        if let (Some(why), Some(open)) = (self.forget_echo(), self.earlier.last()) {
            open.lacks_echo(why);
        }
    }

    /// Those who listen for what the device says by itself.
    pub(crate) fn ears(&self) -> &Ears {
        &self.ears
    }

    /// Reads for those who listen, for as long as nothing happens to the line.
    pub(crate) async fn idle(&mut self) -> io::Error {
        loop {
            self.ears.commit();
            let ears = Arc::clone(&self.ears);
            tokio::select! {
                biased;
                bytes = self.read() => if let Err(gone) = bytes {
                    return gone;
                },
                () = silence(ears.pause()) => ears.silence(BootInstant::now(), Duration::MAX),
            }
        }
    }

    /// Waits for so long. What comes is nobody's but theirs who were cut off.
    pub(crate) async fn pass(&mut self, longest: Duration, give_up: &GiveUp) -> Result<(), Interrupt> {
        let mut over = pin!(sleep(longest));
        loop {
            tokio::select! {
                biased;
                interrupt = give_up.wait() => return Err(interrupt),
                () = &mut over => return Ok(()),
                bytes = self.read() => {
                    self.earlier.feed(&bytes?);
                    self.ears.commit();
                }
            }
        }
    }

    /// Gives what is read to `own`, and the silences that it wants to be told of, until it makes an answer of it; says too
    /// whether it is certain that this is no answer to a call that was cut off before.
    pub(crate) async fn listen<H: Hears>(
        &mut self,
        own: &mut H,
        give_up: &GiveUp,
    ) -> Result<(H::Answer, bool), Interrupt> {
        let pause = own.pause();
        let mut heard = false;
        loop {
            let found = tokio::select! {
                biased;
                interrupt = give_up.wait() => return Err(interrupt),
                bytes = self.read() => {
                    heard = true;
                    self.earlier.sort(Some(&bytes?), own)
                }
                () = silence(pause.filter(|_| heard)) => {
                    heard = false;
                    // Before, so that what is found now and answers the call is not told when the line is idle.
                    self.ears.silence(BootInstant::now(), pause.unwrap_or_default());
                    self.earlier.sort(None, own)
                }
            };
            if let Some(found) = found {
                return Ok(found);
            }
            self.ears.commit();
        }
    }

    /// Waits until the line has been silent for a moment, for a safe action; and not for long. What is on its way out may be
    /// until the deadline `begun_by`, which is that of the call before.
    pub(crate) async fn quieten(
        &mut self,
        begun_by: Option<Deadline>,
        give_up: &GiveUp,
    ) -> Result<(), Interrupt> {
        let begun = BootInstant::now();
        loop {
            let now = BootInstant::now();
            let left = LONGEST_UNREST.saturating_sub(now.saturating_since(begun));
            if begun_by.is_some_and(|deadline| deadline.check().is_err()) {
                self.discard_output()?;
            }
            let is_sending = self.stream.bytes_to_write().unwrap_or(0) > 0;
            let silent = if is_sending { Duration::ZERO } else { now.saturating_since(self.active) };
            if silent >= QUIET || left.is_zero() {
                self.earlier.silence(silent);
                return Ok(());
            }
            let next = if is_sending { OUTPUT_POLL } else { QUIET.saturating_sub(silent) };
            self.pass(next.min(left), give_up).await?;
        }
    }

    /// Waits until the line has been silent for `gap`; for a safe action no longer than that in all.
    pub(crate) async fn wait_gap(&mut self, gap: Duration, give_up: &GiveUp) -> Result<(), Interrupt> {
        let begun = BootInstant::now();
        loop {
            let now = BootInstant::now();
            let since = if give_up.makes_safe { begun.min(self.active) } else { self.active };
            let silent = now.saturating_since(since);
            if silent >= gap {
                return Ok(());
            }
            self.pass(gap.saturating_sub(silent), give_up).await?;
        }
    }

    /// Writes `bytes`, with the last check of the deadline before each attempt. `written` is raised with the first
    /// byte that the kernel takes.
    pub(crate) async fn write(
        &mut self,
        mut bytes: &[u8],
        give_up: &GiveUp,
        written: &mut bool,
    ) -> Result<(), Interrupt> {
        while !bytes.is_empty() {
            let stream = &mut self.stream;
            let attempt = poll_fn(|cx| {
                if let Err(expired) = give_up.deadline.check() {
                    return Poll::Ready(Err(Interrupt::Late(expired)));
                }
                Pin::new(&mut *stream).poll_write(cx, bytes).map_err(Interrupt::Gone)
            });
            let len = tokio::select! {
                biased;
                interrupt = give_up.wait() => return Err(interrupt),
                len = attempt => len?,
            };
            if len == 0 {
                return Err(hung_up().into());
            }
            *written = true;
            if let Some(echo) = &mut self.echo {
                echo.sent(bytes.get(..len).unwrap_or_default());
            }
            self.active = BootInstant::now();
            bytes = bytes.get(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until the kernel has sent what was written.
    pub(crate) async fn wait_sent(&mut self, give_up: &GiveUp) -> Result<(), Interrupt> {
        // Where the kernel cannot tell, there is nothing to wait for; a device that is gone is seen when reading.
        while self.stream.bytes_to_write().unwrap_or(0) > 0 {
            self.pass(OUTPUT_POLL, give_up).await?;
        }
        Ok(())
    }

    /// After a call without an answer: waits until the line has been silent for `silence` (or shortly after a late answer),
    /// and throws away what came, which those who were cut off have seen. May be dropped, and begun anew: so it throws away
    /// nothing that is on its way out, which may be a safe action that has just been written.
    ///
    /// Frames that somebody listens for are no noise: a device that talks by itself would keep the line.
    pub(crate) async fn settle(&mut self, silence: Duration, stop: &CancellationToken) -> io::Result<()> {
        let mut over = pin!(sleep(LONGEST_SETTLE.max(silence.saturating_mul(10))));
        let mut found = false;
        self.ears.forget_talk();
        let mut noise = BootInstant::now();
        // The line is amid a frame that may be one of those that are listened for.
        let mut is_open = false;
        loop {
            // Once the late answer has come there is no other to wait for, only the rest of what it says.
            let wanted = if found { silence.min(AFTER_ANSWER) } else { silence };
            let since = if is_open { noise.max(self.active) } else { noise };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = &mut over => break,
                bytes = self.read() => {
                    let late = self.earlier.feed(&bytes?);
                    if late {
                        self.ears.discard();
                    }
                    let talk = self.ears.talk();
                    is_open = talk == Talk::Open;
                    if late || talk == Talk::Noise {
                        noise = self.active;
                    }
                    found |= late;
                    // A device that talks without a pause is not waited for either.
                    if talk == Talk::Known && self.active.saturating_since(noise) >= wanted {
                        break;
                    }
                }
                () = sleep(wanted.saturating_sub(BootInstant::now().saturating_since(since))) => break,
            }
        }
        self.discard_input()
    }

    /// Throws away what was not sent, and what has come.
    pub(crate) fn discard(&mut self) -> io::Result<()> {
        self.discard_output()?;
        self.discard_input()
    }

    /// Throws away what was not sent.
    pub(crate) fn discard_output(&self) -> io::Result<()> {
        self.clear(ClearBuffer::Output)
    }

    /// Throws away what the device has sent and nobody read, but for those who were cut off; says if the device is gone.
    ///
    /// By reading: a flush of the kernel's input queue can swallow a flow-control character on its way through.
    pub(crate) fn discard_input(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        for _ in 0..MOST_DISCARDED / CHUNK {
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Err(hung_up()),
                Ok(len) => {
                    self.active = BootInstant::now();
                    let bytes = chunk.get(..len).unwrap_or_default();
                    self.earlier.feed(bytes);
                    self.ears.hear(bytes, self.active);
                    self.ears.commit();
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn clear(&self, buffer: ClearBuffer) -> io::Result<()> {
        Ok(self.stream.clear(buffer)?)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A frame that had begun will not be finished, however the device went.
        self.ears.reset();
        // Closing waits for unsent output, up to 30 s; and a pty stays exclusive for its next owner. A device that
        // is gone fails both, and needs neither.
        self.clear(ClearBuffer::All).ok();
        self.stream.set_exclusive(false).ok();
    }
}

/// Ends after `longest`; without one never.
async fn silence(longest: Option<Duration>) {
    match longest {
        Some(longest) => sleep(longest).await,
        None => std::future::pending().await,
    }
}

fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the device hung up")
}
