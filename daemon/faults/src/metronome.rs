//! How long the machine lets a process wait that wants to run: what a busy machine does to the suite must not be taken for
//! what nowd does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use crate::clock;

const BEAT: Duration = Duration::from_millis(5);
/// Shorter stalls are not noted.
const NOTABLE: u64 = 5_000;

/// Notes stalls for as long as the suite runs.
#[derive(Debug, Clone)]
pub(crate) struct Metronome(Arc<Mutex<Vec<(u64, u64)>>>);

impl Metronome {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let stalls = Self(Arc::default());
        let noted = stalls.clone();
        // A thread of its own: the suite's other work must not count. It ends with the process.
        let thread = std::thread::Builder::new().name("metronome".into());
        thread.spawn(move || noted.run()).context("no thread for the metronome")?;
        Ok(stalls)
    }

    /// The longest stall since then, in microseconds.
    pub(crate) fn worst(&self, since: u64) -> u64 {
        let stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.iter().filter(|(at, _)| *at >= since).map(|(_, stall)| *stall).max().unwrap_or_default()
    }

    fn run(&self) {
        let mut last = clock::now();
        loop {
            std::thread::sleep(BEAT);
            let now = clock::now();
            let stall = now.saturating_sub(last).saturating_sub(clock::micros(BEAT));
            if stall > NOTABLE {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push((now, stall));
            }
            last = now;
        }
    }
}
