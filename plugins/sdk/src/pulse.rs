//! Whether the loops of a plugin's background work still go round, for whoever hosts it and must know.
//!
//! A loop that waits for what may never come (a call, a byte, a bus) is asked, and answers while it waits: it stands where
//! it may stand. One that waits anywhere else does not answer, and must be back within its own bound. So a device that is
//! slow, gone or dead is never taken for a loop that stands still. Reads no clock, and ends nothing itself.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a loop may take beyond what it waits for, on a machine that is busy.
const MARGIN: Duration = Duration::from_secs(10);

/// Tells pulses apart, whatever they are called.
static PULSES: AtomicU64 = AtomicU64::new(0);

/// One loop of a plugin's background work.
///
/// The loop holds it, wraps its endless waits into [`Pulse::idle`] and its long bounded ones into [`Pulse::busy`];
/// [`Plugin::pulses`](crate::Plugin::pulses) hands it to the host.
#[derive(Debug)]
pub struct Pulse {
    id: u64,
    name: String,
    usual: Duration,
    /// What holds now, in milliseconds.
    bound: AtomicU64,
    moves: AtomicU64,
    asked: Notify,
}

impl Pulse {
    /// A loop that has not begun, called `name` by people. `bound` is how long it may be between two waits that answer.
    #[must_use]
    pub fn new(name: String, bound: Duration) -> Self {
        let id = PULSES.fetch_add(1, Ordering::Relaxed);
        let pulse = Self {
            id,
            name,
            usual: bound.saturating_add(MARGIN),
            bound: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            asked: Notify::new(),
        };
        pulse.set(pulse.usual);
        pulse
    }

    /// The loop has come round.
    pub fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for what may never come, and answers meanwhile. Dropped, it drops the wait.
    pub async fn idle<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            tokio::select! {
                biased;
                // First: a wait that is always over must not keep it from answering.
                () = self.asked.notified() => self.moved(),
                over = &mut wait => {
                    self.moved();
                    return over;
                }
            }
        }
    }

    /// Does what takes `at_most` so long, and longer than the loop's usual bound allows. Does not answer meanwhile.
    pub async fn busy<T>(&self, at_most: Duration, work: impl Future<Output = T>) -> T {
        self.moved();
        self.set(self.usual.saturating_add(at_most));
        let usual = Usual(self);
        let done = work.await;
        drop(usual);
        done
    }

    /// Asks for an answer, which is one more of [`Self::moves`].
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// How often the loop has come round or answered. Zero before it has begun.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// How long it may be without a move now.
    #[must_use]
    pub fn bound(&self) -> Duration {
        Duration::from_millis(self.bound.load(Ordering::Relaxed))
    }

    /// What people call it, such as `the reader of the system bus`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells it from all others of this process.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    fn set(&self, bound: Duration) {
        self.bound.store(u64::try_from(bound.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The usual bound holds again, also where the work was dropped.
struct Usual<'a>(&'a Pulse);

impl Drop for Usual<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.usual);
        self.0.moved();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_where_it_may_stand_and_nowhere_else() {
        let pulse = Arc::new(Pulse::new("a loop".into(), Duration::from_secs(5)));
        let wedge = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (pulse, wedge) = (Arc::clone(&pulse), Arc::clone(&wedge));
            async move {
                pulse.idle(wedge.notified()).await;
                // What a bug would do.
                std::future::pending::<()>().await;
            }
        });
        yield_now().await;
        for answers in 1..4 {
            pulse.ask();
            yield_now().await;
            assert_eq!(pulse.moves(), answers, "while it waits for nothing but news");
        }
        wedge.notify_one();
        yield_now().await;
        let before = pulse.moves();
        pulse.ask();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(pulse.moves(), before, "it stands where it may not");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_takes_long_says_how_long() {
        let pulse = Pulse::new("a loop".into(), Duration::from_secs(5));
        let usual = pulse.bound();
        let minute = Duration::from_secs(60);
        pulse
            .busy(minute, async {
                assert_eq!(pulse.bound(), usual + minute);
                tokio::time::sleep(minute).await;
            })
            .await;
        assert_eq!((pulse.bound(), pulse.moves()), (usual, 2));
        let (begun, long) = (AtomicBool::new(false), Duration::MAX);
        tokio::select! {
            biased;
            () = pulse.busy(long, async { begun.store(true, Ordering::Relaxed); std::future::pending().await }) => {}
            () = yield_now() => {}
        }
        assert!(begun.into_inner());
        assert_eq!(pulse.bound(), usual, "also when it is dropped in the middle");
    }

    #[tokio::test]
    async fn a_wait_that_is_always_over_answers_too() {
        let pulse = Pulse::new("a loop".into(), Duration::ZERO);
        pulse.ask();
        pulse.idle(std::future::ready(())).await;
        assert_eq!(pulse.moves(), 2);
    }
}
