//! With what a gateway can run: the latest deployment, or the one that was accepted before.

use std::sync::Arc;

use nowd_plugin::Plugin;
use tokio::sync::oneshot;

use super::Deployed;
use super::judge::{Verdict, judge};
use crate::config::ConfigSource;
use crate::setup::Setup;

/// Whether a gateway can run now, and with what.
#[derive(Debug)]
pub(super) enum Choice {
    Start(Box<Setup>, Arc<Deployed>),
    /// What stands in the way of the first.
    Wait(Verdict),
}

/// A deployment that a gateway was handed, and where it says what came of it.
#[derive(Debug)]
pub(super) struct Trying {
    pub(super) deployed: Arc<Deployed>,
    pub(super) answer: oneshot::Receiver<Result<(), String>>,
}

/// The first of these that a gateway can run with.
pub(super) async fn choose(
    source: ConfigSource,
    extra: Vec<Arc<dyn Plugin>>,
    of: [Option<Arc<Deployed>>; 2],
) -> Choice {
    let judging = tokio::task::spawn_blocking(move || {
        let mut first = None;
        for deployed in of.into_iter().flatten() {
            match judge(&source.with(Arc::clone(&deployed)), &extra) {
                Verdict::Ready(setup) => return Choice::Start(setup, deployed),
                verdict @ (Verdict::Missing { .. } | Verdict::Wrong(_)) => first = first.or(Some(verdict)),
            }
        }
        Choice::Wait(first.unwrap_or_else(Verdict::lost))
    });
    judging.await.unwrap_or_else(|_| Choice::Wait(Verdict::lost()))
}

/// For ever where nothing was handed over. What was not looked at before another came is told nowhere.
pub(super) async fn answered(trying: &mut Option<Trying>) -> Option<(Arc<Deployed>, Result<(), String>)> {
    let Some(Trying { deployed, answer }) = trying else { return std::future::pending().await };
    let result = answer.await;
    let deployed = Arc::clone(deployed);
    *trying = None;
    Some((deployed, result.ok()?))
}
