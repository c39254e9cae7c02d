//! The Lambda function under the local runtime emulator (`cargo lambda watch`), before a stand-in for AWS IoT Core that checks
//! signatures, before a real mosquitto.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on stops, in its helpers too"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use nowd_testkit::{Ca, IotCore, Mosquitto, Process, Proxy, REGION, wait_for, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, PATIENCE, strict};
use crate::tools::tool;

const FUNCTION: &str = env!("CARGO_BIN_EXE_nowd-lambda");
const CALLER: &str = "arn:aws:sts::123456789012:assumed-role/operators/alice";
/// The shortest that MQTT clients here take.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Everything between an API event and the gateway.
struct Bed {
    iot: IotCore,
    line: Proxy,
    emulator: u16,
    function: Process,
    gateway: Gateway,
    _emulator: Process,
    broker: Mosquitto,
    _ca: Ca,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The emulator alone: it hands events to whoever asks it for the next one, as the real runtime interface does.
async fn emulator() -> (Process, u16) {
    // It wants to be told its port, which somebody else may take first.
    for _ in 0..5 {
        let port = free_port();
        let mut command = Command::new(tool("cargo-lambda"));
        command.args(["lambda", "watch", "--only-lambda-apis", "--ignore-changes"]);
        command.args(["--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()]);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        let mut emulator = Process::start(command);
        let begun = within(PATIENCE, "the emulator", async {
            loop {
                if emulator.try_exit().is_some() {
                    return false;
                }
                if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                    return emulator.try_exit().is_none();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if begun.await {
            return (emulator, port);
        }
    }
    panic!("the emulator does not start");
}

impl Bed {
    async fn start() -> Self {
        Self::by("mqtt").await
    }

    async fn by(delivery: &str) -> Self {
        let (broker, ca) = (Mosquitto::start(), Ca::new());
        let iot = IotCore::start(&ca, &broker);
        // Who keeps credentials until they expire asks for new ones at each connection.
        iot.set_lifetime(Duration::from_secs(1));
        let endpoint = iot.endpoint();
        let line = Proxy::start(endpoint.rsplit_once(':').unwrap().1.parse().unwrap()).await;
        let gateway = Gateway::start(broker.port(), "g", |r, s| vec![strict(r, s)]).await;
        let (emulator_process, emulator) = emulator().await;
        let function = function(&ca, &iot, &line, emulator, delivery);
        within(PATIENCE, "the function's connection", async {
            while iot.connections() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        Self { iot, line, emulator, function, gateway, _emulator: emulator_process, broker, _ca: ca }
    }

    /// One API event, and the response: status code and body.
    async fn call(&self, parameters: &Value) -> (u64, Value) {
        call(self.emulator, parameters).await
    }

    async fn is_ok(&self, number: u64) {
        let (code, body) = self.call(&json!({ "n": number })).await;
        assert_eq!(
            (code, &body["response"]["n"]),
            (200, &json!(number)),
            "{body} {:?}",
            self.function.lines()
        );
    }

    /// The function stands still meanwhile, for so long.
    async fn frozen(&self, meanwhile: impl FnOnce(), long: Duration) {
        self.function.pause();
        meanwhile();
        tokio::time::sleep(long).await;
        self.function.resume();
    }
}

fn function(ca: &Ca, iot: &IotCore, line: &Proxy, emulator: u16, delivery: &str) -> Process {
    let mut command = Command::new(FUNCTION);
    command.env_clear();
    command.envs([
        ("AWS_LAMBDA_RUNTIME_API", format!("http://127.0.0.1:{emulator}/.rt/nowd-lambda")),
        ("AWS_LAMBDA_FUNCTION_NAME", "nowd-lambda".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "60".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", iot.credentials_uri()),
        ("NOWD_ENDPOINT", format!("localhost:{}", line.port())),
        ("NOWD_CA", ca.file().display().to_string()),
        ("NOWD_KEEP_ALIVE", humantime::format_duration(KEEP_ALIVE).to_string()),
        ("NOWD_DELIVERY", delivery.to_owned()),
        ("NOWD_LOG", "debug".to_owned()),
    ]);
    Process::start(command)
}

/// Long enough for a busy machine, and less than the link needs to find out by itself that a connection is dead: a call after
/// a freeze must not be saved by that.
const BUDGET_MS: &str = "6000";

/// As API Gateway writes it, for a REST API with IAM authorisation and the stage `Prod`.
fn event(parameters: &Value) -> Value {
    let path = "/things/g/methods/m";
    json!({
        "resource": "/{proxy+}", "path": path, "httpMethod": "POST",
        "headers": { "content-type": "application/json", "Host": "api.example" },
        "multiValueHeaders": { "content-type": ["application/json"], "Host": ["api.example"] },
        "queryStringParameters": { "timeout": BUDGET_MS }, "multiValueQueryStringParameters": { "timeout": [BUDGET_MS] },
        "pathParameters": { "proxy": path.trim_start_matches('/') }, "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012", "apiId": "api", "httpMethod": "POST", "stage": "Prod", "protocol": "HTTP/1.1",
            "path": format!("/Prod{path}"), "resourcePath": "/{proxy+}", "resourceId": "r", "requestId": "1",
            "requestTimeEpoch": now_ms(),
            "identity": { "userArn": CALLER, "sourceIp": "127.0.0.1", "accountId": "123456789012" },
        },
        "body": parameters.to_string(), "isBase64Encoded": false,
    })
}

fn now_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

async fn call(emulator: u16, parameters: &Value) -> (u64, Value) {
    let body = event(parameters).to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", emulator)).await.unwrap();
    let head = format!(
        "POST /2015-03-31/functions/nowd-lambda/invocations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(PATIENCE, "the emulator's answer", stream.read_to_string(&mut answer)).await.unwrap();
    let json = answer.split_once("\r\n\r\n").unwrap().1;
    let json: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let code = json["statusCode"].as_u64().unwrap_or_else(|| panic!("{json}"));
    (code, serde_json::from_str(json["body"].as_str().unwrap()).unwrap())
}

#[tokio::test]
async fn cold_warm_and_fifty_at_once_over_one_connection() {
    let bed = Bed::start().await;
    bed.is_ok(0).await;
    for number in 1..=20 {
        bed.is_ok(number).await;
    }
    let mut calls = JoinSet::new();
    for number in 100..150 {
        let emulator = bed.emulator;
        calls.spawn(async move { (number, call(emulator, &json!({ "n": number })).await) });
    }
    let mut answered = 0;
    while let Some(call) = calls.join_next().await {
        let (number, (code, body)) = call.unwrap();
        assert_eq!((code, &body["response"]["n"]), (200, &json!(number)), "{body}");
        answered += 1;
    }
    assert_eq!(answered, 50);
    // A machine that stands still for seconds may have it dial once more.
    assert!(bed.iot.accepted() <= 2, "one connection for all calls, not {}", bed.iot.accepted());
    let asked = bed.gateway.requests();
    assert_eq!(asked.last().unwrap().caller.as_deref(), Some(CALLER));
    let ids: BTreeSet<_> = asked.iter().map(|request| request.topic.id).collect();
    assert_eq!(ids.len(), 1 + 20 + 50);
    // The gateway's clock is learnt by one `resync`, and then known.
    assert!(asked.len() < 2 * ids.len(), "{} requests", asked.len());
}

#[tokio::test]
async fn a_call_after_a_freeze_is_answered_whatever_became_of_the_connection() {
    let bed = Bed::start().await;
    bed.is_ok(1).await;
    // The broker closes it by itself, one and a half keep-alives after the last word.
    bed.function.pause();
    let gone = |line: &String| line.contains("exceeded timeout") && line.contains("nowd-cloud-");
    let given_up = || bed.broker.log().iter().any(gone);
    wait_for(PATIENCE, "the broker to give up a client that is silent", given_up).await;
    bed.function.resume();
    bed.is_ok(2).await;
    assert_eq!(bed.iot.accepted(), 2);
    // Forgotten on the way, without a word.
    bed.frozen(|| bed.line.abandon(), Duration::from_secs(6)).await;
    bed.is_ok(3).await;
    assert_eq!(bed.iot.accepted(), 3);
    // Cut off in the middle.
    bed.frozen(|| bed.iot.close_all(), Duration::from_secs(1)).await;
    bed.is_ok(4).await;
    assert_eq!(bed.iot.accepted(), 4);
    // Nothing became of it: it is used, and whatever was dialled beside it given up.
    let before = bed.iot.connections();
    bed.frozen(|| (), Duration::from_secs(6)).await;
    bed.is_ok(5).await;
    wait_for(PATIENCE, "one connection", || bed.iot.connections() == before.min(1)).await;
    assert_eq!(
        bed.gateway.requests().iter().filter(|request| request.request.get().contains('5')).count(),
        1
    );
}

#[tokio::test]
async fn credentials_that_changed_open_the_next_connection() {
    let bed = Bed::start().await;
    bed.is_ok(1).await;
    let refused = bed.iot.refused();
    bed.iot.rotate();
    // The connection that is there stays.
    bed.is_ok(2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bed.iot.close_all();
    bed.is_ok(3).await;
    assert!(bed.iot.accepted() >= 2);
    assert_eq!(bed.iot.refused(), refused, "{:?}", bed.iot.reasons());
}

#[tokio::test]
async fn direct_messages_carry_calls_before_and_after_a_freeze() {
    let bed = Bed::by("direct").await;
    bed.is_ok(1).await;
    bed.frozen(|| bed.line.abandon(), Duration::from_secs(6)).await;
    bed.is_ok(2).await;
    let asked = bed.gateway.requests().len();
    assert_eq!(bed.iot.direct_messages().len(), asked, "nothing was published past the service");
}
