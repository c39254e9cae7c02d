use std::sync::atomic::{AtomicUsize, Ordering};

use nowd_plugin::host::Registry;
use nowd_plugin::{BoxFuture, Call, CancellationToken, Completion, Method};

use super::super::generations::Generations;
use super::*;
use crate::config::ClockTrust;
use crate::offer::Set;
use crate::setup::Plugins;

/// Panics when it is asked whether it is ready.
#[derive(Debug, Default)]
struct Panics {
    /// How many of its background works go on.
    works: AtomicUsize,
}

impl Plugin for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    fn methods(&self) -> Vec<Method> {
        Vec::new()
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        self.works.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            stop.cancelled().await;
            self.works.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn invoke<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async { Completion::Ok(serde_json::Value::Null) })
    }

    fn explain(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { panic!("on purpose") })
    }
}

fn plugins(of_maps: Vec<Arc<dyn Plugin>>) -> Plugins {
    let registry = Registry::new(&of_maps).unwrap();
    Plugins { of_maps, serial: None, registry, described: Vec::new(), isolated: Vec::new() }
}

fn set(number: u64) -> Set {
    Set::new(number, &Config::default(), Registry::default())
}

/// Waits, for 10 s at most, until so many of the plugin's background works go on.
async fn works(plugin: &Panics, count: usize) {
    for _ in 0..10_000 {
        if plugin.works.load(Ordering::Relaxed) == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} background works go on, not {count}", plugin.works.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_set_whose_plugin_panics_before_it_is_ready_is_stopped() {
    let plugin = Arc::new(Panics::default());
    let mut all = Generations::new(plugins(Vec::new()), set(0));
    let generation = all.prepare(plugins(vec![Arc::<Panics>::clone(&plugin)]), set(1));
    works(&plugin, 1).await;
    let mut reloads = Reloads::none();
    let (config, files, changed) = (Config::default(), Signature::default(), Vec::new());
    let prepared = Prepared { generation, compiled: None, config, files, changed };
    reloads.work.spawn(ready(prepared));
    let clock = WallClock::of_this_machine(ClockTrust::Auto);
    let step = reloads.next(&[], &clock, &Arc::default(), None).await;
    assert!(matches!(step, Step::Lost), "{step:?}");
    works(&plugin, 0).await;
    assert_eq!(all.current().number(), 0, "what was on offer goes on");
    all.end().await;
}
