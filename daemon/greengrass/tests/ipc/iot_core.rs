//! Messages of AWS IoT Core through the nucleus.

use nowd_greengrass::{CallError, Event, Message, Publish, Qos};
use nowd_testkit::{Mosquitto, Nucleus, Published, Style, wait_for, within};

use crate::common::{BOUND, OURS, end, next, open};

fn publish(topic: &str, payload: &[u8]) -> Publish {
    Publish { topic: topic.to_owned(), payload: payload.to_vec(), ..Publish::default() }
}

#[tokio::test]
async fn messages_come_and_go_with_everything_that_they_have() {
    let nucleus = Nucleus::start(Style::Classic);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    let subscription = client.subscribe_iot_core("gw-7/+/+/+", Qos::AtLeastOnce).await.unwrap();
    let full = Publish {
        topic: "gw-7/window.set/app/1".to_owned(),
        payload: vec![0, 255, 10],
        qos: Qos::AtMostOnce,
        retain: true,
        user_properties: vec![("a".to_owned(), "b".to_owned())],
        expiry: Some(7),
        correlation_data: Some(vec![1, 2, 3]),
        response_topic: Some("app/1".to_owned()),
        content_type: Some("application/json".to_owned()),
    };
    client.publish_iot_core(&full).await.unwrap();
    let Event::Message { subscription: on, message } = next(&mut connection).await else {
        panic!("no message")
    };
    assert_eq!(on, subscription);
    let expected = Message {
        topic: full.topic.clone(),
        payload: full.payload.clone(),
        retain: Some(true),
        user_properties: full.user_properties.clone(),
        expiry: full.expiry,
        correlation_data: full.correlation_data.clone(),
        response_topic: full.response_topic.clone(),
        content_type: full.content_type.clone(),
    };
    assert_eq!(message, expected);
    let published = nucleus.published().pop().unwrap();
    assert_eq!((published.component.as_str(), published.qos, published.expiry), (OURS, 0, Some(7)));
    client.publish_iot_core(&publish("gw-8/window.set/app/1", b"another's")).await.unwrap();
    nucleus.publish("gw-7/a/b/c", b"");
    let Event::Message { message, .. } = next(&mut connection).await else { panic!("no message") };
    assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("gw-7/a/b/c", b"".as_slice()));
}

#[tokio::test]
async fn the_largest_payload_of_iot_core_fits_both_ways() {
    let nucleus = Nucleus::start(Style::Classic);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    client.subscribe_iot_core("#", Qos::AtLeastOnce).await.unwrap();
    let largest = publish(&"t".repeat(256), &vec![b'x'; 128 * 1024]);
    client.publish_iot_core(&largest).await.unwrap();
    let Event::Message { message, .. } = next(&mut connection).await else { panic!("no message") };
    assert_eq!(message.payload, largest.payload);
    let error = client.publish_iot_core(&publish("t", &vec![b'x'; 200 * 1024])).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge { size: 273_000..274_000, max: 262_144, .. }), "{error:?}");
    client.publish_iot_core(&publish("t", b"still here")).await.unwrap();
}

#[tokio::test]
async fn lite_hands_on_little_and_loses_the_rest() {
    let nucleus = Nucleus::start(Style::Lite);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    client.subscribe_iot_core("#", Qos::AtLeastOnce).await.unwrap();
    nucleus.publish("long", &[b'x'; 5_000]);
    let known = Publish { expiry: Some(3), ..publish("short", b"x") };
    client.publish_iot_core(&known).await.unwrap();
    let Event::Message { message, .. } = next(&mut connection).await else { panic!("no message") };
    let expected = Message { topic: "short".to_owned(), payload: b"x".to_vec(), ..Message::default() };
    assert_eq!(message, expected, "the long one never came");
    let error = client.publish_iot_core(&publish("t", &[b'x'; 8_000])).await.unwrap_err();
    assert_eq!(error, CallError::Closed { operation: "PublishToIoTCore" });
    drop(end(&mut connection).await);
}

#[tokio::test]
async fn a_broker_that_was_away_is_subscribed_to_again() {
    let mut broker = Mosquitto::start();
    let nucleus = Nucleus::bridged(Style::Lite, &broker);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    client.subscribe_iot_core("gw-7/#", Qos::AtLeastOnce).await.unwrap();
    broker.stop();
    wait_until(|| async { client.publish_iot_core(&publish("gw-7/a", b"lost")).await.is_err() }).await;
    broker.restart();
    // Whatever it takes until it is there: the last of these comes back.
    let published =
        wait_until(|| async { client.publish_iot_core(&publish("gw-7/b", b"back")).await.is_ok() });
    published.await;
    client.subscribe_iot_core("gw-8/#", Qos::AtLeastOnce).await.unwrap();
    client.publish_iot_core(&publish("gw-7/c", b"last")).await.unwrap();
    loop {
        let Event::Message { message, .. } = next(&mut connection).await else { panic!("no message") };
        if message.topic == "gw-7/c" {
            break;
        }
    }
}

async fn wait_until<F: Future<Output = bool>>(mut look: impl FnMut() -> F) {
    within(BOUND, "the broker", async {
        while !look().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_real_broker_stands_behind_it() {
    let broker = Mosquitto::start();
    let nucleus = Nucleus::bridged(Style::Classic, &broker);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    client.subscribe_iot_core("gw-7/#", Qos::AtLeastOnce).await.unwrap();
    client.publish_iot_core(&publish("gw-7/a", b"there and back")).await.unwrap();
    let Event::Message { message, .. } = next(&mut connection).await else { panic!("no message") };
    assert_eq!(
        (message.topic.as_str(), message.payload.as_slice()),
        ("gw-7/a", b"there and back".as_slice())
    );
    assert_eq!(nucleus.published().len(), 1);
    let nothing = Published::default();
    assert_ne!(nucleus.published()[0], nothing);
    wait_for(BOUND, "the nucleus at the broker", || broker.log().iter().any(|line| line.contains("core-1")))
        .await;
}
