//! Maps that are changed while the gateway runs.

use std::fs;

use nowd_cloud::Invoker;
use nowd_protocol::{Presence, PresenceTopic};
use nowd_testkit::{Process, wait_for, within};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bed::{Bed, Observer, PATIENCE, TARGET, comes_back, request, words};

const SLOW: &str = "[simulator]\n[methods.\"slow\"]\ndelay = \"3s\"\n[methods.\"gone\"]\n";

impl Bed {
    /// Puts a map in its place at once, so that no reload reads half of it.
    fn map(&self, name: &str, text: &str) {
        let folder = self.folder.path().join("methods.d");
        fs::write(folder.join(".new"), text).unwrap();
        fs::rename(folder.join(".new"), folder.join(format!("{name}.toml"))).unwrap();
    }
}

/// Asks for a reload, and waits for the `count`th one that is done.
async fn reload(gateway: &Process, count: usize) -> String {
    gateway.hang_up();
    let done = || -> Vec<String> {
        gateway.lines().into_iter().filter(|line| line.contains("their methods are on offer")).collect()
    };
    wait_for(PATIENCE, "the reload", || done().len() >= count).await;
    done().remove(count - 1)
}

/// The answer to a call that is tried again while its port or bus is not there yet.
async fn in_the_end(cloud: &Invoker, method: &str, json: &str) -> String {
    let mut answer = String::new();
    within(PATIENCE, "an answer", async {
        loop {
            answer = words(&cloud.invoke(request(method, json)).await);
            if !answer.starts_with("unavailable") {
                break;
            }
        }
    })
    .await;
    answer
}

fn hash(observer: &Observer) -> Option<String> {
    let heard = observer.heard(&PresenceTopic(TARGET.parse().unwrap()).to_string());
    let last = heard.last().and_then(|payload| Presence::parse(payload).ok())?;
    last.online.then_some(last.methods)
}

#[tokio::test]
async fn a_reload_in_mid_call() {
    let mut bed = Bed::new().await;
    bed.map("slow", SLOW);
    let observer = bed.observer().await;
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    assert_eq!(words(&cloud.invoke(request("gone", "1")).await), "ok executed 1");
    assert_eq!(
        words(&cloud.invoke(request("alarm.arm", r#"{"zone":1}"#)).await),
        r#"ok executed {"state":"armed"}"#
    );
    wait_for(PATIENCE, "the presence", || hash(&observer).is_some()).await;
    let before = hash(&observer);
    let mut running = JoinSet::new();
    let calls = cloud.clone();
    running.spawn(async move { words(&calls.invoke(request("slow", "2")).await) });
    let begun = || observer.topics().iter().any(|topic| topic.starts_with("gw-1/slow/"));
    wait_for(PATIENCE, "the call", begun).await;
    bed.map("slow", "[simulator]\n[methods.\"new\"]\nanswer = 7\n");
    bed.map("echo", "[simulator]\n[methods.\"echo\"]\ndescription = \"says it again\"\n");
    let told = reload(&gateway, 1).await;
    // `echo.slow`, `echo.hold` and `echo.closed` go too.
    for number in ["\"added\":1", "\"removed\":5", "\"changed\":1"] {
        assert!(told.contains(number), "{number} in {told}");
    }
    wait_for(PATIENCE, "another hash in the presence", || hash(&observer) != before).await;
    assert_eq!(in_the_end(&cloud, "new", "1").await, "ok executed 7");
    assert_eq!(words(&cloud.invoke(request("gone", "1")).await), "unknown_method not_executed null");
    assert_eq!(in_the_end(&cloud, "alarm.arm", r#"{"zone":2}"#).await, r#"ok executed {"state":"armed"}"#);
    assert_eq!(in_the_end(&cloud, "window.set", r#"{"percent":3}"#).await, "ok executed 3");
    let answer = within(PATIENCE, "the call's end", running.join_next()).await.unwrap().unwrap();
    assert_eq!(answer, "ok executed 2", "it ends under the map that it began with");
    // What it was, once more.
    bed.map("slow", SLOW);
    reload(&gateway, 2).await;
    assert_eq!(in_the_end(&cloud, "gone", "1").await, "ok executed 1");
    assert_eq!(
        words(&cloud.invoke(request("alarm.arm", r#"{"zone":3}"#)).await),
        r#"ok executed {"state":"armed"}"#
    );
    let opened = gateway.lines().iter().filter(|line| line.contains("the port is open")).count();
    assert_eq!(opened, 1, "it was handed on open");
}

#[tokio::test]
async fn a_bad_map_changes_nothing_and_is_told() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let config = fs::read_to_string(bed.config()).unwrap();
    bed.map("good", "[simulator]\n[methods.\"good\"]\n");
    bed.map("bad", "[simulator]\n[methods.\"bad\"]\ndeley = \"1s\"\n");
    gateway.hang_up();
    let told = gateway.wait_for_line(PATIENCE, "bad.toml").await;
    assert!(told.contains("ERROR") && told.contains("the new configuration is rejected"), "{told}");
    assert!(told.contains("bad.toml:3:1: unknown key `deley`; did you mean `delay`?"), "{told}");
    assert!(told.contains("methods of before go on"), "{told}");
    assert_eq!(words(&cloud.invoke(request("good", "1")).await), "unknown_method not_executed null");
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    fs::remove_file(bed.folder.path().join("methods.d/bad.toml")).unwrap();
    fs::write(bed.config(), format!("{config}\n[acess]\n")).unwrap();
    gateway.hang_up();
    gateway.wait_for_line(PATIENCE, "acess").await;
    assert_eq!(words(&cloud.invoke(request("good", "1")).await), "unknown_method not_executed null");
    // What needs a start is named; what does not is in force.
    let changed =
        config.replace("silence = \"2s\"", "silence = \"3s\"").replace("[\"cloud-*\"]", "[\"nobody\"]");
    fs::write(bed.config(), changed).unwrap();
    reload(&gateway, 1).await;
    gateway.wait_for_line(PATIENCE, "`link` was changed as well, which takes effect at the next start").await;
    assert_eq!(words(&cloud.invoke(request("good", "1")).await), "forbidden not_executed null");
}

#[tokio::test]
async fn who_asks_in_the_middle_is_heard_after_it() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    for number in 0..20 {
        bed.map("many", &format!("[simulator]\n[methods.\"m{number}\"]\n"));
        gateway.hang_up();
        // The process has taken the signal, however many of them become one reload.
        assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    }
    assert_eq!(
        within(PATIENCE, "the last map", async {
            loop {
                let answer = words(&cloud.invoke(request("m19", "1")).await);
                if answer.starts_with("ok") {
                    return answer;
                }
            }
        })
        .await,
        "ok executed 1"
    );
    assert!(!gateway.lines().iter().any(|line| line.contains("ERROR")), "{:?}", gateway.lines());
}

#[tokio::test]
async fn reloads_under_load_cut_no_call() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let mut callers = JoinSet::new();
    let stop = CancellationToken::new();
    for (method, json, good) in [
        ("alarm.arm", r#"{"zone":2}"#, r#"ok executed {"state":"armed"}"#),
        ("window.set", r#"{"percent":9}"#, "ok executed 9"),
        ("echo.slow", "4", "ok executed 4"),
    ] {
        let (cloud, stop) = (cloud.clone(), stop.clone());
        callers.spawn(async move {
            let (mut done, mut given_up) = (0, 0);
            while !stop.is_cancelled() {
                match words(&cloud.invoke(request(method, json)).await) {
                    answer if answer == good => done += 1,
                    // It waited, or was under way, or its bus took longer than the reload waits for it.
                    answer if answer == "unavailable not_executed null" => given_up += 1,
                    answer => unreachable!("{method}: {answer}"),
                }
            }
            (method, done, given_up)
        });
    }
    for count in 1..=6 {
        bed.map("more", &format!("[simulator]\n[methods.\"more{count}\"]\n"));
        reload(&gateway, count).await;
    }
    for (method, json) in [("alarm.arm", r#"{"zone":2}"#), ("window.set", r#"{"percent":9}"#)] {
        assert!(in_the_end(&cloud, method, json).await.starts_with("ok"), "{method}");
    }
    stop.cancel();
    while let Some(caller) = callers.join_next().await {
        let (method, done, given_up): (_, u32, u32) = caller.unwrap();
        println!("{method}: {done} done, {given_up} given up");
        assert!(done > 0, "{method}: {given_up} given up");
    }
}
