//! Calls of an [`Invoker`].

use std::sync::Arc;
use std::time::Duration;

use nowd_cloud::{Answer, CallRequest};
use nowd_link::{Connection, DatePolicy, Options, Tls, TlsFiles};
use nowd_protocol::{Outcome, Status, Uuid};
use nowd_testkit::{Access, Ca, Identity, Listener, Mosquitto, wait_for, within};
use tokio::task::JoinSet;

use crate::gateway::{
    AHEAD, Cloud, Gateway, Observer, PATIENCE, level, ok, presence, raw, reply, retained, strict,
};

const BUDGET: Duration = Duration::from_secs(10);
/// For calls that are to run into their deadline, but not before they were sent.
const SHORT: Duration = Duration::from_secs(3);

fn request(target: &str, budget: Duration) -> CallRequest {
    CallRequest::new(level(target), level("m"), raw(r#"{"a":1}"#), budget)
}

async fn call(cloud: &Cloud, target: &str, budget: Duration) -> Answer {
    within(PATIENCE, "an answer", cloud.invoker.invoke(request(target, budget))).await
}

#[track_caller]
fn assert_answer(answer: &Answer, status: &str, outcome: Outcome, attempts: u32) {
    let found = (answer.status.as_str(), answer.outcome, answer.attempts);
    assert_eq!(found, (status, outcome, attempts), "{:?}", answer.error);
}

#[tokio::test]
async fn a_good_call() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    let answer = call(&cloud, "g", BUDGET).await;
    assert_answer(&answer, "ok", Outcome::Executed, 1);
    assert_eq!(answer.response.get(), r#"{"a":1}"#);
    assert_eq!(answer.timing.gateway.unwrap().plugin, 20);
    assert!(answer.timing.round_trip.unwrap() <= answer.timing.total);
    let seen = gateway.requests().remove(0);
    assert_eq!((seen.topic.id, seen.timeout, seen.attempt), (answer.id, Some(10_000), 1));
    assert_eq!(&seen.topic.client, cloud.invoker.client());
}

#[tokio::test]
async fn a_resync_is_followed_by_the_same_call_and_the_next_needs_none() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![strict(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    assert_answer(&call(&cloud, "g", BUDGET).await, "ok", Outcome::Executed, 2);
    let third = request("g", BUDGET);
    let deadline = third.received.saturating_add(BUDGET).as_micros() + AHEAD;
    assert_answer(&cloud.invoker.invoke(third).await, "ok", Outcome::Executed, 1);
    let seen = gateway.requests();
    assert_eq!(seen.iter().map(|r| r.attempt).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(seen[0].topic, seen[1].topic);
    assert_eq!((seen[0].not_after, seen[0].timestamp), (None, seen[1].timestamp));
    let not_after = seen[2].not_after.unwrap();
    assert_eq!(not_after.incarnation, gateway.incarnation);
    assert!(not_after.at <= deadline, "{} us late", not_after.at.saturating_sub(deadline));
    // A new start of the gateway's process, of which nothing was heard but its presence.
    drop(gateway);
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![strict(r, s)]).await;
    assert_answer(&call(&cloud, "g", BUDGET).await, "ok", Outcome::Executed, 2);
    assert_eq!(gateway.requests().len(), 2);
}

#[tokio::test]
async fn silence_is_unknown() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |_, _| Vec::new()).await;
    let cloud = Cloud::start(broker.port()).await;
    let answer = call(&cloud, "g", SHORT).await;
    assert_answer(&answer, "no_reply", Outcome::Unknown, 2);
    assert!(answer.timing.total >= SHORT);
    // Once more at half the budget, as the same call.
    let strip = |payload: &String| payload.replace(",\"attempt\":2", "");
    let payloads = gateway.payloads();
    assert_eq!((payloads.len(), strip(&payloads[1])), (2, payloads[0].clone()));
}

#[tokio::test]
async fn an_absent_gateway_is_known_within_one_round_trip_and_nothing_is_published() {
    let broker = Mosquitto::start();
    let observer = Observer::start(broker.port(), "g").await;
    let cloud = Cloud::start(broker.port()).await;
    for _ in 0..2 {
        let answer = call(&cloud, "g", Duration::from_secs(60)).await;
        assert_answer(&answer, "offline", Outcome::NotExecuted, 0);
    }
    // One that was there, and whose will said that it left.
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    drop(gateway);
    let log = |text: &str| broker.log().iter().any(|line| line.contains(text));
    wait_for(PATIENCE, "the will", || log("Client g closed its connection") || log("Client g disconnected"))
        .await;
    let other = Cloud::start(broker.port()).await;
    assert_answer(&call(&other, "g", Duration::from_secs(60)).await, "offline", Outcome::NotExecuted, 0);
    assert_eq!(observer.heard().await, Vec::<String>::new());
}

#[tokio::test]
async fn presence_is_followed_and_a_stale_will_is_not() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    assert_answer(&call(&cloud, "g", BUDGET).await, "ok", Outcome::Executed, 1);
    gateway.say(false, Uuid::new_v4());
    // The reply comes after the presence on the same connection, so the second call knows of it.
    for _ in 0..2 {
        assert_answer(&call(&cloud, "g", BUDGET).await, "ok", Outcome::Executed, 1);
    }
    gateway.say(false, gateway.session);
    let mut last = String::new();
    within(PATIENCE, "offline", async {
        while last != "offline" {
            last = call(&cloud, "g", BUDGET).await.status.as_str().to_owned();
        }
    })
    .await;
    gateway.say(true, Uuid::new_v4());
    within(PATIENCE, "online", async {
        while last != "ok" {
            last = call(&cloud, "g", BUDGET).await.status.as_str().to_owned();
        }
    })
    .await;
}

#[tokio::test]
async fn two_hundred_at_once_to_two_gateways_get_each_their_own_answer() {
    let broker = Mosquitto::start();
    let _one = Gateway::start(broker.port(), "g1", |r, s| vec![strict(r, s)]).await;
    let _two = Gateway::start(broker.port(), "g2", |r, s| vec![strict(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    let mut calls = JoinSet::new();
    for n in 0..200 {
        let invoker = cloud.invoker.clone();
        let target = if n % 2 == 0 { "g1" } else { "g2" };
        calls.spawn(async move {
            let call = CallRequest::new(level(target), level("m"), raw(&n.to_string()), PATIENCE);
            (n, invoker.invoke(call).await)
        });
    }
    while let Some(done) = calls.join_next().await {
        let (n, answer) = done.unwrap();
        assert_eq!(
            (answer.status.as_str(), answer.response.get()),
            ("ok", &*n.to_string()),
            "{:?}",
            answer.error
        );
    }
    assert_eq!(cloud.invoker.dropped(), nowd_cloud::Dropped::default());
}

#[tokio::test]
async fn after_a_broker_restart_the_next_call_works() {
    let mut broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |_, _| Vec::new()).await;
    let cloud = Cloud::start(broker.port()).await;
    let under_way = cloud.invoker.invoke(request("g", Duration::from_secs(5)));
    let restart = async {
        wait_for(PATIENCE, "the request", || !gateway.requests().is_empty()).await;
        broker.restart();
        drop(gateway);
        let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
        within(PATIENCE, "the connection", async {
            while !cloud.invoker.is_connected() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_answer(&call(&cloud, "g", PATIENCE).await, "ok", Outcome::Executed, 1);
        gateway
    };
    let (answer, gateway) =
        Box::pin(within(PATIENCE * 2, "both", async { tokio::join!(under_way, restart) })).await;
    // It is sent again once, if its half had not passed before the connection was back.
    let again = gateway.requests().iter().filter(|request| request.topic.id == answer.id).count();
    let expected = if again == 1 { ("ok", Outcome::Executed, 2) } else { ("no_reply", Outcome::Unknown, 1) };
    assert_answer(&answer, expected.0, expected.1, expected.2);
}

#[tokio::test]
async fn without_a_broker_nothing_is_sent_and_it_says_so() {
    let mut broker = Mosquitto::start();
    let port = broker.port();
    broker.stop();
    let cloud = Cloud::unconnected(Options::new("", "127.0.0.1", port), 10);
    let answer = call(&cloud, "g", Duration::from_millis(300)).await;
    assert_answer(&answer, "offline", Outcome::NotExecuted, 0);
    assert!(answer.error.unwrap().message.contains("the cloud side is not connected to the broker"));
    // One that comes up in time is good enough.
    broker.restart();
    let _gateway = Gateway::start(port, "g", |r, s| vec![ok(r, s)]).await;
    assert_answer(&call(&cloud, "g", PATIENCE).await, "ok", Outcome::Executed, 1);
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |request, stamp| {
        let (topic, payload) = ok(request, stamp.clone());
        let other_id = payload.replace(&request.topic.id.to_string(), &Uuid::new_v4().to_string());
        let (_, busy) = reply(request, Status::Busy, stamp);
        vec![
            (topic.replace("/g/m/", "/h/m/"), busy.clone()),
            (topic.replace("/g/m/", "/g/n/"), busy.clone()),
            (topic.clone(), other_id),
            (topic.clone(), "no JSON".into()),
            (topic.clone(), payload.clone()),
            (topic.clone(), payload),
            (topic, busy),
        ]
    })
    .await;
    let cloud = Cloud::start(broker.port()).await;
    assert_answer(&call(&cloud, "g", BUDGET).await, "ok", Outcome::Executed, 1);
    wait_for(PATIENCE, "the late ones", || cloud.invoker.dropped().unknown == 2).await;
    let dropped = cloud.invoker.dropped();
    assert_eq!((dropped.mismatched, dropped.unreadable), (3, 1));
    assert_eq!(gateway.requests().len(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_frees_its_place() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |_, _| Vec::new()).await;
    let cloud = Cloud::with(Options::new("", "127.0.0.1", broker.port()), 1).await;
    {
        let call = std::pin::pin!(cloud.invoker.invoke(request("g", PATIENCE * 3)));
        tokio::select! {
            answer = call => panic!("{answer:?}"),
            () = wait_for(PATIENCE, "the request", || !gateway.requests().is_empty()) => {}
        }
    }
    let (second, third) =
        tokio::join!(cloud.invoker.invoke(request("g", SHORT)), cloud.invoker.invoke(request("g", SHORT)),);
    assert_answer(&second, "no_reply", Outcome::Unknown, 2);
    assert_answer(&third, "busy", Outcome::NotExecuted, 0);
}

#[tokio::test]
async fn the_same_id_twice_at_once_is_one_call() {
    let broker = Mosquitto::start();
    let gateway =
        Gateway::start(broker.port(), "g", |r, s| if r.attempt == 2 { vec![ok(r, s)] } else { Vec::new() })
            .await;
    let cloud = Cloud::start(broker.port()).await;
    let id = Some(Uuid::new_v4());
    let other = nowd_protocol::RawValue::from_string("[]".into()).unwrap();
    let (first, second, hasty, third) = tokio::join!(
        cloud.invoker.invoke(CallRequest { id, ..request("g", SHORT * 4) }),
        cloud.invoker.invoke(CallRequest { id, ..request("g", PATIENCE) }),
        cloud.invoker.invoke(CallRequest { id, ..request("g", Duration::from_millis(1)) }),
        cloud.invoker.invoke(CallRequest { id, request: other, ..request("g", SHORT) }),
    );
    assert_answer(&first, "ok", Outcome::Executed, 2);
    assert_answer(&second, "ok", Outcome::Executed, 2);
    assert!(matches!(hasty.outcome, Outcome::Unknown | Outcome::Executed), "{hasty:?}");
    assert_answer(&third, "conflict", Outcome::NotExecuted, 0);
    assert_eq!(gateway.requests().len(), 2);
}

#[tokio::test]
async fn more_targets_than_presences_may_be_watched() {
    let broker = Mosquitto::start();
    let port = broker.port();
    let announcer = Connection::open(&Options::new("announcer", "127.0.0.1", port)).await.unwrap();
    let mut gateways = Vec::new();
    for n in 0..60 {
        gateways.push(Gateway::start(port, &format!("g{n}"), |r, s| vec![ok(r, s)]).await);
    }
    let cloud = Cloud::start(port).await;
    for round in 0..2 {
        let calls: Vec<_> = (0..60).map(|n| (n, cloud.invoker.clone())).collect();
        let mut tasks = JoinSet::new();
        for (n, invoker) in calls {
            tasks.spawn(async move { invoker.invoke(request(&format!("g{n}"), PATIENCE)).await });
        }
        while let Some(answer) = tasks.join_next().await {
            let answer = answer.unwrap();
            assert_eq!(answer.status.as_str(), "ok", "round {round}: {:?}", answer.error);
        }
    }
    drop(announcer);
}

#[tokio::test]
async fn over_tls_with_the_shipped_policies() {
    let ca = Ca::new();
    let access = Access::GatewaysByCertificate { cloud: vec!["cloud".into()] };
    let broker = Mosquitto::with(&[Listener { tls: Some(ca.server()), access }]);
    let tls = |Identity { ca, certificate, key }| {
        Tls::load(&TlsFiles { ca: Some(ca), certificate, key }, DatePolicy::Judge).unwrap()
    };
    let _gateway = Gateway::start_tls(broker.port(), "g", tls(ca.client("g"))).await;
    let link = Options {
        tls: Some(Arc::new(tls(ca.client("cloud")))),
        ..Options::new("", "localhost", broker.port())
    };
    let cloud = Cloud::with(link, 10).await;
    assert_answer(&call(&cloud, "g", BUDGET).await, "ok", Outcome::Executed, 1);
    assert_answer(&call(&cloud, "h", BUDGET).await, "offline", Outcome::NotExecuted, 0);
}

#[tokio::test]
async fn a_retained_presence_from_before_is_enough() {
    let broker = Mosquitto::start();
    let mut link = Connection::open(&Options::new("someone", "127.0.0.1", broker.port())).await.unwrap();
    let topic = "nowd/presence/g".to_owned();
    link.sender().publish(retained(topic, presence(false, Uuid::new_v4(), Uuid::new_v4()))).unwrap();
    link.next().await.unwrap();
    let cloud = Cloud::start(broker.port()).await;
    let answer = call(&cloud, "g", Duration::from_secs(60)).await;
    assert_answer(&answer, "offline", Outcome::NotExecuted, 0);
    assert!(answer.error.unwrap().message.contains("the gateway is not connected"));
}
