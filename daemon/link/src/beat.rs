//! A beat that wakes the machine once each time.
//!
//! tokio keeps what is further away than 64 ms in coarser slots, and wakes up at the start of a slot as well as at the time itself: twice
//! as often as is needed, for whoever beats for ever. A timer of the kernel's wakes once.

use std::io::ErrorKind;
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Beats with a period of its own, for ever. After a stall it beats once, and then a whole period later.
#[derive(Debug)]
pub struct Beat {
    period: Duration,
    timer: Timer,
}

#[derive(Debug)]
enum Timer {
    Kernel {
        timer: Receiver,
        is_set: bool,
    },
    /// Where the kernel gives none, such as for want of file descriptors.
    Tokio(Interval),
}

impl Beat {
    /// The first beat is a whole period after it was waited for first. To be called inside a runtime.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)
            .ok()
            // Anything that epoll knows can be read as a pipe is; what else tokio has for it is `unsafe`.
            .and_then(|timer| Receiver::from_owned_fd_unchecked(timer).ok());
        let timer = timer.map_or_else(|| tokios(period), |timer| Timer::Kernel { timer, is_set: false });
        Self { period, timer }
    }

    /// Waits for the next beat. May be dropped while waiting: the beat that it waited for stays.
    pub async fn tick(&mut self) {
        let (timer, is_set) = match &mut self.timer {
            Timer::Kernel { timer, is_set } => (timer, is_set),
            Timer::Tokio(interval) => {
                interval.tick().await;
                return;
            }
        };
        if !*is_set {
            let once = Itimerspec { it_interval: spec(Duration::ZERO), it_value: spec(self.period) };
            // It fails for what is no timer, and for times that are none.
            *is_set = timerfd_settime(&*timer, TimerfdTimerFlags::empty(), &once).is_ok();
        }
        loop {
            // Only the end of the runtime is an error here, and then nobody beats any more.
            if timer.readable().await.is_err() {
                return std::future::pending().await;
            }
            match timer.try_read(&mut [0; 8]) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Ok(_) | Err(_) => break,
            }
        }
        *is_set = false;
    }
}

fn tokios(period: Duration) -> Timer {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Timer::Tokio(interval)
}

fn spec(period: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(period.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(period.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_beats_no_sooner_than_its_period_and_a_beat_that_nobody_awaits_any_more_stays() {
        let period = Duration::from_millis(20);
        let mut beat = Beat::new(period);
        let begun = Instant::now();
        for _ in 0..3 {
            // Left and taken up again in the middle of it.
            let left = tokio::select! {
                biased;
                () = beat.tick() => false,
                () = tokio::task::yield_now() => true,
            };
            if left {
                beat.tick().await;
            }
        }
        assert!(begun.elapsed() >= period * 3, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn after_a_stall_it_beats_once() {
        let period = Duration::from_millis(30);
        let mut beat = Beat::new(period);
        tokio::select! {
            biased;
            () = beat.tick() => {}
            () = tokio::task::yield_now() => {}
        }
        std::thread::sleep(period * 4);
        beat.tick().await;
        let begun = Instant::now();
        beat.tick().await;
        assert!(begun.elapsed() >= period, "{:?}", begun.elapsed());
    }
}
