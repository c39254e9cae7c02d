//! A connection for each call, as the public sample's function does it, against one connection that is kept: both over a signed
//! WebSocket to the same stand-in for AWS IoT Core, before the same mosquitto and the same gateway, in turns within one run.
//!
//!     cargo bench -p nowd-cloud --bench connections
//!
//! On one machine a round trip takes microseconds; in the cloud it takes milliseconds, of which a connection needs several.
//! `--delay 5ms` makes the way between cloud side and broker that long, each way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement that cannot go on stops, and prints what it found"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nowd_cloud::aws::{Aws, WebSocket};
use nowd_cloud::{BootInstant, CallRequest, Config, Dial, Invoker};
use nowd_link::{Connection, DatePolicy, Event, Options, Publish, Qos, Tls};
use nowd_protocol::{ReplyTopic, RequestTopic, Uuid};
use nowd_testkit::{Ca, IotCore, Mosquitto, Proxy, REGION, Way};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Gateways that do as they are told.
#[path = "../tests/it/gateway.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod gateway;

use gateway::{Gateway, level, ok, raw};

/// In turns, so that what else the machine does falls on both.
const ROUNDS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let delay = std::env::args().skip_while(|argument| argument != "--delay").nth(1);
    let delay = delay.map_or(Duration::ZERO, |text| humantime::parse_duration(&text).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match std::env::var("BENCH_ENDPOINT") {
        Ok(port) => runtime.block_on(measure(port.parse().unwrap(), delay)),
        Err(_) => runtime.block_on(bed(delay)),
    }
}

/// Starts everything but the cloud side, which is this program once more, with credentials in its environment.
async fn bed(delay: Duration) {
    let (broker, ca) = (Mosquitto::start(), Ca::new());
    let iot = IotCore::start(&ca, &broker);
    let line = Proxy::start(iot.endpoint().rsplit_once(':').unwrap().1.parse().unwrap()).await;
    if !delay.is_zero() {
        line.delay(Way::Both, delay);
    }
    let _gateway = Gateway::start(broker.port(), "g", |request, stamp| vec![ok(request, stamp)]).await;
    let mut cloud_side = Command::new(std::env::current_exe().unwrap());
    cloud_side.args(std::env::args().skip(1));
    cloud_side.env("BENCH_ENDPOINT", line.port().to_string()).env("BENCH_CA", ca.file());
    cloud_side.env("AWS_REGION", REGION).env("AWS_CONTAINER_CREDENTIALS_FULL_URI", iot.credentials_uri());
    let ended = tokio::task::spawn_blocking(move || cloud_side.status().unwrap()).await.unwrap();
    assert!(ended.success(), "{ended}");
}

async fn measure(port: u16, delay: Duration) {
    let ca = std::env::var_os("BENCH_CA").unwrap();
    let tls = Tls::anonymous(Some(ca.as_ref()), DatePolicy::Judge).unwrap();
    let options = Options { tls: Some(Arc::new(tls)), ..Options::new("", "localhost", port) };
    let dial: Arc<dyn Dial> = Arc::new(WebSocket::new(Arc::new(Aws::load(None).await)));
    let config = Config { dial: Arc::clone(&dial), ..Config::new(options.clone(), level("kept")) };
    let (invoker, background) = Invoker::new(config).unwrap();
    let mut tasks = JoinSet::new();
    let begun = BootInstant::now();
    tasks.spawn(background.run(CancellationToken::new()));
    invoker.connected().await;
    kept(&invoker).await;
    let first = BootInstant::now().saturating_since(begun);

    let (mut ours, mut samples) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(timed(kept(&invoker)).await);
        samples.push(timed(one_each(&*dial, &options)).await);
    }
    ours.sort_unstable();
    samples.sort_unstable();
    println!("{ROUNDS} calls each, in turns, {delay:?} each way; milliseconds: median, 99th percentile");
    row("a connection for each call", &samples);
    row("one connection, warm", &ours);
    println!("  {:<28}{:9.3}", "one connection, first call", millis(first));
    println!("ratio of the medians: {:.1}", millis(samples[ROUNDS / 2]) / millis(ours[ROUNDS / 2]));
}

fn row(name: &str, times: &[Duration]) {
    println!("  {name:<28}{:9.3} {:9.3}", millis(times[ROUNDS / 2]), millis(times[ROUNDS * 99 / 100]));
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let begun = BootInstant::now();
    work.await;
    BootInstant::now().saturating_since(begun)
}

async fn kept(invoker: &Invoker) {
    let answer = invoker.invoke(CallRequest::new(level("g"), level("m"), raw("7"), PATIENCE)).await;
    assert_eq!(answer.status.as_str(), "ok");
}

/// Connect, subscribe to the answer, publish the request, hear the answer, say goodbye.
async fn one_each(dial: &dyn Dial, options: &Options) {
    let client = format!("each-{}", Uuid::new_v4().simple());
    let mut connection = dial.dial(Options { client_id: client.clone(), ..options.clone() }).await.unwrap();
    let request =
        RequestTopic { target: level("g"), method: level("m"), client: level(&client), id: Uuid::new_v4() };
    let answer = ReplyTopic(request.clone()).to_string();
    connection.sender().subscribe(&[&answer], Qos::AtLeastOnce).unwrap();
    hear(&mut connection, |event| matches!(event, Event::Subscribed { .. })).await;
    let payload =
        format!(r#"{{"id":"{}","timestamp":0,"timeout":2000,"attempt":1,"request":7}}"#, request.id);
    let publish = Publish {
        topic: request.to_string(),
        payload: payload.into(),
        qos: Qos::AtMostOnce,
        ..Publish::default()
    };
    connection.sender().publish(publish).unwrap();
    hear(&mut connection, |event| matches!(event, Event::Message(message) if message.topic == answer)).await;
    connection.close().await;
}

async fn hear(connection: &mut Connection, wanted: impl Fn(&Event) -> bool) {
    while !wanted(&connection.next().await.unwrap()) {}
}
