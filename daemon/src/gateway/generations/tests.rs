use std::sync::atomic::{AtomicUsize, Ordering};

use nowd_plugin::{BoxFuture, Call, Completion, Lane, Method, Policy};

use super::*;
use crate::config::Config;

/// Counts how many of its background works go on.
#[derive(Debug)]
struct Fake {
    methods: Vec<Method>,
    works: AtomicUsize,
}

impl Plugin for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn methods(&self) -> Vec<Method> {
        self.methods.clone()
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
}

fn fake(methods: &[(&str, &str)]) -> Arc<Fake> {
    let method = |(name, description): &(&str, &str)| Method {
        name: (*name).into(),
        description: (*description).into(),
        origin: "here".into(),
        place: None,
        lane: Lane::exclusive("lane"),
        policy: Policy::default(),
        params: None,
    };
    Arc::new(Fake { methods: methods.iter().map(method).collect(), works: AtomicUsize::new(0) })
}

fn plugins(plugin: &Arc<Fake>) -> Plugins {
    let of_maps: Vec<Arc<dyn Plugin>> = vec![Arc::<Fake>::clone(plugin)];
    let registry = Registry::new(&of_maps).unwrap();
    Plugins { of_maps, serial: None, registry, described: Vec::new(), isolated: Vec::new() }
}

fn set(number: u64, plugin: &Arc<Fake>) -> Set {
    Set::new(number, &Config::default(), plugins(plugin).registry)
}

/// Waits until so many of the plugin's background works go on.
async fn works(plugin: &Fake, count: usize) {
    while plugin.works.load(Ordering::Relaxed) != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_set_is_stopped_when_nothing_of_it_runs_and_what_is_compiled_in_is_not() {
    let (first, second, own) = (fake(&[("a", "")]), fake(&[("b", "")]), fake(&[]));
    let mut all = Generations::new(plugins(&first), set(0, &first));
    all.start(&[Arc::<Fake>::clone(&own)]);
    works(&first, 1).await;
    works(&own, 1).await;
    let next = all.prepare(plugins(&second), set(1, &second));
    works(&second, 1).await;
    assert!(all.registry().get("a").is_some(), "not before it is put on offer");
    all.put_on_offer(next);
    assert!(all.registry().get("a").is_none() && all.registry().get("b").is_some());
    all.retire(|number| number == 0);
    assert!(all.registry_of(0).unwrap().get("a").is_some(), "a call of it runs");
    assert_eq!(first.works.load(Ordering::Relaxed), 1);
    all.retire(|_| false);
    works(&first, 0).await;
    assert!(all.registry_of(0).is_none() && all.registry_of(1).is_some(), "what is on offer is kept");
    assert_eq!((second.works.load(Ordering::Relaxed), own.works.load(Ordering::Relaxed)), (1, 1));
    all.end().await;
    assert_eq!((second.works.load(Ordering::Relaxed), own.works.load(Ordering::Relaxed)), (0, 0));
}
