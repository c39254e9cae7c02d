//! Wakes at an instant, to some microseconds: tokio's timer counts milliseconds.

use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::measure::SECOND;

/// A timer of the kernel.
#[derive(Debug)]
pub(crate) struct Metronome(AsyncFd<OwnedFd>);

impl Metronome {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[allow(deprecated, reason = "its successor is unsafe to call; an `OwnedFd` keeps its file open")]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Waits until `instant`, in nanoseconds of `CLOCK_MONOTONIC`. May be dropped and called again.
    pub(crate) async fn at(&mut self, instant: u64) -> anyhow::Result<()> {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value =
            Timespec { tv_sec: i64::try_from(instant / SECOND)?, tv_nsec: i64::try_from(instant % SECOND)? };
        let setting = Itimerspec { it_interval: none, it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &setting)?;
        loop {
            let mut guard = self.0.readable().await?;
            let mut ticks = [0; 8];
            if let Ok(read) = guard.try_io(|timer| Ok(rustix::io::read(timer, &mut ticks)?)) {
                read?;
                return Ok(());
            }
        }
    }
}
