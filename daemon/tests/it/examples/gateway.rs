//! The same examples behind the real gateway: what a caller far away is told when they are frozen or killed, or lose their bus.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use nowd_cloud::{Answer, Invoker};
use nowd_testkit::{Process, wait_for, within};

use super::{Example, NAME, PATH, all, ends_well, freeze, launch, records};
use crate::bed::{Bed, PATIENCE, request, within_ms, words};

/// How long the gate moves, in milliseconds: shorter and longer than any call.
const SHORT: &str = "20";
const FOR_EVER: &str = "600000";

/// A gateway, somebody who calls, and a place for a gate.
struct Scene<'a> {
    example: &'a Example,
    bed: RefCell<Bed>,
    record: PathBuf,
    cloud: Invoker,
    _gateway: Process,
}

impl<'a> Scene<'a> {
    async fn new(example: &'a Example) -> Self {
        let mut bed = Bed::new().await;
        let folder = bed.folder.path().join("plugins.d");
        fs::create_dir(&folder).unwrap();
        let drop_in = format!("[plugin]\nname = \"{NAME}\"\npath = \"{PATH}\"\n");
        fs::write(folder.join("gate.toml"), drop_in).unwrap();
        let gateway = bed.gateway_with(&["--set", &format!("bus.address={}", bed.bus.address())]).await;
        let cloud = bed.cloud().await;
        let record = bed.folder.path().join("record");
        Self { example, bed: RefCell::new(bed), record, cloud, _gateway: gateway }
    }

    /// Starts a gate, and waits until callers reach it.
    async fn start(&self, travel: &str) -> Process {
        let gate = launch(self.example, &self.bed.borrow().bus, &self.record, travel);
        self.works().await;
        gate
    }

    async fn works(&self) {
        within(PATIENCE, &format!("the gate in {} through the gateway", self.example.language), async {
            while self.cloud.invoke(request("gate.position", "{}")).await.status.as_str() != "ok" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// How often it did this so far.
    fn did(&self, what: &str) -> usize {
        records(&self.record).iter().filter(|record| record.what.starts_with(what)).count()
    }

    /// A call in whose middle something happens. Before it the gate may still be busy with a call that was halted, however short
    /// a time: its lane refuses others until the plugin has answered.
    async fn opens_while(&self, happens: impl FnOnce()) -> Answer {
        let before = self.did("open");
        within(PATIENCE, "a call that moves the gate", async {
            loop {
                let mut call = pin!(self.cloud.invoke(request("gate.open", r#"{"percent":100}"#)));
                tokio::select! {
                    answer = &mut call => {
                        assert_eq!(told(&answer), "busy not_executed busy", "{answer:?}");
                    }
                    () = wait_for(PATIENCE, "the gate to move", || self.did("open") > before) => {
                        happens();
                        return call.await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    async fn opens_within(&self, budget_ms: u64) -> Answer {
        let answer = self.cloud.invoke(within_ms("gate.open", r#"{"percent":1}"#, budget_ms)).await;
        assert_ne!(answer.outcome.as_str(), "executed", "{}: {answer:?}", self.example.language);
        answer
    }
}

/// Status, outcome and code.
fn told(answer: &Answer) -> String {
    let code = answer.error.as_ref().map_or("", |error| &error.code);
    format!("{} {} {code}", answer.status.as_str(), answer.outcome.as_str())
}

#[tokio::test]
async fn each_is_honest_through_the_gateway_whatever_happens_to_it() {
    for example in &all() {
        let language = example.language;
        let scene = Scene::new(example).await;
        let open = async || scene.cloud.invoke(request("gate.open", r#"{"percent":100}"#)).await;

        let gate = scene.start(SHORT).await;
        assert_eq!(
            words(&open().await).split(' ').take(2).collect::<Vec<_>>(),
            ["ok", "executed"],
            "{language}"
        );

        // Frozen past the deadline: it does not act when it goes on.
        let before = scene.did("open");
        freeze(&gate).await;
        scene.opens_within(300).await;
        gate.resume();
        scene.works().await;
        assert_eq!(scene.did("open"), before, "{language}");
        ends_well(gate, language).await;

        // Slower than its callers can wait: it is halted. Again, should a busy machine leave no time to begin.
        let mut gate = scene.start(FOR_EVER).await;
        while scene.did("open") == before {
            scene.opens_within(500).await;
        }
        wait_for(PATIENCE, "the safe action", || scene.did("halt") > 0).await;

        // Killed in mid-call.
        scene.works().await;
        let answer = scene.opens_while(|| gate.kill()).await;
        assert_eq!(told(&answer), "failed unknown plugin_gone", "{language}: {answer:?}");
        assert_eq!(told(&open().await).split(' ').next(), Some("unavailable"), "{language}");

        // The bus goes away in mid-call.
        let mut gate = scene.start(FOR_EVER).await;
        let answer = scene.opens_while(|| scene.bed.borrow_mut().bus.stop()).await;
        assert_eq!(told(&answer), "failed unknown bus_gone", "{language}: {answer:?}");
        if !example.connects_again {
            let status = gate.exit(PATIENCE).await;
            assert!(!status.success(), "{language}: {status}");
        }
        scene.bed.borrow_mut().bus.restart();
        if example.connects_again {
            scene.works().await;
            ends_well(gate, language).await;
        }
        let gate = scene.start(SHORT).await;
        assert_eq!(open().await.status.as_str(), "ok", "{language}");
        ends_well(gate, language).await;
    }
}
