//! With what a gateway can run: the latest deployment, or the one that was accepted before.

use std::sync::Arc;

use nowd_plugin::Plugin;
use tokio::sync::oneshot;

use super::Deployed;
use super::judge::{Verdict, judge};
use crate::config::ConfigSource;
use crate::gateway::Taken;
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
    pub(super) answer: oneshot::Receiver<Result<Taken, String>>,
}

/// Whether a gateway that runs with `current` is to be handed the latest: also where that is the same, while another one is being
/// tried, since that one may be in effect before anybody hears of it.
pub(super) fn is_news(latest: &Deployed, current: &Deployed, trying: Option<&Trying>) -> bool {
    trying.is_some() || latest != current
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
pub(super) async fn answered(trying: &mut Option<Trying>) -> Option<(Arc<Deployed>, Result<Taken, String>)> {
    let Some(Trying { deployed, answer }) = trying else { return std::future::pending().await };
    let result = answer.await;
    let deployed = Arc::clone(deployed);
    *trying = None;
    Some((deployed, result.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_that_is_taken_back_while_it_is_tried_is_handed_over() {
        let before = Arc::new(Deployed::default());
        let mut other = Deployed::default();
        other.component.insert("maps".into(), serde_json::json!([]));
        assert!(!is_news(&before, &before, None));
        assert!(is_news(&other, &before, None));
        let (_answer, answer) = oneshot::channel();
        let trying = Trying { deployed: Arc::new(other), answer };
        assert!(is_news(&before, &before, Some(&trying)));
    }
}
