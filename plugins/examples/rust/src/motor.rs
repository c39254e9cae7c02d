//! The gate's motor, simulated: here would be your hardware. It knows nothing of calls.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nowd_plugin::BootInstant;
use tokio::sync::watch;

/// How long it takes from closed to open, in milliseconds, unless `GATE_TRAVEL_MS` says otherwise.
const TRAVEL_MS: u32 = 1_000;

/// A motor that goes where it is told.
#[derive(Debug)]
pub(crate) struct Motor {
    motion: Mutex<Motion>,
    /// Raised with each command.
    commands: watch::Sender<u64>,
}

/// Where it was when it got its last command, and where it goes; from 0, closed, to 100, open.
#[derive(Debug, Clone, Copy)]
struct Motion {
    from: f64,
    to: f64,
    since: BootInstant,
    travel: Duration,
}

/// One command, told from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command(u64);

/// How a movement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Where it was told to go.
    Arrived,
    /// By another command.
    Interrupted,
}

impl Default for Motor {
    fn default() -> Self {
        let ms = std::env::var("GATE_TRAVEL_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(TRAVEL_MS);
        let travel = Duration::from_millis(ms.into());
        let motion = Motion { from: 0.0, to: 0.0, since: BootInstant::now(), travel };
        Self { motion: Mutex::new(motion), commands: watch::Sender::new(0) }
    }
}

impl Motion {
    fn percent(&self, now: BootInstant) -> f64 {
        let gone = 100.0 * now.saturating_since(self.since).as_secs_f64() / self.travel.as_secs_f64();
        if self.to >= self.from { (self.from + gone).min(self.to) } else { (self.from - gone).max(self.to) }
    }

    fn arrives(&self) -> BootInstant {
        self.since.saturating_add(self.travel.mul_f64((self.to - self.from).abs() / 100.0))
    }
}

impl Motor {
    /// Starts a movement, whatever it does now.
    pub(crate) fn move_to(&self, percent: f64) -> Command {
        let mut motion = self.lock();
        let now = BootInstant::now();
        *motion = Motion { from: motion.percent(now), to: percent.clamp(0.0, 100.0), since: now, ..*motion };
        self.count()
    }

    /// Stops where it is.
    pub(crate) fn halt(&self) {
        self.stop(&mut self.lock());
    }

    /// The same, unless another command has come since.
    pub(crate) fn halt_if(&self, command: Command) {
        let mut motion = self.lock();
        if Command(*self.commands.borrow()) == command {
            self.stop(&mut motion);
        }
    }

    fn stop(&self, motion: &mut Motion) {
        let now = BootInstant::now();
        let here = motion.percent(now);
        *motion = Motion { from: here, to: here, since: now, ..*motion };
        self.count();
    }

    /// Ends when a movement does.
    pub(crate) async fn end_of(&self, command: Command) -> Moved {
        let mut commands = self.commands.subscribe();
        let motion = *self.lock();
        let arrival = async {
            // The runtime's clock may run faster than the one that counts.
            while !motion.arrives().saturating_since(BootInstant::now()).is_zero() {
                tokio::time::sleep(motion.arrives().saturating_since(BootInstant::now())).await;
            }
        };
        tokio::select! {
            biased;
            // The sender is our own.
            _ = commands.wait_for(|last| Command(*last) != command) => Moved::Interrupted,
            () = arrival => Moved::Arrived,
        }
    }

    /// Where it is.
    pub(crate) fn percent(&self) -> f64 {
        self.lock().percent(BootInstant::now())
    }

    /// Whether it moves.
    pub(crate) fn is_moving(&self) -> bool {
        !self.lock().arrives().saturating_since(BootInstant::now()).is_zero()
    }

    fn count(&self) -> Command {
        let mut command = 0;
        self.commands.send_modify(|last| {
            *last = last.wrapping_add(1);
            command = *last;
        });
        Command(command)
    }

    /// Changed in whole steps only, so a panic elsewhere leaves it good.
    fn lock(&self) -> MutexGuard<'_, Motion> {
        self.motion.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
