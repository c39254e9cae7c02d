//! What `nowd status` says first: what is wrong.

use std::fs;

use nowd_testkit::{Ca, within};
use serde_json::Value;

use crate::bed::{Bed, PATIENCE, comes_back, nowd, within_ms, words};
use crate::local::{gateway_with, shell, status};

/// Level and words of each problem.
fn problems(status: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let problems = status["problems"].as_array().unwrap().iter();
    problems
        .map(|problem| {
            assert!(!text(&problem["remedy"]).is_empty());
            (text(&problem["level"]), text(&problem["what"]))
        })
        .collect()
}

/// Waits until a problem of this level that holds this is there, or is not any more.
pub(crate) async fn comes_or_goes(bed: &Bed, level: &str, part: &str, there: bool) {
    within(PATIENCE, part, async {
        loop {
            let found = problems(&status(bed).await);
            if found.iter().any(|(of, what)| of == level && what.contains(part)) == there {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_stands_on_top_with_what_to_do() {
    let mut bed = Bed::new().await;
    let gateway = gateway_with(&bed, &[]).await;
    let (code, text) = shell(&bed, &["status", "--check"]).await;
    assert_eq!((code, text.as_str()), (0, "no problem is known"));
    // Somebody has locked it: that is no mistake.
    assert_eq!(shell(&bed, &["lock", "--reason", "a hand in the gate"]).await.0, 0);
    let (code, text) = shell(&bed, &["status", "--check"]).await;
    assert!(
        code == 0 && text.contains("LOCKED out on site") && text.contains("a hand in the gate"),
        "{code} {text}"
    );
    assert_eq!(shell(&bed, &["unlock"]).await.0, 0);
    // A map that was changed and not read; then one that is wrong; then all is well again.
    let map = bed.folder.path().join("methods.d/new.toml");
    fs::write(&map, "[simulator]\n[methods.\"new\"]\ndealy = \"1s\"\n").unwrap();
    comes_or_goes(&bed, "warn", "were changed since they were read", true).await;
    assert_eq!(shell(&bed, &["reload"]).await.0, 78);
    comes_or_goes(&bed, "error", "new.toml:3:1", true).await;
    let (code, text) = shell(&bed, &["status", "--check"]).await;
    assert!(code == 1 && text.starts_with("PROBLEM  the configuration was rejected"), "{code} {text}");
    let (code, text) = shell(&bed, &["status"]).await;
    assert!(
        code == 0 && text.starts_with("PROBLEM  ") && text.contains("do: mend it, try it with `nowd check`"),
        "{text}"
    );
    fs::remove_file(&map).unwrap();
    assert_eq!(shell(&bed, &["reload"]).await.0, 0);
    comes_or_goes(&bed, "error", "rejected", false).await;
    bed.broker.stop();
    comes_or_goes(&bed, "warn", "is down, for", true).await;
    drop(gateway);
    let bus = bed.bus.address();
    let mut nobody = nowd(&["status", "--check", "--bus", &bus]);
    assert_eq!(nobody.exit(PATIENCE).await.code(), Some(69));
}

#[tokio::test]
async fn an_audit_record_that_cannot_be_written_is_an_error_until_it_can() {
    let bed = Bed::new().await;
    let state = bed.folder.path().join("state");
    fs::create_dir_all(&state).unwrap();
    // No folder can be made where a file is.
    fs::write(state.join("audit"), "").unwrap();
    let _gateway = gateway_with(&bed, &[]).await;
    let what = "the audit record cannot be written, and calls go on without it";
    comes_or_goes(&bed, "error", what, true).await;
    let (code, text) = shell(&bed, &["status", "--check"]).await;
    assert!(code == 1 && text.contains(what) && text.contains("do: see whether the disk of "), "{text}");
    let failing = "nowd_audit_failing{target=\"gw-1\"} ";
    let metrics = shell(&bed, &["metrics"]).await.1;
    assert!(metrics.contains(&format!("{failing}1")), "{metrics}");
    fs::remove_file(state.join("audit")).unwrap();
    comes_or_goes(&bed, "error", what, false).await;
    let metrics = shell(&bed, &["metrics"]).await.1;
    assert!(metrics.contains(&format!("{failing}0")), "{metrics}");
}

#[tokio::test]
async fn what_cannot_come_up_by_itself_is_an_error_at_once() {
    let bed = Bed::new().await;
    let config = bed.config();
    // An authority that has not signed the broker's certificate.
    let other = Ca::new();
    let wrong = format!("link.ca={}", other.client("x").ca.display());
    let gateway = nowd(&["run", "--config", config.to_str().unwrap(), "--set", &wrong]);
    gateway.wait_for_line(PATIENCE, "as io.nowd.Gateway1").await;
    comes_or_goes(&bed, "error", "TLS with localhost failed", true).await;
    let told = || gateway.lines().iter().filter(|line| line.contains("the link is down")).count();
    assert_eq!(told(), 1, "{:?}", gateway.lines());
}

/// Each kind by itself, with where it was published, until the next of its kind is taken.
#[tokio::test]
async fn what_the_broker_refuses_is_a_problem_until_it_is_taken() {
    let mut bed = Bed::new().await;
    let [answers, presence, probes] = [
        "the broker refuses answers",
        "the broker refuses this gateway's presence",
        "refuses messages of this gateway to itself",
    ];
    bed.broker.forbid(0, "nowd/presence/");
    let gateway = gateway_with(&bed, &["--set", "link.probe=1s"]).await;
    comes_or_goes(&bed, "error", presence, true).await;
    let text = shell(&bed, &["status", "--check"]).await.1;
    assert!(text.contains("publish to nowd/presence/gw-1 (retained)"), "{text}");
    bed.broker.forbid(0, "/ack");
    // Another set of methods is another presence.
    fs::write(bed.folder.path().join("methods.d/new.toml"), "[simulator]\n[methods.\"new\"]\n").unwrap();
    assert_eq!(shell(&bed, &["reload"]).await.0, 0);
    comes_or_goes(&bed, "error", presence, false).await;
    let cloud = bed.cloud().await;
    within(PATIENCE, "a call whose answer is refused", async {
        while words(&cloud.invoke(within_ms("echo", "1", 1_000)).await) != "no_reply unknown null" {}
    })
    .await;
    comes_or_goes(&bed, "error", answers, true).await;
    let text = shell(&bed, &["status", "--check"]).await.1;
    assert!(text.contains("publish to +/+/gw-1/+/ack") && text.contains("/gw-1/echo/ack, "), "{text}");
    bed.broker.forbid(0, "nowd.probe");
    comes_back(&cloud).await;
    comes_or_goes(&bed, "error", answers, false).await;
    comes_or_goes(&bed, "error", probes, true).await;
    let text = shell(&bed, &["status", "--check"]).await.1;
    assert!(text.contains("publish to gw-1/nowd.probe/gw-1/+"), "{text}");
    bed.broker.forbid(0, "");
    // It is tried again after five times a second.
    comes_or_goes(&bed, "error", probes, false).await;
    gateway.wait_for_line(PATIENCE, "takes this gateway's messages to itself again").await;
    let probes = bed
        .broker
        .log()
        .iter()
        .filter(|line| line.contains("Received PUBLISH from gw-1") && line.contains("nowd.probe"))
        .count();
    assert!(probes < 300, "{probes} in some seconds, where one a second is wanted");
    let metrics = shell(&bed, &["metrics"]).await.1;
    for what in ["answer", "presence", "probe"] {
        let none = format!("nowd_link_publishes_refused_total{{target=\"gw-1\",what=\"{what}\"}} 0");
        assert!(
            metrics.contains(none.trim_end_matches(" 0")) && !metrics.contains(&none),
            "{what}: {metrics}"
        );
    }
}

#[tokio::test]
async fn a_safe_action_that_failed_is_a_problem_until_a_reload() {
    let mut bed = Bed::new().await;
    let map = format!(
        "[dbus]\nbus = \"{}\"\ndestination = \"com.example.Vehicle\"\npath = \"/com/example/vehicle/window/left\"\n\
         interface = \"com.example.Window1\"\n\
         [methods.\"bad.move\"]\ncall = \"MoveTo\"\nargs = [\"$percent\", \"$call.id\"]\n\
         done = {{ signal = \"Moved\", match = [\"no such call\"] }}\n\
         params.percent = {{ type = \"integer\", minimum = 0, maximum = 100 }}\non_timeout = \"bad.halt\"\n\
         [methods.\"bad.halt\"]\ncall = \"NoSuchMember\"\nsignature = \"\"\ninternal = true\n",
        bed.bus.address()
    );
    fs::write(bed.folder.path().join("methods.d/bad.toml"), map).unwrap();
    let gateway = gateway_with(&bed, &[]).await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let answer = cloud.invoke(within_ms("bad.move", r#"{"percent":50}"#, 500)).await;
    assert!(words(&answer).contains(" unknown "), "{}", words(&answer));
    let what = "the safe action bad.halt of the plugin dbus failed ";
    comes_or_goes(&bed, "error", what, true).await;
    gateway.wait_for_line(PATIENCE, "safe-action-failed").await;
    let failing = async || {
        let (_, metrics) = shell(&bed, &["metrics"]).await;
        metrics.contains("\nnowd_safe_actions_failing{target=\"gw-1\"} 1\n")
    };
    assert!(failing().await);
    assert_eq!(shell(&bed, &["status", "--check"]).await.0, 1);
    assert_eq!(shell(&bed, &["reload"]).await.0, 0);
    comes_or_goes(&bed, "error", what, false).await;
    assert!(!failing().await);
}

/// A reload reads `[link]` and does not use it: what is asked for then is a restart, and no reload.
#[tokio::test]
async fn what_takes_a_restart_is_not_said_to_take_a_reload() {
    let bed = Bed::new().await;
    let _gateway = gateway_with(&bed, &[]).await;
    let config = fs::read_to_string(bed.config()).unwrap();
    fs::write(bed.config(), config.replace("silence = \"2s\"", "silence = \"3s\"")).unwrap();
    comes_or_goes(&bed, "warn", "were changed since they were read", true).await;
    let (code, text) = shell(&bed, &["reload"]).await;
    assert!(code == 0 && text.contains("`link` was changed as well"), "{code} {text}");
    let (_, text) = shell(&bed, &["status", "--check"]).await;
    assert!(
        text.contains("systemctl restart nowd") && text.contains("at the next start only: link"),
        "{text}"
    );
    assert!(!text.contains("nowd reload"), "{text}");
}
