//! What breaks: tokens, frames, connections, subscriptions, the nucleus itself; and what stays bounded meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use nowd_greengrass::{
    CallError, Connection, Event, IpcError, MOST_STREAMS, Options, Qos, State, Subscription, Token,
};
use nowd_testkit::{Fault, Nucleus, Style, wait_for, within};
use serde_json::json;

use crate::common::{BOUND, OURS, end, next, open, options};

#[tokio::test]
async fn a_token_that_is_not_known_is_refused_and_shown_to_nobody() {
    for (style, expected) in
        [(Style::Classic, "refused the connection"), (Style::Lite, "closed the connection")]
    {
        let nucleus = Nucleus::start(style);
        let mut options = options(&nucleus);
        options.token = Token::new("not-a-token".to_owned());
        let error = Connection::open(&options).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        for said in [format!("{error:?}"), format!("{error}"), format!("{options:?}")] {
            assert!(!said.contains("not-a-token"), "{said}");
        }
        assert_eq!((nucleus.strangers(), nucleus.connections()), (1, 0));
    }
}

#[tokio::test]
async fn a_socket_that_is_none_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let token = || Token::new("t".to_owned());
    for path in [folder.path().join("missing"), file] {
        let error = Connection::open(&Options::new(path, token())).await.unwrap_err();
        assert!(matches!(error, IpcError::Dial { .. }), "{error:?}");
    }
    for path in [PathBuf::new(), folder.path().join("x".repeat(108))] {
        let error = Connection::open(&Options::new(path, token())).await.unwrap_err();
        assert!(matches!(error, IpcError::Path { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn what_goes_wrong_at_the_beginning_is_an_error_of_opening() {
    for (fault, expected) in [
        (Fault::Garbage, "Broken"),
        (Fault::WrongSum, "Broken"),
        (Fault::Huge, "TooLarge"),
        (Fault::CutOff, "ClosedAtConnect"),
        (Fault::Close, "ClosedAtConnect"),
        (Fault::ProtocolError, "Protocol"),
        (Fault::Silent, "OpenTimeout"),
        (Fault::Stuck, "OpenTimeout"),
    ] {
        let nucleus = Nucleus::start(Style::Classic);
        nucleus.fault("Connect", fault);
        let mut options = options(&nucleus);
        if expected == "OpenTimeout" {
            options.open_timeout = Duration::from_millis(300);
        }
        let error = Connection::open(&options).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{fault:?}: {error:?}");
        // The next one is as good as any.
        open(&nucleus).await.client().update_state(State::Running).await.unwrap();
    }
}

#[tokio::test]
async fn a_broken_answer_ends_the_connection_and_every_call() {
    for (fault, expected) in [
        (Fault::Garbage, "Broken"),
        (Fault::WrongSum, "Broken"),
        (Fault::Huge, "TooLarge"),
        (Fault::CutOff, "CutOff"),
        (Fault::Close, "Lost"),
        (Fault::ProtocolError, "Protocol"),
        (Fault::Stuck, "Stuck"),
    ] {
        let nucleus = Nucleus::start(Style::Classic);
        nucleus.fault("GetConfiguration", Fault::Silent);
        nucleus.fault("UpdateState", fault);
        let mut options = options(&nucleus);
        if fault == Fault::Stuck {
            options.answer_timeout = Duration::from_millis(300);
        }
        let mut connection = Connection::open(&options).await.unwrap();
        let client = connection.client().within(BOUND);
        let waiting = async { client.configuration(None, &[]).await.map(drop) };
        let (waiting, broken) = tokio::join!(waiting, client.update_state(State::Running));
        assert_eq!(waiting, Err(CallError::Closed { operation: "GetConfiguration" }), "{fault:?}");
        assert_eq!(broken, Err(CallError::Closed { operation: "UpdateState" }), "{fault:?}");
        assert!(client.is_closed());
        let error = end(&mut connection).await;
        assert!(format!("{error:?}").starts_with(expected), "{fault:?}: {error:?}");
        assert!(matches!(end(&mut connection).await, IpcError::Closed));
        let after = client.update_state(State::Running).await;
        assert_eq!(after, Err(CallError::Closed { operation: "UpdateState" }));
        // Whoever owns it opens a new one.
        open(&nucleus).await.client().update_state(State::Running).await.unwrap();
        wait_for(BOUND, "the end of the old connections", || nucleus.connections() == 0).await;
    }
}

#[tokio::test]
async fn no_answer_is_an_error_of_the_call_alone() {
    let nucleus = Nucleus::start(Style::Classic);
    let connection = open(&nucleus).await;
    let client = connection.client();
    nucleus.fault("UpdateState", Fault::Silent);
    let error = client.within(Duration::from_millis(50)).update_state(State::Running).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { operation: "UpdateState", .. }), "{error:?}");
    client.update_state(State::Running).await.unwrap();
}

#[tokio::test]
async fn a_slow_nucleus_is_waited_for_and_its_late_answers_are_borne() {
    let nucleus = Nucleus::start(Style::Classic);
    let connection = open(&nucleus).await;
    let client = connection.client();
    nucleus.hold();
    let hasty = client.within(Duration::from_millis(20));
    let error = hasty.update_state(State::Running).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    // A subscription that was given up is ended there, too.
    drop(hasty.subscribe_validation().await.unwrap_err());
    nucleus.release();
    nucleus.set_delay(Duration::from_millis(20));
    client.update_state(State::Running).await.unwrap();
    wait_for(BOUND, "the end of the subscription", || nucleus.subscriptions(OURS) == 0).await;
    assert_eq!(nucleus.mistakes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_nothing_behind() {
    let nucleus = Nucleus::start(Style::Classic);
    let connection = open(&nucleus).await;
    let client = connection.client();
    for _ in 0..3 * MOST_STREAMS {
        nucleus.fault("UpdateState", Fault::Silent);
        let call = client.update_state(State::Running);
        tokio::select! {
            biased;
            answer = call => panic!("{answer:?}"),
            () = tokio::task::yield_now() => {}
        }
        tokio::task::yield_now().await;
    }
    wait_for(BOUND, "all calls", || nucleus.calls("UpdateState") == 3 * MOST_STREAMS).await;
    client.update_state(State::Running).await.unwrap();
}

#[tokio::test]
async fn calls_and_subscriptions_are_bounded() {
    let nucleus = Nucleus::start(Style::Classic);
    let connection = open(&nucleus).await;
    let client = connection.client();
    let mut open = Vec::new();
    while open.len() < MOST_STREAMS {
        open.push(client.subscribe_iot_core("t", Qos::AtMostOnce).await.unwrap());
    }
    let error = client.update_state(State::Running).await.unwrap_err();
    assert_eq!(error, CallError::Busy { operation: "UpdateState" });
    client.unsubscribe(open[7]);
    client.update_state(State::Running).await.unwrap();
}

#[tokio::test]
async fn events_that_nobody_reads_are_not_read_from_the_nucleus_either() {
    let nucleus = Nucleus::start(Style::Classic);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    client.subscribe_iot_core("t", Qos::AtLeastOnce).await.unwrap();
    let many = 150_u32;
    for number in 0..many {
        let mut payload = vec![b'x'; 20_000];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        nucleus.publish("t", &payload);
    }
    // 3 MB are there; the client holds 32 events, and the socket's buffers the next few.
    let late = client.within(Duration::from_millis(100)).update_state(State::Running).await.unwrap_err();
    assert!(matches!(late, CallError::TimedOut { .. }), "{late:?}");
    for number in 0..many {
        let Event::Message { message, .. } = next(&mut connection).await else { panic!("no message") };
        assert_eq!(message.payload[..4], number.to_be_bytes(), "in order, none lost");
    }
    client.update_state(State::Running).await.unwrap();
}

#[tokio::test]
async fn what_nobody_asked_for_is_borne() {
    let nucleus = Nucleus::start(Style::Classic);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    let json = [(":content-type", "application/json"), ("service-model-type", "aws.greengrass#New")];
    // Streams that were never opened, also those that will be; types and flags that do not exist.
    for (kind, flags, stream) in
        [(0, 0, 99), (1, 2, 99), (0, 2, -1), (5, 1, 0), (77, 8, 3), (3, 0, 0), (0, 0, 0)]
    {
        nucleus.send_frame(kind, flags, stream, &json, b"{}");
    }
    nucleus.ping();
    wait_for(BOUND, "an answer to a ping", || nucleus.calls("PingResponse") == 1).await;
    let validation = client.subscribe_validation().await.unwrap();
    nucleus.send_frame(0, 0, 1, &json, b"no json");
    let unreadable = Event::Unreadable { subscription: validation, what: "it is not JSON" };
    assert_eq!(next(&mut connection).await, unreadable);
    client.update_state(State::Running).await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_the_nucleus_ends_is_told() {
    let nucleus = Nucleus::start(Style::Classic);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    let one = client.subscribe_validation().await.unwrap();
    let two = client.subscribe_component_updates().await.unwrap();
    nucleus.end_subscriptions();
    let mut ended: Vec<Subscription> = Vec::new();
    while ended.len() < 2 {
        let Event::Ended { subscription, refusal: None } = next(&mut connection).await else {
            panic!("no end")
        };
        ended.push(subscription);
    }
    ended.sort();
    assert_eq!(ended, [one, two]);
    let three = client.subscribe_validation().await.unwrap();
    let said = br#"{"_message": "no more.", "_errorCode": "UnauthorizedError"}"#;
    nucleus.send_frame(1, 2, 3, &[("service-model-type", "aws.greengrass#UnauthorizedError")], said);
    let Event::Ended { subscription, refusal: Some(refusal) } = next(&mut connection).await else {
        panic!("no end")
    };
    assert_eq!((subscription, refusal.to_string().as_str()), (three, "UnauthorizedError: no more"));
}

#[tokio::test]
async fn a_restarted_nucleus_is_reached_by_a_new_connection() {
    let nucleus = Nucleus::start(Style::Lite);
    nucleus.set_configuration(OURS, json!({"nowd": {}}));
    let mut connection = open(&nucleus).await;
    connection.client().subscribe_configuration(None, &[]).await.unwrap();
    nucleus.stop();
    let error = end(&mut connection).await;
    assert!(matches!(error, IpcError::Lost { .. }), "{error:?}");
    let error = Connection::open(&options(&nucleus)).await.unwrap_err();
    assert!(matches!(error, IpcError::Dial { .. }), "{error:?}");
    nucleus.listen();
    let mut connection = open(&nucleus).await;
    connection.client().subscribe_configuration(None, &[]).await.unwrap();
    nucleus.merge(OURS, &json!({"nowd": {"target": "gw-8"}}));
    assert!(matches!(next(&mut connection).await, Event::ConfigurationChanged { .. }));
}

#[tokio::test]
async fn a_dropped_connection_is_gone_and_so_are_its_calls() {
    let nucleus = Nucleus::start(Style::Classic);
    nucleus.fault("UpdateState", Fault::Silent);
    let connection = open(&nucleus).await;
    let client = connection.client();
    let dropped = async {
        wait_for(BOUND, "the call", || nucleus.calls("UpdateState") == 1).await;
        drop(connection);
    };
    let calls = async { tokio::join!(client.update_state(State::Running), dropped) };
    let (answer, ()) = within(BOUND, "the end of the call", calls).await;
    assert_eq!(answer, Err(CallError::Closed { operation: "UpdateState" }));
    wait_for(BOUND, "the end of the connection", || nucleus.connections() == 0).await;
}
