//! Who runs a port: during a reload the plugin before and the one after. Only when all of them have been told to stop is a
//! call in progress cut. Opens nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nowd_plugin::CancellationToken;

use super::{Port, lock};
use crate::map::hears::Hearing;

/// All that run a port now.
#[derive(Debug, Default)]
pub(super) struct Runners {
    count: usize,
    /// Raised when the last has been told to stop.
    ends: CancellationToken,
}

impl Runners {
    pub(super) fn are_there(&self) -> bool {
        self.count > 0
    }
}

/// One that runs a port, until it leaves or is dropped.
#[derive(Debug)]
pub(crate) struct Runner {
    port: Arc<Port>,
    hearing: Vec<Hearing>,
    ends: CancellationToken,
    left: AtomicBool,
    last: AtomicBool,
}

impl Runner {
    pub(super) fn join(port: &Arc<Port>, hearing: Vec<Hearing>) -> Self {
        port.ears.add(&hearing);
        let mut runners = lock(&port.runners);
        if runners.count == 0 {
            runners.ends = CancellationToken::new();
        }
        runners.count += 1;
        let (left, last) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { port: Arc::clone(port), hearing, ends: runners.ends.clone(), left, last }
    }

    /// Raised when nobody runs the port any more.
    pub(super) fn ends(&self) -> &CancellationToken {
        &self.ends
    }

    /// Counts it out, once; says whether it was the last.
    pub(super) fn leave(&self) -> bool {
        if !self.left.swap(true, Ordering::SeqCst) {
            let mut runners = lock(&self.port.runners);
            runners.count = runners.count.saturating_sub(1);
            if runners.count == 0 {
                self.last.store(true, Ordering::SeqCst);
                self.ends.cancel();
            }
        }
        self.last.load(Ordering::SeqCst)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.leave();
        self.port.ears.remove(&self.hearing);
    }
}
