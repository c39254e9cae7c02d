//! Metrics in a file and over the bus.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::Stdio;

use nowd_testkit::{wait_for, within};

use crate::bed::{Bed, PATIENCE, comes_back, request};
use crate::local::{gateway_with, shell};
use crate::status::comes_or_goes;
use crate::tools::promtool;

/// Names, types and labels: what alarms and boards are made of. Added to, never changed.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/metrics.txt");

/// What is absent where nobody synchronises the machine's clock.
const OF_A_CLOCK: &str = "nowd_clock_max_error_seconds gauge target";

/// What is absent outside a component of Greengrass, and told by `greengrass::standing`.
pub(crate) const OF_A_COMPONENT: [&str; 3] = [
    "nowd_deployment_info gauge target,digest",
    "nowd_deployment_refused gauge target",
    "nowd_nucleus_connected gauge target",
];

fn golden(found: &str) {
    let mut found: Vec<&str> = found.lines().filter(|line| *line != OF_A_CLOCK).collect();
    assert!(!found.iter().any(|line| OF_A_COMPONENT.contains(line)), "{found:?}");
    found.push(OF_A_CLOCK);
    found.extend(OF_A_COMPONENT);
    found.sort_unstable();
    let found = found.join("\n") + "\n";
    if std::env::var_os("NOWD_GOLDEN").is_some_and(|what| what == "write") {
        return fs::write(GOLDEN, found).unwrap();
    }
    assert_eq!(
        found,
        fs::read_to_string(GOLDEN).unwrap_or_default(),
        "NOWD_GOLDEN=write writes what is told now"
    );
}

/// Each metric with its type and its labels.
pub(crate) fn names(text: &str) -> String {
    let mut kinds = BTreeMap::new();
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else if !line.starts_with('#') {
            let (name, rest) = line.split_once('{').unwrap();
            let (pairs, value) = rest.rsplit_once("} ").unwrap();
            value.parse::<f64>().unwrap();
            let found: Vec<&str> = pairs.split("\",").map(|pair| pair.split('=').next().unwrap()).collect();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let name = base.filter(|base| kinds.contains_key(*base)).unwrap_or(name);
            let known = labels.entry(name.to_owned()).or_default();
            if known.len() < found.join(",").len() {
                *known = found.join(",");
            }
        }
    }
    let line =
        |(name, kind): (&String, &String)| format!("{name} {kind} {}", labels.get(name).map_or("", |l| l));
    kinds.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The value of a sample that begins so.
fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.split_whitespace().next_back()?.parse().ok())
}

#[tokio::test]
async fn the_file_is_there_while_the_gateway_is_and_says_what_the_bus_says() {
    let mut bed = Bed::new().await;
    let file = bed.folder.path().join("nowd.prom");
    let set = format!("metrics.file={}", file.display());
    let mut gateway =
        gateway_with(&bed, &["--set", &set, "--set", "metrics.interval=1s", "--set", "link.probe=1s"]).await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    for method in ["echo.slow", "window.absent", "nothing"] {
        cloud.invoke(request(method, "null")).await;
    }
    let observer = bed.observer().await;
    observer.say("gw-1/echo/gw-1/no-uuid", "x");
    let told = || fs::read_to_string(&file).unwrap_or_default();
    let samples = [
        "nowd_method_calls_total{target=\"gw-1\",method=\"echo.slow\",outcome=\"executed\"}",
        "nowd_calls_total{target=\"gw-1\",status=\"unknown_method\",outcome=\"not_executed\"}",
        "nowd_messages_dropped_total{target=\"gw-1\",reason=\"not_a_request\"}",
        "nowd_link_up{target=\"gw-1\"}",
        "nowd_plugin_health{target=\"gw-1\",plugin=\"serial\",state=\"ok\"}",
        "nowd_link_connects_total{target=\"gw-1\"}",
    ];
    wait_for(PATIENCE, "the file says it", || {
        let text = told();
        text.contains("probe_round_trip") && samples.iter().all(|sample| value(&text, sample) == Some(1.0))
    })
    .await;
    let (code, text) = shell(&bed, &["metrics"]).await;
    assert_eq!(code, 0, "{text}");
    golden(&names(&text));
    let (sum, count) = ("nowd_call_duration_seconds_sum", "nowd_call_duration_seconds_count");
    assert!(value(&text, sum).unwrap() >= 0.05 && value(&text, count).unwrap() >= 2.0, "{text}");
    accepted_by_prometheus(&format!("{text}\n"));
    gateway.terminate();
    assert!(gateway.exit(PATIENCE).await.success());
    assert!(!file.exists(), "nobody writes it any more");
}

/// Prometheus' own word.
fn accepted_by_prometheus(text: &str) {
    let mut promtool = promtool()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_folder_that_is_missing_is_told_once_and_tried_again() {
    let bed = Bed::new().await;
    let folder = bed.folder.path().join("run");
    let set = format!("metrics.file={}/nowd.prom", folder.display());
    let gateway = gateway_with(&bed, &["--set", &set, "--set", "metrics.interval=1s"]).await;
    gateway.wait_for_line(PATIENCE, "the metrics cannot be written to").await;
    let what = "the metrics cannot be written to ";
    comes_or_goes(&bed, "error", what, true).await;
    let (code, text) = shell(&bed, &["status", "--check"]).await;
    assert!(code == 1 && text.contains("ReadWritePaths=") && text.contains("/run/nowd"), "{code} {text}");
    let metrics = shell(&bed, &["metrics"]).await.1;
    assert!(metrics.contains("nowd_problems{target=\"gw-1\",level=\"error\"} 1"), "{metrics}");
    // Long enough for a second try: the gateway's own beat is as long as the interval.
    within(PATIENCE, "some seconds", tokio::time::sleep(std::time::Duration::from_millis(2_500))).await;
    fs::create_dir(&folder).unwrap();
    gateway.wait_for_line(PATIENCE, "are written to").await;
    assert!(folder.join("nowd.prom").exists());
    comes_or_goes(&bed, "error", what, false).await;
    let told =
        gateway.lines().iter().filter(|line| line.contains("the metrics cannot be written to")).count();
    assert_eq!(told, 1);
}
