//! A pseudo-terminal: a serial line without a wire. Its master side is for a simulated device, its slave side has a
//! path and is for the `device` of a port.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The device's side of a pseudo-terminal. Dropping it unplugs the device.
#[derive(Debug)]
pub struct PtyMaster {
    master: AsyncFd<OwnedFd>,
    /// Held open, so that the line stays up while no daemon has it open.
    _slave: OwnedFd,
}

/// Opens a pseudo-terminal in raw mode; gives the path for a port's `device`, and the side to [`super::serve`] on.
///
/// Needs a tokio runtime with I/O.
pub fn on_pty() -> io::Result<(PathBuf, PtyMaster)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let path = PathBuf::from(name.into_string().map_err(io::Error::other)?);
    let slave = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut settings = tcgetattr(&slave)?;
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd keeps the promise that one wants")]
    let master = AsyncFd::new(master)?;
    Ok((path, PtyMaster { master, _slave: slave }))
}

impl AsyncRead for PtyMaster {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.master.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            if let Ok(len) = ready.try_io(|fd| Ok(rustix::io::read(fd, unfilled)?)) {
                buf.advance(len?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for PtyMaster {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.master.poll_write_ready(cx))?;
            if let Ok(len) = ready.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                return Poll::Ready(len);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
