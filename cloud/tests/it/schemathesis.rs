//! The interface does as its description says, as schemathesis sees it: a program of others that makes requests of the
//! description, good ones and bad ones, and compares the answers with it.
//!
//! Its check `not_a_server_error` is left out: here 502, 503 and 504 are honest answers about gateways, each described with
//! its `outcome`. What it is for is looked for by the rest: a code that is not described is an error, and `internal`,
//! which would be a mistake of ours, must not come at all.

use std::time::Duration;

use nowd_protocol::{
    CallState, Ending, ErrorBody, GatewayStamp, METHODS_METHOD, MethodEntry, MethodsPage, OUTCOME_METHOD,
    Outcome, OutcomeReport, RawValue, Request, Status,
};
use nowd_testkit::{Mosquitto, Process};

use crate::gateway::{Answers, Gateway, reply};
use crate::program::{address, serve};
use crate::tools::tool;

/// No run takes as long as that, also on a machine that has much else to do.
const LONGEST: Duration = Duration::from_secs(300);

/// A gateway that answers with one status after the other. What sends calls again and what nowd calls its own mistake are
/// left out.
fn every_status() -> impl FnMut(&Request, GatewayStamp) -> Answers + Send + 'static {
    let told =
        |status: &&Status| status.outcome().is_some() && !matches!(status, Status::Resync | Status::Internal);
    let mut next = Status::ALL.iter().filter(told).cycle();
    move |request, stamp| {
        let request = Request { request: answered(request), ..request.clone() };
        vec![reply(&request, *next.next().unwrap(), stamp)]
    }
}

/// What a gateway answers with everything in it that can be; of a method of its own, what it was given.
fn answered(request: &Request) -> Box<RawValue> {
    let method = request.topic.method.as_str();
    if method == METHODS_METHOD {
        let params = serde_json::json!({ "type": "object" });
        let entry = MethodEntry {
            name: "window.set",
            description: "Moves a window".into(),
            params: Some(&params),
            timeout_ms: 2_000,
            max_timeout_ms: 10_000,
            idempotent: true,
            stop: false,
            poll_ms: Some(500),
        };
        return MethodsPage { methods: vec![&entry.bounded()], more: true }.response();
    }
    if method == OUTCOME_METHOD {
        let ending = || Ending {
            status: "failed".to_owned(),
            outcome: Outcome::Unknown,
            error: Some(ErrorBody { code: "jammed".to_owned(), message: "it is stuck".to_owned() }),
            response: Some(RawValue::NULL.to_owned()),
        };
        let report = OutcomeReport { state: CallState::Ended, answer: Some(ending()), late: Some(ending()) };
        return report.response();
    }
    request.request.clone()
}

async fn run(address: &str, config: &str, more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (settings, report) = (folder.path().join("schemathesis.toml"), folder.path().join("report.har"));
    std::fs::write(&settings, config).unwrap();
    let description = format!("http://{address}/openapi.json");
    let report_path = report.display().to_string();
    let mut args = vec!["--config-file", settings.to_str().unwrap(), "run", &description];
    // The same requests each time, however fast the machine is.
    args.extend(["--generation-deterministic", "--max-examples", "25", "--suppress-health-check", "all"]);
    args.extend(["--phases", "examples,coverage,fuzzing"]);
    args.extend(["--request-timeout", "60", "--no-color", "--continue-on-failure"]);
    args.extend(["--report-har-path", &report_path]);
    args.extend(more);
    let mut command = std::process::Command::new(tool("schemathesis"));
    command.args(args).current_dir(folder.path());
    let mut process = Process::start(command);
    let code = process.exit(LONGEST).await.code();
    assert_eq!(code, Some(0), "{}", process.lines().join("\n"));
    let answers = std::fs::read_to_string(report).unwrap();
    assert!(answers.contains("tag:nowd.io,2026:invalid_request"), "the report does not hold the answers");
    assert!(!answers.contains("2026:internal") && !answers.contains(r#"status\":\"internal"#), "{answers}");
}

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", every_status()).await;
    let endpoint = format!("127.0.0.1:{}", broker.port());
    let program = serve(&["--listen", "127.0.0.1:0", "--endpoint", &endpoint, "--compat"]);
    let address = address(&program).await;
    // Any names: most are nobody's. The sample's form would wait for each of them.
    run(&address, "", &["--exclude-path", "/invoke", "--exclude-checks", "not_a_server_error"]).await;
    assert!(gateway.requests().is_empty());
    // A gateway that is there, and may refuse what every description allows.
    let checks = ["--exclude-checks", "not_a_server_error,positive_data_acceptance"];
    run(&address, "[parameters]\ntarget = \"g\"\n", &checks).await;
    assert!(gateway.requests().len() > 50, "{}", gateway.requests().len());
}
