use std::time::Duration;

use nowd_testkit::{Fault, Nucleus, Style, wait_for, within};
use serde_json::json;

use super::*;

const LONG: Duration = Duration::from_secs(30);
const FILTER: &str = "gw-1/+/+/+";

fn options(nucleus: &Nucleus) -> ipc::Options {
    let environment = nucleus.environment("io.nowd.Gateway");
    let of = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    ipc::Options::from(&ipc::Environment::of(of).unwrap())
}

async fn next(relay: &mut Relay) -> Result<Event, RelayError> {
    within(LONG, "an event", relay.next()).await
}

async fn opened(nucleus: &Nucleus) -> Relay {
    within(LONG, "a connection", Relay::open(Some(options(nucleus)))).await.unwrap()
}

async fn subscribed(nucleus: &Nucleus) -> Relay {
    let mut relay = opened(nucleus).await;
    let ticket = relay.sender().subscribe(FILTER.into()).unwrap();
    let Event::Subscribed { ticket: told, results } = next(&mut relay).await.unwrap() else { panic!() };
    assert_eq!((told, results), (ticket, vec![(FILTER.to_owned(), Ok(Qos::AtMostOnce))]));
    relay
}

fn message(payload: usize) -> Publish {
    Publish { topic: "app/1/gw-1/m/ack".into(), payload: vec![b'x'; payload].into(), ..Publish::default() }
}

#[tokio::test]
async fn messages_come_without_acknowledgement_and_each_that_goes_is_answered() {
    let nucleus = Nucleus::start(Style::Classic);
    let mut relay = subscribed(&nucleus).await;
    let retained = nowd_testkit::Published {
        topic: "gw-1/m/app/1".into(),
        payload: b"{}".to_vec(),
        retain: true,
        ..nowd_testkit::Published::default()
    };
    nucleus.publish_message(&retained);
    let Event::Message(heard) = next(&mut relay).await.unwrap() else { panic!() };
    assert!(
        heard.retain && heard.ack.is_none() && heard.topic == "gw-1/m/app/1" && &heard.payload[..] == b"{}"
    );

    let sender = relay.sender();
    for result in ["", "UnauthorizedError: ", "the nucleus refused PublishToIoTCore"] {
        match result {
            "" => {}
            "UnauthorizedError: " => nucleus.refuse("PublishToIoTCore", "UnauthorizedError", "no"),
            _ => nucleus.refuse("PublishToIoTCore", "ServiceError", "away"),
        }
        let sent = sender.publish(message(2)).unwrap();
        let Event::Acked { ticket, topic, result: told } = next(&mut relay).await.unwrap() else { panic!() };
        assert_eq!((ticket, topic.as_str()), (sent, "app/1/gw-1/m/ack"));
        match told {
            Ok(()) => assert!(result.is_empty()),
            Err(told) => assert!(!result.is_empty() && told.starts_with(result), "{told}"),
        }
    }
    let published = &nucleus.published()[0];
    assert_eq!((published.qos, published.retain, published.expiry), (1, false, Some(60)));
}

#[tokio::test]
async fn a_message_before_the_nucleus_has_said_so_shows_that_the_subscription_is_granted() {
    let nucleus = Nucleus::start(Style::Lite);
    nucleus.fault("SubscribeToIoTCore", Fault::Silent);
    let mut relay = opened(&nucleus).await;
    let ticket = relay.sender().subscribe(FILTER.into()).unwrap();
    tokio::select! {
        event = relay.next() => panic!("{event:?}"),
        () = wait_for(LONG, "the subscription", || nucleus.calls("SubscribeToIoTCore") == 1) => {}
    }
    nucleus.publish("gw-1/m/app/1", b"1");
    let Event::Subscribed { ticket: told, results } = next(&mut relay).await.unwrap() else { panic!() };
    assert_eq!((told, results), (ticket, vec![(FILTER.to_owned(), Ok(Qos::AtMostOnce))]));
    let Event::Message(first) = next(&mut relay).await.unwrap() else { panic!() };
    // The answer, to the second question of this connection, is no news.
    nucleus.send_frame(
        0,
        0,
        2,
        &[("service-model-type", "aws.greengrass#SubscribeToIoTCoreResponse")],
        b"{}",
    );
    nucleus.publish("gw-1/m/app/2", b"2");
    relay.sender().publish(message(2)).unwrap();
    let (mut second, mut acked) = (None, false);
    while second.is_none() || !acked {
        let event = next(&mut relay).await.unwrap();
        assert!(!matches!(event, Event::Subscribed { .. }), "{event:?}");
        acked |= matches!(event, Event::Acked { .. });
        if let Event::Message(message) = event {
            second = Some(message);
        }
    }
    assert_eq!((&first.payload[..], &second.unwrap().payload[..]), (&b"1"[..], &b"2"[..]));
}

#[tokio::test]
async fn who_sends_never_waits_and_is_told_when_there_is_no_room() {
    let nucleus = Nucleus::start(Style::Classic);
    let mut relay = subscribed(&nucleus).await;
    nucleus.hold();
    let sender = relay.sender();
    let mut taken = 0;
    while sender.publish(message(2)).is_ok() {
        taken += 1;
        // Whoever polls it takes some out of the queue, and no more than it may ask at once.
        tokio::select! { biased; event = relay.next() => panic!("{event:?}"), () = std::future::ready(()) => {} }
    }
    assert_eq!(sender.publish(message(2)), Err(SendError::Full));
    assert_eq!(taken, QUEUE + UNDER_WAY);
    nucleus.release();
    for _ in 0..taken {
        assert!(matches!(next(&mut relay).await, Ok(Event::Acked { result: Ok(()), .. })));
    }
    drop(relay);
    assert_eq!(sender.publish(message(2)), Err(SendError::NotConnected));
}

#[tokio::test]
async fn each_nucleus_has_its_own_bound() {
    for (style, named, most) in
        [(Style::Classic, "aws.greengrass.Nucleus", MAX_PAYLOAD_LEN), (Style::Lite, LITE, LITE_PAYLOAD)]
    {
        let nucleus = Nucleus::start(style);
        nucleus.set_configuration(named, json!({"iotDataEndpoint": "localhost"}));
        let mut relay = subscribed(&nucleus).await;
        let sender = relay.sender();
        assert_eq!(sender.most_payload(), most);
        assert_eq!(sender.publish(message(most + 1)), Err(SendError::TooLarge { size: most + 1, max: most }));
        // All that an answer may have beside its payload.
        let properties = Properties {
            correlation_data: Some(vec![0xFF; 16].into()),
            content_type: Some("application/json".into()),
            ..Properties::default()
        };
        sender.publish(Publish { topic: "t".repeat(256), properties, ..message(most) }).unwrap();
        let event = next(&mut relay).await.unwrap();
        assert!(matches!(event, Event::Acked { result: Ok(()), .. }), "{style:?}: {event:?}");
        assert_eq!(nucleus.published().pop().unwrap().payload.len(), most);
    }
    // One that does not say what it is gets what all of them take.
    let nucleus = Nucleus::start(Style::Classic);
    nucleus.refuse("GetConfiguration", "ServiceError", "not now");
    assert_eq!(opened(&nucleus).await.sender().most_payload(), LITE_PAYLOAD);
}

#[tokio::test]
async fn why_there_is_none() {
    let none = Relay::open(None).await.unwrap_err();
    assert!(none.needs_mending() && none.kind() == "not_a_component", "{none}");

    let nucleus = Nucleus::start(Style::Classic);
    let known = options(&nucleus);
    nucleus.rotate_token("io.nowd.Gateway");
    let refused = Relay::open(Some(known)).await.unwrap_err();
    assert!(refused.needs_mending() && refused.kind() == "nucleus", "{refused}");

    // What the recipe does not allow is the answer, and what may pass is the end of the connection.
    for (code, ends) in [("UnauthorizedError", false), ("ServiceError", true)] {
        let mut relay = opened(&nucleus).await;
        nucleus.refuse("SubscribeToIoTCore", code, "no");
        relay.sender().subscribe(FILTER.into()).unwrap();
        match next(&mut relay).await {
            Ok(Event::Subscribed { results, .. }) => assert!(!ends && results[0].1.is_err(), "{results:?}"),
            Err(e) => assert!(ends && e.kind() == "subscription_ended" && !e.needs_mending(), "{e}"),
            Ok(other) => panic!("{other:?}"),
        }
    }
    nucleus.allow("SubscribeToIoTCore");
    let mut relay = subscribed(&nucleus).await;
    nucleus.end_subscriptions();
    assert!(matches!(next(&mut relay).await, Err(RelayError::Ended { .. })));
    let mut relay = subscribed(&nucleus).await;
    nucleus.close_all();
    assert!(matches!(next(&mut relay).await, Err(RelayError::Ipc(_))));
}

#[tokio::test]
async fn what_was_handed_over_goes_out_before_the_end_and_nobody_waits_long_for_it() {
    let nucleus = Nucleus::start(Style::Classic);
    let relay = subscribed(&nucleus).await;
    relay.sender().publish(message(3)).unwrap();
    relay.close().await;
    wait_for(LONG, "the message", || nucleus.published().len() == 1).await;

    let relay = subscribed(&nucleus).await;
    nucleus.hold();
    relay.sender().publish(message(3)).unwrap();
    within(Duration::from_secs(5), "the end", relay.close()).await;
}
