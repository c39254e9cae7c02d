//! Waiting for a condition with a bound. The bound is for tests that have failed; it says nothing about speed.

use std::time::Duration;

/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks at `condition` until it holds; panics, naming `what`, when `bound` has passed.
pub async fn wait_for(bound: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    within(bound, what, async {
        while !condition() {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// The future's value; panics, naming `what`, when `bound` has passed.
pub async fn within<T>(bound: Duration, what: &str, future: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        value = future => value,
        () = tokio::time::sleep(bound) => panic!("waited {bound:?} in vain for: {what}"),
    }
}

/// The same outside of a runtime: it counts its looks, so a slow machine only makes it more patient.
pub(crate) fn wait_blocking(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let looks = bound.as_millis() / PAUSE.as_millis();
    for _ in 0..=looks {
        if condition() {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}
