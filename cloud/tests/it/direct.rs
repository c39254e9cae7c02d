//! Calls that are delivered by Direct Messaging, through a stand-in for the service.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use nowd_cloud::aws::Direct;
use nowd_cloud::{Answer, CallRequest, Config, Delivery, Invoker};
use nowd_link::Options;
use nowd_protocol::Outcome;
use nowd_testkit::{Ca, DirectAnswer, IotCore, Mosquitto, REGION, within};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::gateway::{Gateway, PATIENCE, level, ok, raw, strict};

const BUDGET: Duration = Duration::from_secs(10);

/// A broker, the stand-in before it, and an invoker that delivers through it.
struct Cloud {
    broker: Mosquitto,
    core: IotCore,
    invoker: Invoker,
    _tasks: JoinSet<()>,
}

impl Cloud {
    async fn start() -> Self {
        let (ca, broker) = (Ca::new(), Mosquitto::start());
        let core = IotCore::start(&ca, &broker);
        let now = core.credentials();
        let credentials =
            Credentials::new(now.access_key, now.secret_key, Some(now.session_token), None, "test");
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let direct = Direct::new(&sdk, &core.endpoint(), Some(&ca.file())).unwrap();
        let link = Options::new("", "127.0.0.1", broker.port());
        let delivery = Delivery::Direct(Arc::new(direct));
        let (invoker, background) =
            Invoker::new(Config { delivery, ..Config::new(link, level("cloud")) }).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(background.run(CancellationToken::new()));
        within(PATIENCE, "the cloud side's connection", invoker.connected()).await;
        Self { broker, core, invoker, _tasks: tasks }
    }

    async fn call(&self, budget: Duration) -> Answer {
        let call = CallRequest::new(level("g"), level("m"), raw(r#"{"a":1}"#), budget);
        within(PATIENCE, "an answer", self.invoker.invoke(call)).await
    }
}

#[track_caller]
fn assert_answer(answer: &Answer, status: &str, outcome: Outcome, attempts: u32) {
    let found = (answer.status.as_str(), answer.outcome, answer.attempts);
    assert_eq!(found, (status, outcome, attempts), "{:?}", answer.error);
}

#[tokio::test]
async fn a_gateway_is_called_and_a_resync_followed() {
    let cloud = Cloud::start().await;
    let gateway = Gateway::start(cloud.broker.port(), "g", |r, s| vec![strict(r, s)]).await;
    assert_answer(&cloud.call(BUDGET).await, "ok", Outcome::Executed, 2);
    assert_answer(&cloud.call(BUDGET).await, "ok", Outcome::Executed, 1);
    assert_eq!(gateway.requests().len(), 3);
    let messages = cloud.core.direct_messages();
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|message| message.client_id == "g" && message.confirmation));
    // The reply overtakes the answer of the service, so that the second attempt needs a connection of its own.
    assert!(cloud.core.handshakes() <= 2);
}

#[tokio::test]
async fn who_is_not_connected_is_offline_at_once() {
    let cloud = Cloud::start().await;
    let answer = cloud.call(BUDGET).await;
    assert_eq!((answer.status.as_str(), answer.outcome), ("offline", Outcome::NotExecuted));
    assert!(answer.timing.total < BUDGET / 2, "{:?}", answer.timing.total);
}

#[tokio::test]
async fn what_the_service_says_ends_a_call_only_if_nothing_was_delivered() {
    let cloud = Cloud::start().await;
    let gateway = Gateway::start(cloud.broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    for (status, expected) in [(403, "unavailable"), (413, "unavailable"), (429, "busy")] {
        cloud.core.answer_direct(DirectAnswer::Refused(status));
        let answer = cloud.call(BUDGET).await;
        let found = (answer.status.as_str(), answer.outcome);
        assert_eq!(found, (expected, Outcome::NotExecuted), "{status}: {:?}", answer.error);
    }
    assert!(gateway.requests().is_empty());
    for answer in [DirectAnswer::Delivered(500), DirectAnswer::Delivered(504), DirectAnswer::Cut] {
        cloud.core.answer_direct(answer);
        assert_answer(&cloud.call(BUDGET).await, "ok", Outcome::Executed, 1);
    }
}

#[tokio::test]
async fn a_request_that_was_lost_with_its_connection_goes_out_once_more() {
    let cloud = Cloud::start().await;
    let gateway = Gateway::start(cloud.broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    cloud.core.answer_direct(DirectAnswer::Refused(504));
    let answer = cloud.call(Duration::from_secs(4)).await;
    assert_answer(&answer, "ok", Outcome::Executed, 2);
    assert_eq!(gateway.requests().len(), 1);
}

#[tokio::test]
async fn silence_after_a_delivery_is_unknown() {
    let cloud = Cloud::start().await;
    let _gateway = Gateway::start(cloud.broker.port(), "g", |_, _| Vec::new()).await;
    let answer = cloud.call(Duration::from_secs(2)).await;
    assert_eq!((answer.status.as_str(), answer.outcome), ("no_reply", Outcome::Unknown));
}
