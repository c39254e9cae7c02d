//! The load: calls at a steady pace, whether earlier ones have been answered or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::http::Http;
use crate::judge::Call;

/// Between two calls.
pub(crate) const PACE: Duration = Duration::from_millis(20);
/// The budgets of the calls in turn, in milliseconds.
pub(crate) const BUDGETS: [u64; 5] = [200, 400, 700, 1_000, 1_500];

/// Which method to call, and how the actuator is to behave.
pub(crate) type Way = (&'static str, &'static str);

/// A method for each kind of actuator, behaving well.
pub(crate) const GOOD: &[Way] = &[("checked", "now"), ("plain", "now"), ("serial", "now")];

/// Who makes calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    http: Arc<Http>,
    next: Arc<AtomicU64>,
}

/// Calls under way.
#[derive(Debug)]
pub(crate) struct Load {
    /// How many calls it makes.
    pub(crate) count: u32,
    over: Arc<AtomicBool>,
    calls: JoinSet<anyhow::Result<Vec<Call>>>,
}

impl Caller {
    pub(crate) fn new(http: Http) -> Self {
        Self { http: Arc::new(http), next: Arc::new(AtomicU64::new(1)) }
    }

    /// A number that no other call has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// The same caller at another cloud side.
    pub(crate) fn through(&self, http: Http) -> Self {
        Self { http: Arc::new(http), next: Arc::clone(&self.next) }
    }

    /// One call, to its end.
    pub(crate) async fn call(&self, way: Way, timeout_ms: u64) -> anyhow::Result<Call> {
        self.request(self.number(), way, timeout_ms, None).await
    }

    /// One request of the call with this number, to its end. All of them carry the same key.
    pub(crate) async fn keyed(&self, number: u64, way: Way, timeout_ms: u64) -> anyhow::Result<Call> {
        self.request(number, way, timeout_ms, Some(format!("call-{number}"))).await
    }

    async fn request(
        &self,
        number: u64,
        (method, how): Way,
        timeout_ms: u64,
        key: Option<String>,
    ) -> anyhow::Result<Call> {
        let begun = crate::clock::now();
        let body = format!(r#"{{"number":{number},"how":"{how}"}}"#);
        let exchange = self.http.call(method, timeout_ms, &body, key.as_deref()).await?;
        Ok(Call {
            number,
            deadline: exchange.begun_by.saturating_add(timeout_ms * 1_000),
            begun,
            ended: exchange.ended,
            answers: exchange.answer.into_iter().collect(),
            refusals_needed: 1,
            answer_needed: true,
        })
    }

    /// Starts `count` calls, one after another at a steady pace.
    pub(crate) fn load(&self, count: u32, ways: &'static [Way]) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let (caller, ended) = (self.clone(), Arc::clone(&over));
        let mut calls = JoinSet::new();
        calls.spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut running = JoinSet::new();
            let mut done = Vec::new();
            // Both turn at their own pace, so that each way gets each budget.
            let turns = ways.iter().cycle().zip(BUDGETS.iter().cycle()).take(count.try_into()?);
            for (way, budget) in turns {
                pace.tick().await;
                let (caller, way, budget) = (caller.clone(), *way, *budget);
                running.spawn(async move { caller.call(way, budget).await });
                while let Some(ended) = running.try_join_next() {
                    done.push(ended.context("a caller panicked")??);
                }
            }
            ended.store(true, Ordering::SeqCst);
            while let Some(ended) = running.join_next().await {
                done.push(ended.context("a caller panicked")??);
            }
            Ok(done)
        });
        Load { count, over, calls }
    }
}

impl Load {
    /// Whether the last call has been made.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Waits for all answers.
    pub(crate) async fn calls(mut self) -> anyhow::Result<Vec<Call>> {
        let mut all = Vec::new();
        while let Some(calls) = self.calls.join_next().await {
            all.extend(calls.context("the load panicked")??);
        }
        Ok(all)
    }
}
