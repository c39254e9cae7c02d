//! Certificates that are renewed under a running gateway, that are not whole yet, that the broker does not take, and that end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nowd_plugin::BootInstant;
use nowd_testkit::{Ca, Identity, Process, within};
use serde_json::Value;

use crate::bed::{Bed, PATIENCE, TARGET, comes_back, within_ms, words};
use crate::local::{shell, status};

const DAY: i64 = 86_400;

/// Certificate and key where they can be replaced.
struct Device {
    certificate: PathBuf,
    key: PathBuf,
}

impl Device {
    /// The gateway of `bed` is given `first`, and reads certificate and key from files of its own.
    fn of(bed: &Bed, first: &Identity) -> Self {
        let device = Self {
            certificate: bed.folder.path().join("device.crt"),
            key: bed.folder.path().join("device.key"),
        };
        device.put_certificate(first);
        device.put_key(first);
        let text = fs::read_to_string(bed.config()).unwrap();
        let own = |key: &str, file: &PathBuf| format!("{key} = \"{}\"", file.display());
        let lines: Vec<String> = text
            .lines()
            .map(|line| match line.split(" = ").next() {
                Some("certificate") => own("certificate", &device.certificate),
                Some("key") => own("key", &device.key),
                _ => line.to_owned(),
            })
            .collect();
        fs::write(bed.config(), lines.join("\n")).unwrap();
        device
    }

    fn put_certificate(&self, identity: &Identity) {
        fs::copy(&identity.certificate, &self.certificate).unwrap();
    }

    fn put_key(&self, identity: &Identity) {
        fs::copy(&identity.key, &self.key).unwrap();
        fs::set_permissions(&self.key, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn put(&self, identity: &Identity) {
        self.put_certificate(identity);
        self.put_key(identity);
    }
}

fn now_s() -> i64 {
    let now = std::process::Command::new("date").arg("+%s").output().unwrap();
    String::from_utf8(now.stdout).unwrap().trim().parse().unwrap()
}

async fn certificate(bed: &Bed) -> Value {
    status(bed).await.pointer("/link/certificate").unwrap().clone()
}

/// Waits until what the gateway says of its certificate is so.
async fn says(bed: &Bed, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    within(PATIENCE, what, async {
        loop {
            let said = certificate(bed).await;
            if is_so(&said) {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

fn notes(said: &Value) -> String {
    said["notes"].to_string()
}

/// The level of the problem that says this.
async fn problem(bed: &Bed, what: &str) -> Option<String> {
    let status = status(bed).await;
    let problems = status.get("problems")?.as_array()?;
    let found = problems.iter().find(|problem| problem["what"].as_str().unwrap().contains(what))?;
    found["level"].as_str().map(str::to_owned)
}

async fn accepted(gateway: &Process) {
    gateway.wait_for_line(PATIENCE, "the broker has accepted the renewed certificate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_takes_over_under_load() {
    let mut bed = Bed::new().await;
    let (first, second) =
        (bed.ca.client_valid(TARGET, 0, 4_000_000_000), bed.ca.client_valid(TARGET, 0, 4_100_000_000));
    let device = Device::of(&bed, &first);
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    assert_eq!(certificate(&bed).await["not_after_s"], 4_000_000_000_i64);
    assert_eq!(certificate(&bed).await["subject"], TARGET);

    device.put(&second);
    gateway.hang_up();
    // Calls go on and leave no quiet moment of a second: it takes over at the latest time, or in one that comes about.
    let (mut longest, mut others) = (Duration::ZERO, Vec::new());
    let mut calls = 0_u32;
    let began = BootInstant::now();
    while !gateway.lines().iter().any(|line| line.contains("has accepted the renewed")) {
        assert!(BootInstant::now().saturating_since(began) < 2 * PATIENCE, "{:#?}", gateway.lines());
        let asked = BootInstant::now();
        let answer = words(&cloud.invoke(within_ms("echo", "1", 5_000)).await);
        longest = longest.max(BootInstant::now().saturating_since(asked));
        calls += 1;
        if !answer.starts_with("ok executed") {
            others.push(answer);
        }
        tokio::time::sleep(Duration::from_millis(if calls < 40 { 50 } else { 1_300 })).await;
    }
    comes_back(&cloud).await;
    for line in gateway.lines() {
        let said: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        let message = said.get("message").and_then(Value::as_str).unwrap_or_default();
        if ["is being renewed", "has accepted", "link is up"].iter().any(|text| message.contains(text)) {
            println!("{} {message}", said.get("timestamp").unwrap_or(&Value::Null));
        }
    }
    println!("{calls} calls meanwhile, the longest {longest:?}, not executed or unknown: {others:?}");
    // They come one after the other, so one at most falls into the change, and nobody knows what became of it.
    assert!(calls >= 2 && others.len() <= 1, "{calls} calls, of them {others:?}");
    // One whose request waited too long on a machine that is busy was not executed.
    let is_known = |answer: &String| answer.contains("no_reply") || answer.contains(" not_executed ");
    assert!(others.iter().all(is_known), "{others:?}");
    assert_eq!(certificate(&bed).await["not_after_s"], 4_100_000_000_i64);
    assert_eq!(notes(&certificate(&bed).await), "[]");
    assert!(shell(&bed, &["status"]).await.1.contains("certificate until 2099-12-03T"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_pair_is_waited_for() {
    let mut bed = Bed::new().await;
    let (first, second) =
        (bed.ca.client_valid(TARGET, 0, 4_000_000_000), bed.ca.client_valid(TARGET, 0, 4_100_000_000));
    let device = Device::of(&bed, &first);
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    device.put_certificate(&second);
    gateway.hang_up();
    let said = says(&bed, "half a pair", |said| notes(said).contains("cannot be used")).await;
    assert!(notes(&said).contains("does not fit the certificate"), "{said}");
    assert_eq!(said["not_after_s"], 4_000_000_000_i64);
    comes_back(&cloud).await;
    // Nothing but the second file is needed: it is looked for more often now.
    device.put_key(&second);
    accepted(&gateway).await;
    assert_eq!(certificate(&bed).await["not_after_s"], 4_100_000_000_i64);
    comes_back(&cloud).await;
}

/// A power cut between the two files of a renewal: whatever starts the daemon again must not give up before the second is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn started_with_half_a_pair_it_asks_to_be_started_again() {
    let bed = Bed::new().await;
    let (first, second) =
        (bed.ca.client_valid(TARGET, 0, 4_000_000_000), bed.ca.client_valid(TARGET, 0, 4_100_000_000));
    let device = Device::of(&bed, &first);
    let config = bed.config();
    let start = || crate::bed::nowd(&["run", "--config", config.to_str().unwrap()]);
    let key = fs::read(&second.key).unwrap();
    device.put_certificate(&second);
    for (left, expected) in [
        (fs::read(&first.key).unwrap(), "does not fit the certificate"),
        (key[..key.len() / 2].to_vec(), "no valid PEM file"),
        (Vec::new(), "there is no private key"),
    ] {
        fs::write(&device.key, left).unwrap();
        let mut gateway = start();
        let code = gateway.exit(PATIENCE).await.code();
        let said = gateway.lines().join("\n");
        assert!(code == Some(74) && said.contains(expected), "{code:?}: {said}");
        assert_eq!(shell(&bed, &["check"]).await.0, 74);
    }
    // A file that is not there is a mistake, whatever waits for it.
    fs::remove_file(&device.key).unwrap();
    assert_eq!(start().exit(PATIENCE).await.code(), Some(78));
    device.put_key(&second);
    let gateway = start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    assert_eq!(certificate(&bed).await["not_after_s"], 4_100_000_000_i64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_the_broker_does_not_take_takes_nobody_off_the_network() {
    let mut bed = Bed::new().await;
    let (first, third) =
        (bed.ca.client_valid(TARGET, 0, 4_000_000_000), bed.ca.client_valid(TARGET, 0, 4_100_000_000));
    let device = Device::of(&bed, &first);
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let elsewhere = Ca::new();
    device.put(&elsewhere.client_valid(TARGET, 0, 4_050_000_000));
    gateway.hang_up();
    gateway.wait_for_line(PATIENCE, "the broker does not take the renewed certificate").await;
    let ups = || gateway.lines().iter().filter(|line| line.contains("the link is up")).count();
    assert_eq!(ups(), 1, "the link has never been down: {:#?}", gateway.lines());
    assert!(notes(&certificate(&bed).await).contains("the broker does not take the renewed one"));
    assert_eq!(
        problem(&bed, "the broker does not take the renewed certificate").await.as_deref(),
        Some("error")
    );
    let metrics = shell(&bed, &["metrics"]).await.1;
    assert!(metrics.contains("nowd_link_certificate_renewal_failing{target=\"gw-1\"} 1"), "{metrics}");
    assert!(
        metrics.contains("nowd_link_certificate_not_after_seconds{target=\"gw-1\"} 4000000000"),
        "{metrics}"
    );
    comes_back(&cloud).await;

    // The broker is lost: the renewed one is not accepted now either, and the one of before is.
    bed.broker.restart();
    comes_back(&cloud).await;
    assert_eq!(certificate(&bed).await["not_after_s"], 4_000_000_000_i64);

    // A good one is taken at once, whatever was said of the one before.
    device.put(&third);
    gateway.hang_up();
    accepted(&gateway).await;
    comes_back(&cloud).await;
    assert_eq!(problem(&bed, "certificate").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_told_in_good_time_and_ends_nothing() {
    let mut bed = Bed::new().await;
    let soon = bed.ca.client_valid(TARGET, 0, now_s() + 20 * DAY + 3_600);
    let device = Device::of(&bed, &soon);
    fs::set_permissions(&device.key, fs::Permissions::from_mode(0o644)).unwrap();
    let trusted = ["--set", "clock=trusted"];
    let gateway = bed.gateway_with(&trusted).await;
    let line = gateway.wait_for_line(PATIENCE, "certificate ends in 20 days").await;
    assert!(line.contains("WARN"), "{line}");
    gateway.wait_for_line(PATIENCE, "device.key: every user of this machine may read the private key").await;
    let said = certificate(&bed).await;
    assert_eq!((&said["days_left"], notes(&said).contains("it ends soon")), (&20.into(), true), "{said}");
    let (code, text) = shell(&bed, &["check", trusted[0], trusted[1]]).await;
    assert!(code == 0 && text.contains("note: the certificate ends in 20 days"), "{text}");
    assert!(text.contains("every user of this machine may read the private key"), "{text}");

    assert_eq!(problem(&bed, "this gateway's certificate ends in 20 days").await.as_deref(), Some("warn"));
    assert_eq!(
        problem(&bed, "device.key: every user of this machine may read").await.as_deref(),
        Some("warn")
    );
    let urgent = bed.ca.client_valid(TARGET, 0, now_s() + 3 * DAY + 3_600);
    device.put(&urgent);
    gateway.hang_up();
    accepted(&gateway).await;
    assert_eq!(problem(&bed, "this gateway's certificate ends in 3 days").await.as_deref(), Some("error"));
    assert_eq!(problem(&bed, "private key").await, None);

    // One that has ended is offered to the broker all the same, who turns it down: it is not for us to judge.
    device.put(&bed.ca.client_valid(TARGET, 0, now_s() - DAY));
    gateway.hang_up();
    gateway.wait_for_line(PATIENCE, "the broker does not take the renewed certificate").await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    drop(gateway);
    let config = bed.config();
    let gateway = crate::bed::nowd(&["run", "--config", config.to_str().unwrap(), trusted[0], trusted[1]]);
    gateway.wait_for_line(PATIENCE, "this gateway's certificate has ended; renew it").await;
    gateway.wait_for_line(PATIENCE, "the broker rejected this gateway's certificate").await;
    assert_eq!(problem(&bed, "this gateway's certificate ended at").await.as_deref(), Some("error"));
    device.put(&bed.ca.client_valid(TARGET, 0, 4_000_000_000));
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    comes_back(&cloud).await;
}
