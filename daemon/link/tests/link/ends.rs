//! How connections end, and that nothing outlives them.

use std::time::Duration;

use nowd_link::{Connection, Event, LinkError, Options, Qos, SendError, Will};
use nowd_testkit::{Mosquitto, wait_for, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use crate::common::{
    BOUND, broker_by_hand, end, impatient, message, next, open, options, publish, subscribe,
};

#[tokio::test]
async fn the_will_is_published_when_cut_and_not_after_a_goodbye() {
    let broker = Mosquitto::start();
    let mut watcher = open("watcher", broker.port()).await;
    subscribe(&mut watcher, "#").await;
    let will = |payload: &[u8]| {
        let will = Will { topic: "presence".to_owned(), payload: payload.to_vec(), retain: false };
        Options { will: Some(will), ..options("gate-1", broker.port()) }
    };
    let polite = Connection::open(&will(b"polite")).await.unwrap();
    polite.sender().publish(publish("last", "words", Qos::AtMostOnce)).unwrap();
    polite.close().await;
    let cut = Connection::open(&will(b"cut")).await.unwrap();
    drop(cut);
    assert_eq!(
        message(&mut watcher).await.payload,
        "words",
        "all that was queued goes out before the goodbye"
    );
    assert_eq!(message(&mut watcher).await.payload, "cut", "the first will is that of the second connection");
}

#[tokio::test]
async fn after_a_goodbye_the_owner_hears_that_it_is_closed() {
    let broker = Mosquitto::start();
    let mut connection = open("gate-1", broker.port()).await;
    let sender = connection.sender();
    sender.disconnect().unwrap();
    assert_eq!(sender.publish(publish("a", "x", Qos::AtMostOnce)), Err(SendError::NotConnected));
    assert!(matches!(end(&mut connection).await, LinkError::Closed));
    wait_for(BOUND, "the broker's word", || {
        broker.log().iter().any(|line| line.contains("Received DISCONNECT from gate-1"))
    })
    .await;
}

#[tokio::test]
async fn nothing_of_an_old_connection_appears_on_a_new_one() {
    let mut broker = Mosquitto::start();
    let mut old = open("gate-1", broker.port()).await;
    subscribe(&mut old, "old/#").await;
    let sender = old.sender();
    sender.publish(publish("old/a", "x", Qos::AtLeastOnce)).unwrap();
    let ack = loop {
        if let Event::Message(message) = next(&mut old).await {
            break message.ack.unwrap();
        }
    };
    // Frozen first: what is sent now can reach nobody, and the link cannot know it yet.
    broker.pause();
    for _ in 0..50 {
        sender.publish(publish("old/late", "x", Qos::AtLeastOnce)).unwrap();
        sender.publish(publish("old/late", "x", Qos::AtMostOnce)).unwrap();
    }
    broker.restart();
    let mut watcher = open("watcher", broker.port()).await;
    subscribe(&mut watcher, "#").await;
    let error = end(&mut old).await;
    assert!(matches!(error, LinkError::Lost { .. }), "{error:?}");
    let mut new = open("gate-1", broker.port()).await;
    assert_eq!(sender.publish(publish("old/late", "x", Qos::AtLeastOnce)), Err(SendError::NotConnected));
    assert_eq!(ack.send(), Err(SendError::NotConnected));
    new.sender().publish(publish("new", "x", Qos::AtLeastOnce)).unwrap();
    assert!(matches!(next(&mut new).await, Event::Acked { .. }));
    assert_eq!(message(&mut watcher).await.topic, "new", "the first and only message");
}

#[tokio::test]
async fn a_frozen_broker_is_found_idle_and_busy() {
    let broker = Mosquitto::start();
    let mut idle = Connection::open(&impatient("idle", broker.port())).await.unwrap();
    let mut busy = Connection::open(&impatient("busy", broker.port())).await.unwrap();
    let mut deaf = Connection::open(&impatient("deaf", broker.port())).await.unwrap();
    broker.pause();
    busy.sender().publish(publish("a", "x", Qos::AtLeastOnce)).unwrap();
    // More than fits in all buffers.
    let deaf_sender = deaf.sender();
    let filler = "x".repeat(100 * 1024);
    while deaf_sender.publish(publish("a", &filler, Qos::AtMostOnce)).is_ok() {}
    for (name, connection) in [("busy", &mut busy), ("deaf", &mut deaf), ("idle", &mut idle)] {
        let error = end(connection).await;
        assert!(matches!(error, LinkError::Silent { .. } | LinkError::Lost { .. }), "{name}: {error:?}");
        assert!(!error.needs_mending());
        assert_eq!(
            connection.sender().publish(publish("a", "x", Qos::AtMostOnce)),
            Err(SendError::NotConnected),
            "{name}"
        );
    }
    broker.resume();
}

/// Its chatter must neither count as an answer nor put off the end for ever.
#[tokio::test]
async fn a_broker_that_talks_and_does_not_answer_is_found() {
    let flood = [0x30, 5, 0, 1, b'a', 0, b'x'].repeat(100);
    let (options, mut stream) = broker_by_hand().await;
    let opened = async {
        let mut connection = Connection::open(&options).await.unwrap();
        connection.sender().publish(publish("a", "x", Qos::AtLeastOnce)).unwrap();
        end(&mut connection).await
    };
    let talk = async {
        let mut stream = (&mut stream).await.unwrap();
        loop {
            if stream.write_all(&flood).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = tokio::select! {
        error = opened => error,
        () = talk => unreachable!("it talks for ever"),
    };
    assert!(matches!(error, LinkError::Silent { .. }), "{error:?}");
}

#[tokio::test]
async fn pings_keep_an_idle_connection() {
    let broker = Mosquitto::start();
    let mut connection = open("gate-1", broker.port()).await;
    let pings = || broker.log().iter().filter(|line| line.contains("Sending PINGRESP to gate-1")).count();
    let idle = async {
        tokio::select! {
            ended = connection.next() => panic!("{ended:?}"),
            () = wait_for(BOUND, "two pings", || pings() >= 2) => {}
        }
    };
    idle.await;
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_somebody_silent() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let short = Options { connect_timeout: Duration::from_millis(300), ..options("gate-1", port) };
    let error = Connection::open(&short).await.unwrap_err();
    assert!(matches!(error, LinkError::ConnectTimeout { .. }), "{error:?}");
    // Bound and not listening: nobody else can take the port, and nobody answers.
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = refusing.local_addr().unwrap().port();
    let error = Connection::open(&options("gate-1", port)).await.unwrap_err();
    assert!(matches!(error, LinkError::Dial { .. }), "{error:?}");
    let nowhere = Options { host: "no-such-host.invalid".to_owned(), ..short };
    let error = Connection::open(&nowhere).await.unwrap_err();
    assert!(matches!(error, LinkError::Resolve { .. } | LinkError::ConnectTimeout { .. }), "{error:?}");
}

#[tokio::test]
async fn options_that_the_wire_cannot_carry_are_refused() {
    let wrong: [fn(&mut Options); 7] = [
        |o| o.keep_alive = Duration::from_secs(4),
        |o| o.keep_alive = Duration::from_secs(65_536),
        |o| o.client_id.clear(),
        |o| o.user_timeout = Duration::ZERO,
        |o| o.inflight = 0,
        |o| o.port = 0,
        |o| o.will = Some(Will { topic: "a/#".to_owned(), payload: Vec::new(), retain: false }),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        let mut options = options("gate-1", 1883);
        change(&mut options);
        let error = Connection::open(&options).await.unwrap_err();
        assert!(matches!(error, LinkError::Options { .. }), "{number}: {error:?}");
    }
}

/// What a broker that has lost its mind might say after a good CONNACK.
#[tokio::test]
async fn bad_packets_end_the_connection_and_not_the_process() {
    const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
    let cases: &[(&str, &[u8])] = &[
        ("reserved packet type", &[0x00, 0]),
        ("AUTH", &[0xF0, 2, 0, 0]),
        ("remaining length of five bytes", &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("topic longer than the packet", &[0x30, 3, 0, 9, b'a']),
        ("QoS 3", &[0x36, 6, 0, 1, b'a', 0, 1, 0]),
        ("QoS 2", &[0x34, 6, 0, 1, b'a', 0, 1, 0]),
        ("packet id 0", &[0x32, 6, 0, 1, b'a', 0, 0, 0]),
        ("unknown property", &[0x30, 6, 0, 1, b'a', 2, 0x7F, 0]),
        ("unknown topic alias", &[0x30, 6, 0, 0, 3, 0x23, 0, 1]),
        ("PUBACK for nothing", &[0x40, 2, 0, 9]),
        ("PUBACK beyond the window", &[0x40, 2, 0xFF, 0xFF]),
        ("PUBREC for nothing", &[0x50, 2, 0, 1]),
        ("PUBREL for nothing", &[0x62, 2, 0, 1]),
        ("PUBCOMP for nothing", &[0x70, 2, 0, 1]),
        ("SUBACK for nothing", &[0x90, 4, 0, 1, 0, 0]),
        ("second CONNACK", CONNACK),
        ("CONNECT", &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 30, 0, 0, 0]),
        ("DISCONNECT", &[0xE0, 2, 0x8B, 0]),
        ("short DISCONNECT", &[0xE0, 1, 0x8B]),
        ("empty PUBLISH", &[0x30, 0]),
        ("half a packet and no more", &[0x30, 100, 0]),
        ("packet above the limit", &[0x30, 0x80, 0x80, 0x40]),
    ];
    for (name, bytes) in cases {
        let error = end(&mut Connection::open(&broken_broker(CONNACK, bytes).await).await.unwrap()).await;
        assert!(
            matches!(
                error,
                LinkError::Protocol { .. }
                    | LinkError::Lost { .. }
                    | LinkError::TooLarge { .. }
                    | LinkError::Disconnected { .. }
            ),
            "{name}: {error:?}"
        );
    }
}

#[tokio::test]
async fn the_reason_of_a_disconnect_is_told_in_its_long_and_its_short_form() {
    for bytes in [&[0xE0, 2, 0x8E, 0][..], &[0xE0, 1, 0x8E]] {
        let options = broken_broker(&[0x20, 3, 0, 0, 0], bytes).await;
        let error = end(&mut Connection::open(&options).await.unwrap()).await;
        assert!(
            matches!(error, LinkError::Disconnected { reason: nowd_link::Disconnect::TakenOver }),
            "{bytes:?}: {error:?}"
        );
        assert!(error.needs_mending());
    }
}

#[tokio::test]
async fn a_connack_that_says_no_or_nonsense_is_told() {
    type Expected = fn(&LinkError) -> bool;
    let cases: &[(&[u8], Expected)] = &[
        (&[0x20, 3, 0, 0x87, 0], |e| {
            matches!(e, LinkError::Refused { refusal: nowd_link::Refusal::NotAuthorised })
        }),
        (&[0x20, 3, 0, 0x85, 0], |e| {
            matches!(e, LinkError::Refused { refusal: nowd_link::Refusal::ClientId })
        }),
        (&[0x20, 3, 0, 0x89, 0], |e| matches!(e, LinkError::Refused { refusal: nowd_link::Refusal::Busy })),
        (&[], |e| matches!(e, LinkError::ClosedAtConnect)),
        (&[0xD0, 0], |e| matches!(e, LinkError::Protocol { .. })),
        (&[0x20, 6, 0, 0, 3, 0x21, 0, 0], |e| matches!(e, LinkError::Protocol { .. })),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", |e| !matches!(e, LinkError::Internal { .. })),
    ];
    for (connack, expected) in cases {
        let error = Connection::open(&broken_broker(connack, &[]).await).await.unwrap_err();
        assert!(expected(&error), "{connack:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_broker_that_wants_no_pings_gets_few() {
    let no_keep_alive = [0x20, 6, 0, 0, 3, 0x13, 0, 0];
    let mut message = vec![0x30, 6, 0, 1, b'a', 0, b'h', b'i'];
    message.extend([0xD0, 0]);
    let options = broken_broker(&no_keep_alive, &message).await;
    let mut connection = Connection::open(&options).await.unwrap();
    assert_eq!(connection.limits().keep_alive, Duration::ZERO);
    let Event::Message(heard) = next(&mut connection).await else { panic!("no message") };
    assert_eq!(heard.payload, "hi");
}

#[tokio::test]
async fn topics_that_are_no_text_are_dropped_and_the_next_message_is_heard() {
    let mut bytes = vec![0x32, 8, 0, 2, 0xC3, 0x28, 0, 1, 0, b'x'];
    bytes.extend([0x30, 3, 0, 0, 0]);
    bytes.extend([0x30, 5, 0, 1, b'a', 0, b'x']);
    let mut connection = Connection::open(&broken_broker(&[0x20, 3, 0, 0, 0], &bytes).await).await.unwrap();
    let Event::Message(heard) = next(&mut connection).await else { panic!("no message") };
    assert_eq!(heard.topic, "a");
}

/// Options for a broker that answers any CONNECT with these bytes and then closes its sending side.
async fn broken_broker(connack: &[u8], then: &[u8]) -> Options {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let bytes = [connack, then].concat();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut connect = [0; 1024];
        within(BOUND, "CONNECT", stream.read(&mut connect)).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        while stream.read(&mut connect).await.is_ok_and(|read| read > 0) {}
    });
    options("gate-1", port)
}
