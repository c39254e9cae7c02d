//! Messages in both directions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nowd_link::{
    Connection, DatePolicy, Event, LinkError, Options, Properties, Publish, Qos, SendError, Tls, TlsFiles,
};
use nowd_testkit::{Access, Ca, Identity, Listener, Mosquitto, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{
    BOUND, broker_by_hand, end, impatient, message, next, open, options, publish, subscribe,
};

#[tokio::test]
async fn messages_of_both_qualities_arrive_whole_and_are_acknowledged() {
    let broker = Mosquitto::start();
    let mut gateway = open("gate-1", broker.port()).await;
    let mut cloud = open("cloud", broker.port()).await;
    subscribe(&mut gateway, "gate-1/+/+/+").await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let sent = Publish {
            topic: "gate-1/open/app/1".to_owned(),
            payload: Bytes::from_static(b"{}"),
            qos,
            retain: false,
            properties: Properties {
                message_expiry: Some(Duration::from_millis(4_500)),
                response_topic: Some("app/1/gate-1/open/ack".to_owned()),
                correlation_data: Some(Bytes::from_static(&[0, 255])),
                content_type: Some("application/json".to_owned()),
            },
        };
        let ticket = cloud.sender().publish(sent.clone()).unwrap();
        let Event::Message(heard) = next(&mut gateway).await else { panic!("no message") };
        assert_eq!((heard.topic, heard.payload, heard.qos), (sent.topic, sent.payload, qos));
        assert_eq!(heard.properties.message_expiry, Some(Duration::from_secs(5)), "rounded up");
        let expected = Properties { message_expiry: heard.properties.message_expiry, ..sent.properties };
        assert_eq!(heard.properties, expected);
        assert_eq!(heard.ack.is_some(), qos == Qos::AtLeastOnce);
        if let Some(ack) = heard.ack {
            ack.send().unwrap();
            let Event::Acked { ticket: answered, result, .. } = next(&mut cloud).await else {
                panic!("no ack")
            };
            assert_eq!((answered, result), (ticket, Ok(())));
        }
    }
    gateway.sender().unsubscribe("gate-1/+/+/+").unwrap();
    assert!(matches!(next(&mut gateway).await, Event::Unsubscribed { .. }));
}

/// mosquitto stops after 20 unacknowledged messages: had one acknowledgement not reached it, this would not end.
#[tokio::test]
async fn a_thousand_messages_arrive_in_order_and_each_is_acknowledged() {
    const COUNT: usize = 1_000;
    let broker = Mosquitto::start();
    let mut gateway = open("gate-1", broker.port()).await;
    let mut cloud = open("cloud", broker.port()).await;
    subscribe(&mut gateway, "gate-1/#").await;
    let sender = cloud.sender();
    let send = async {
        let (mut sent, mut acked) = (0, 0);
        while acked < COUNT {
            while sent < COUNT {
                match sender.publish(publish("gate-1/a", &sent.to_string(), Qos::AtLeastOnce)) {
                    Ok(_) => sent += 1,
                    Err(SendError::Full) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if let Event::Acked { result: Ok(()), .. } = next(&mut cloud).await {
                acked += 1;
            }
        }
    };
    let receive = async {
        for expected in 0..COUNT {
            assert_eq!(message(&mut gateway).await.payload, expected.to_string());
        }
    };
    within(BOUND, "all of them", async { tokio::join!(send, receive) }).await;
}

#[tokio::test]
async fn what_the_policy_forbids_is_said() {
    let restricted = Listener { access: Access::GatewaysByClientId, ..Listener::default() };
    let broker = Mosquitto::with(&[restricted]);
    let mut gateway = open("gate-1", broker.port()).await;
    let sender = gateway.sender();
    for (topic, allowed) in
        [("app/1/gate-1/open/ack", true), ("app/1/gate-2/open/ack", false), ("nowd/presence/gate-1", true)]
    {
        sender.publish(publish(topic, "x", Qos::AtLeastOnce)).unwrap();
        let Event::Acked { result, topic: answered, .. } = next(&mut gateway).await else {
            panic!("no ack for {topic}")
        };
        assert_eq!((answered.as_str(), result.is_ok()), (topic, allowed), "{topic}: {result:?}");
    }
}

#[tokio::test]
async fn what_would_end_the_connection_is_refused_before() {
    let broker = Mosquitto::start();
    let connection = open("gate-1", broker.port()).await;
    let sender = connection.sender();
    let max = options("", 1).max_packet_size;
    let large = "x".repeat(usize::try_from(max).unwrap());
    for (topic, payload, expected) in [
        ("a/+/b", "", "is no topic"),
        ("", "", "is no topic"),
        ("a\0b", "", "is no topic"),
        (&"x".repeat(257), "", "is no topic"),
        ("a", &large, "more than the 163840 that the broker takes"),
    ] {
        let error = sender.publish(publish(topic, payload, Qos::AtLeastOnce)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(sender.subscribe(&["a/#/b"], Qos::AtMostOnce), Err(SendError::Filter { .. })));
    assert!(matches!(sender.subscribe(&["a"; 9], Qos::AtMostOnce), Err(SendError::Filter { .. })));
    assert!(matches!(sender.subscribe::<&str>(&[], Qos::AtMostOnce), Err(SendError::Filter { .. })));
}

#[tokio::test]
async fn a_packet_above_the_limit_does_not_stop_what_follows() {
    let broker = Mosquitto::start();
    let mut gateway = open("gate-1", broker.port()).await;
    subscribe(&mut gateway, "gate-1/#").await;
    let wide = Options { max_packet_size: 1024 * 1024, ..options("cloud", broker.port()) };
    let mut cloud = Connection::open(&wide).await.unwrap();
    for size in [200 * 1024, 1] {
        cloud.sender().publish(publish("gate-1/a", &"x".repeat(size), Qos::AtLeastOnce)).unwrap();
        assert!(matches!(next(&mut cloud).await, Event::Acked { .. }));
    }
    // The broker knows our limit from CONNECT and drops what is above it.
    assert_eq!(message(&mut gateway).await.payload.len(), 1);
}

#[tokio::test]
async fn a_second_connection_with_the_same_id_ends_the_first() {
    let broker = Mosquitto::start();
    let mut first = open("gate-1", broker.port()).await;
    let mut second = open("gate-1", broker.port()).await;
    // mosquitto 2.0.11 does not say why.
    let error = end(&mut first).await;
    assert!(matches!(error, LinkError::Disconnected { .. } | LinkError::Lost { .. }), "{error:?}");
    assert_eq!(first.sender().publish(publish("a", "x", Qos::AtMostOnce)), Err(SendError::NotConnected));
    assert!(matches!(end(&mut first).await, LinkError::Closed), "and stays closed");
    subscribe(&mut second, "a").await;
}

/// More comes in than the broker was allowed to send, and nothing can go out: what came is kept, and told once there is room for answers.
#[tokio::test]
async fn what_comes_in_while_answers_wait_is_kept_and_marked() {
    const COMING: u16 = 3_000;
    // 1,024 are on their way, and from 1,024 more that wait nothing more is told.
    const WAITING: usize = 4_000;
    let (options, stream) = broker_by_hand().await;
    let options = Options { user_timeout: BOUND, ..options };
    let mut gateway = Connection::open(&options).await.unwrap();
    let mut broker = within(BOUND, "CONNECT", stream).await.unwrap();
    let sender = gateway.sender();
    for _ in 0..WAITING {
        sender.publish(publish("a", "x", Qos::AtLeastOnce)).unwrap();
    }
    let sent = async {
        for id in 1..=COMING {
            let [high, low] = id.to_be_bytes();
            broker.write_all(&[0x32, 7, 0, 1, b'a', high, low, 0, b'x']).await.unwrap();
        }
        // Whoever waits for acknowledgements gets them behind all that.
        let mut read = vec![0; 64 * 1024];
        let (mut bytes, mut answered, mut acked) = (Vec::new(), 0, 0);
        while answered < WAITING || acked < usize::from(COMING) {
            let count = broker.read(&mut read).await.unwrap();
            bytes.extend_from_slice(&read[..count]);
            while let Some(length) = bytes.get(1).map(|length| usize::from(*length) + 2)
                && bytes.len() >= length
            {
                let packet: Vec<_> = bytes.drain(..length).collect();
                if packet[0] == 0x40 {
                    acked += 1;
                } else {
                    answered += 1;
                    broker.write_all(&[0x40, 2, packet[5], packet[6]]).await.unwrap();
                }
            }
        }
    };
    let heard = async {
        let (mut held, mut messages, mut acks) = (0, 0, 0);
        while messages < COMING || acks < WAITING {
            match next(&mut gateway).await {
                Event::Message(message) => {
                    messages += 1;
                    held += u16::from(message.held);
                    message.ack.unwrap().send().unwrap();
                }
                Event::Acked { result, .. } => {
                    result.unwrap();
                    acks += 1;
                }
                other @ (Event::Subscribed { .. } | Event::Unsubscribed { .. } | _) => panic!("{other:?}"),
            }
        }
        held
    };
    let (held, ()) = within(BOUND, "all of them", async { tokio::join!(heard, sent) }).await;
    assert!(held > 0, "messages were told while their answers could not go out");
}

/// Prints the median round trip: publish at `QoS` 1, broker, subscriber, acknowledgement. Run with `--nocapture`.
#[tokio::test]
async fn round_trips_are_measured() {
    let ca = Ca::new();
    let tls = Listener { tls: Some(ca.server()), ..Listener::default() };
    let broker = Mosquitto::with(&[Listener::default(), tls]);
    let Identity { ca: authority, certificate, key } = ca.client("echo");
    let files = TlsFiles { ca: Some(authority), certificate, key };
    let tls = Tls::load(&files, DatePolicy::Judge).unwrap();
    for (name, port, tls) in [("plain", broker.port(), None), ("TLS", broker.port_of(1), Some(Arc::new(tls)))]
    {
        let mut connection = Connection::open(&Options { tls, ..options("echo", port) }).await.unwrap();
        subscribe(&mut connection, "echo").await;
        println!("QoS 1 round trip through mosquitto, {name}: median {} us", median(&mut connection).await);
    }
}

async fn median(connection: &mut Connection) -> u128 {
    let sender = connection.sender();
    let mut micros = Vec::new();
    for _ in 0..300 {
        let start = tokio::time::Instant::now();
        sender.publish(publish("echo", "x", Qos::AtLeastOnce)).unwrap();
        let (mut heard, mut acked) = (false, false);
        while !(heard && acked) {
            if let Event::Message(message) = next(connection).await {
                message.ack.unwrap().send().unwrap();
                heard = true;
            } else {
                acked = true;
            }
        }
        micros.push(start.elapsed().as_micros());
    }
    micros.sort_unstable();
    micros[micros.len() / 2]
}

#[tokio::test]
async fn the_loops_of_an_idle_connection_go_round_within_their_bounds() {
    let broker = Mosquitto::start();
    let mut connection = Connection::open(&impatient("gate-1", broker.port())).await.unwrap();
    let [driver, watch] = connection.movements();
    assert_eq!(
        [(driver.name, driver.bound), (watch.name, watch.bound)],
        [
            ("the driver of the link", Duration::from_secs(5 + 3 * 2)),
            ("the watch of the link", Duration::from_millis(500))
        ]
    );
    let moved = async {
        loop {
            let [driver_now, watch_now] = connection.movements();
            // A ping has gone out, and nothing else was to do.
            if driver_now.moves > driver.moves && watch_now.moves > watch.moves {
                return;
            }
            tokio::select! {
                event = connection.next() => panic!("{event:?}"),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    };
    within(BOUND, "both loops", moved).await;
}
