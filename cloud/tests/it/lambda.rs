//! The function, as Lambda runs it: its own program, a stand-in of Lambda's runtime interface that hands it events, one of
//! AWS IoT Core, and a real mosquitto behind that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName};
use axum::routing::{get, post};
use nowd_testkit::{Ca, IotCore, Mosquitto, Process, REGION, wait_for, within};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::gateway::{Gateway, PATIENCE, ok};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nowd-lambda");
const ANN: &str = "arn:aws:sts::123456789012:assumed-role/ops/ann";
const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const TRACEPARENT: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";

/// `Ok` is a response, `Err` a failed invocation.
type Ended = Result<Value, Value>;

/// What Lambda's runtime interface does: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.
struct Runtime {
    events: Mutex<mpsc::Receiver<(String, String)>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Ended>>>,
}

async fn next(State(runtime): State<Arc<Runtime>>) -> (HeaderMap, String) {
    let Some((id, event)) = runtime.events.lock().await.recv().await else {
        return std::future::pending().await;
    };
    let mut headers = HeaderMap::new();
    let deadline = (unix_ms() + 35_000).to_string();
    for (name, value) in [("aws-request-id", id.as_str()), ("deadline-ms", &deadline), ("trace-id", XRAY)] {
        let name = HeaderName::try_from(format!("lambda-runtime-{name}")).unwrap();
        headers.insert(name, value.parse().unwrap());
    }
    (headers, event)
}

async fn ended(State(runtime): State<Arc<Runtime>>, Path((id, how)): Path<(String, String)>, body: Bytes) {
    let body = serde_json::from_slice(&body).unwrap();
    let ended = if how == "response" { Ok(body) } else { Err(body) };
    runtime.waiting.lock().await.remove(&id).unwrap().send(ended).unwrap();
}

fn unix_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "events say when they came by the wall clock")]
    let now = SystemTime::now();
    u64::try_from(now.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The function and all around it.
struct Bed {
    core: IotCore,
    broker: Mosquitto,
    process: Process,
    runtime: Arc<Runtime>,
    events: mpsc::Sender<(String, String)>,
    _ca: Ca,
    _tasks: JoinSet<()>,
}

impl Bed {
    async fn start(more: &[(&str, &str)]) -> Self {
        let broker = Mosquitto::start();
        let ca = Ca::new();
        let core = IotCore::start(&ca, &broker);
        let (events, events_out) = mpsc::channel(100);
        let runtime = Arc::new(Runtime { events: Mutex::new(events_out), waiting: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{how}", post(ended))
            .with_state(Arc::clone(&runtime));
        let mut tasks = JoinSet::new();
        tasks.spawn(async { axum::serve(listener, router).await.unwrap() });
        let ca_file = ca.file().display().to_string();
        let environment = [
            ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "nowd"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_REGION", REGION),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &core.credentials_uri()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
            ("AWS_CONFIG_FILE", "/nonexistent"),
            ("NOWD_ENDPOINT", &core.endpoint()),
            ("NOWD_CA", &ca_file),
            ("NOWD_LOG", "trace"),
        ];
        let mut command = std::process::Command::new(PROGRAM);
        command.env_clear().envs(environment).envs(more.iter().copied());
        let process = Process::start(command);
        process.wait_for_line(PATIENCE, "\"set up\"").await;
        Self { core, broker, process, runtime, events, _ca: ca, _tasks: tasks }
    }

    async fn invoke(&self, event: &Value) -> Ended {
        let id = nowd_protocol::Uuid::new_v4().to_string();
        let (sender, ended) = oneshot::channel();
        self.runtime.waiting.lock().await.insert(id.clone(), sender);
        self.events.send((id, event.to_string())).await.unwrap();
        within(PATIENCE, "the end of an invocation", ended).await.unwrap()
    }

    /// The HTTP status and the body of the answer.
    async fn call(&self, event: &Value) -> (u64, Value) {
        let answer = self.invoke(event).await.unwrap();
        let body = answer.get("body").and_then(Value::as_str).unwrap();
        (answer.get("statusCode").and_then(Value::as_u64).unwrap(), serde_json::from_str(body).unwrap())
    }

    /// The metrics' lines so far.
    fn records(&self) -> Vec<Value> {
        let lines = self.process.lines();
        let lines = lines.iter().filter(|line| line.contains("\"_aws\""));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A call, as a REST API hands it over.
fn call(path: &str, body: &str) -> Value {
    json!({
        "resource": "/{proxy+}", "path": path, "httpMethod": "POST",
        "headers": { "Host": "a.execute-api.eu-west-1.amazonaws.com" },
        "multiValueHeaders": { "Host": ["a.execute-api.eu-west-1.amazonaws.com"], "content-type": ["application/json"] },
        "queryStringParameters": { "timeout": "9000" }, "multiValueQueryStringParameters": { "timeout": ["9000"] },
        "requestContext": {
            "stage": "Prod", "path": format!("/Prod{path}"), "requestTimeEpoch": unix_ms(),
            "identity": { "userArn": ANN }, "domainName": "a.execute-api.eu-west-1.amazonaws.com"
        },
        "body": body, "isBase64Encoded": false
    })
}

#[tokio::test]
async fn calls_through_the_function() {
    let bed = Bed::start(&[]).await;
    let gateway = Gateway::start(bed.broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let event = call("/things/g/methods/m", "7");
    let (status, body) = bed.call(&event).await;
    assert_eq!((status, &body["outcome"], &body["response"]), (200, &json!("executed"), &json!(7)), "{body}");
    let request = gateway.requests().pop().unwrap();
    assert_eq!(request.caller.as_deref(), Some(ANN));
    assert_eq!(request.traceparent.as_deref(), Some(TRACEPARENT));
    assert_eq!(request.topic.id.to_string(), body["id"]);

    // Nobody has said who asks.
    let mut nobody = event.clone();
    nobody["requestContext"]["identity"]["userArn"] = Value::Null;
    let (status, body) = bed.call(&nobody).await;
    assert_eq!(
        (status, &body["code"], &body["outcome"]),
        (403, &json!("forbidden"), &json!("not_executed")),
        "{body}"
    );
    // What cannot be sent, and what is nowhere.
    let hostile = [
        ("/things/g/methods/a b", 400),
        ("/things/g/methods/a%2Fb", 400),
        ("/things/g/methods/%6D", 400),
        ("/things/%67/methods/m", 400),
        ("/things/g/methods/%2E%2E", 400),
        ("/things/g/methods/..", 400),
        ("/things/g/methods/m%00", 400),
        ("/things/g/methods/../../x", 404),
        ("//things/g/methods/m", 404),
        ("/Prod/things/g/methods/m", 404),
    ];
    for (path, expected) in hostile {
        let (status, body) = bed.call(&call(path, "7")).await;
        assert_eq!((status, &body["outcome"]), (expected, &json!("not_executed")), "{path} {body}");
    }
    // API Gateway has answered its caller long ago.
    let mut old = event.clone();
    old["requestContext"]["requestTimeEpoch"] = (unix_ms() - 29_100).into();
    let (status, body) = bed.call(&old).await;
    assert_eq!(
        (status, &body["code"], &body["outcome"]),
        (503, &json!("expired"), &json!("not_executed")),
        "{body}"
    );
    assert_eq!(gateway.requests().len(), 1);
    // What is no HTTP request is a failed invocation, and the next one is served.
    let error = bed.invoke(&json!({ "detail-type": "Scheduled Event" })).await.unwrap_err();
    assert!(error["errorMessage"].as_str().unwrap().starts_with("the event is no HTTP request"), "{error}");
    assert_eq!(bed.call(&event).await.0, 200);
    assert_eq!((bed.core.accepted(), bed.core.refused()), (1, 0), "{:?}", bed.core.reasons());

    let good = |record: &Value| {
        record["Status"] == "ok" && record["caller"] == ANN && record["traceparent"] == TRACEPARENT
    };
    let good = || bed.records().into_iter().filter(good).count();
    wait_for(PATIENCE, "the records of both calls", || good() == 2).await;
    let expired = bed.records().into_iter().find(|record| record["Status"] == "expired").unwrap();
    assert!(expired["Total"].as_f64().unwrap() >= 29_100.0, "{expired}");

    let log = bed.process.lines().join("\n");
    let secrets = bed.core.credentials();
    for secret in ["X-Amz-Signature", &secrets.secret_key, &secrets.session_token] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    for line in bed.process.lines() {
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    }
}

#[tokio::test]
async fn rotated_credentials_sign_the_next_connection() {
    let bed = Bed::start(&[]).await;
    let _gateway = Gateway::start(bed.broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    for round in 1..=3 {
        let (status, body) = bed.call(&call("/things/g/methods/m", "7")).await;
        assert_eq!((status, bed.core.accepted()), (200, round), "{body}");
        bed.core.rotate();
        bed.core.close_all();
        wait_for(PATIENCE, "the connection's end and the next one", || bed.core.accepted() > round).await;
    }
    assert_eq!(bed.core.refused(), 0, "{:?}", bed.core.reasons());
}

/// As Lambda Managed Instances do: several calls at once in one environment.
#[tokio::test]
async fn calls_at_once_share_a_connection_and_their_records_stand_apart() {
    let bed = Bed::start(&[("AWS_LAMBDA_MAX_CONCURRENCY", "8")]).await;
    let _gateway = Gateway::start(bed.broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let event = call("/things/g/methods/m", "7");
    let calls = futures_util::future::join_all((0..50).map(|_| bed.call(&event)));
    for (status, body) in within(PATIENCE, "all answers", calls).await {
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(bed.core.accepted(), 1);
    wait_for(PATIENCE, "a record of each call", || bed.records().len() == 50).await;
}

#[tokio::test]
async fn wrong_settings_end_it_with_a_sentence() {
    const LAMBDA: [(&str, &str); 4] = [
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "f"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
    ];
    // How much of what Lambda says is there, and what else.
    type Environment = [(&'static str, &'static str)];
    let table: &[(usize, &Environment, &str)] = &[
        (0, &[], "error: AWS_LAMBDA_RUNTIME_API is not set"),
        (1, &[], "error: AWS_LAMBDA_FUNCTION_NAME is not set"),
        (4, &[], "error: NOWD_ENDPOINT is not set"),
        (4, &[("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")], "error: SnapStart is on"),
        (
            4,
            &[("NOWD_ENDPOINT", "localhost"), ("NOWD_TARGET", "g")],
            "error: there is no setting NOWD_TARGET; there are",
        ),
        (
            4,
            &[("NOWD_ENDPOINT", "localhost"), ("NOWD_CA", "/nonexistent.pem")],
            "error: NOWD_CA cannot be used: /nonexistent.pem: there is no such file",
        ),
    ];
    for (lambda, environment, said) in table {
        let mut command = std::process::Command::new(PROGRAM);
        command.env_clear().envs(LAMBDA.into_iter().take(*lambda)).envs(environment.iter().copied());
        let mut process = Process::start(command);
        assert_eq!(process.exit(Duration::from_secs(20)).await.code(), Some(1));
        assert!(process.lines().iter().any(|line| line.starts_with(said)), "{:?}", process.lines());
    }
}
