//! The load generator believes nothing: what comes to nobody, twice, or with something else in it is counted.

use nowd_link::Qos;
use uuid::Uuid;

use super::{Caller, Status, Tally, Way};
use crate::wire::{Message, Wire};

const GATEWAY: &str = r#""gateway":{"incarnation":"6b1f0c5e-8d0a-4c58-9a43-0f6f3f2d1c01","now":5000000}"#;

fn caller() -> (Caller, tokio::io::DuplexStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    (Caller::over(Wire::over(Box::new(near)), "bench-1".into()), far)
}

fn message(topic: String, payload: String) -> Message {
    Message { topic, payload: payload.into(), qos: Qos::AtLeastOnce, id: 1 }
}

/// The only call that waits.
fn waiting(caller: &Caller) -> Uuid {
    *caller.pending.keys().next().unwrap()
}

fn good(id: Uuid) -> Message {
    let payload = format!(r#"{{"id":"{id}","response":1,"status":"ok",{GATEWAY}}}"#);
    message(format!("bench-1/{id}/gw-1/dbus.set/ack"), payload)
}

/// What is counted after one call was sent and these messages came.
fn counted(messages: impl Fn(Uuid) -> Vec<Message>) -> (Tally, Vec<Status>) {
    let (mut caller, _far) = caller();
    caller.send(&Way::dbus("gw-1"), 0).unwrap();
    let id = waiting(&caller);
    let heard =
        messages(id).iter().filter_map(|message| caller.hear(message, 7).unwrap()).collect::<Vec<_>>();
    caller.settle();
    (caller.tally, heard.into_iter().map(|answer| answer.status).collect())
}

#[test]
fn a_good_answer_counts_as_nothing_bad() {
    let (tally, statuses) = counted(|id| vec![good(id)]);
    assert_eq!((tally.broken(), tally.sent, tally.of("ok")), (0, 1, 1));
    assert_eq!(statuses, [Status::Ok]);
}

#[test]
fn what_is_wrong_is_counted() {
    let (tally, _) = counted(|_| Vec::new());
    assert_eq!((tally.broken(), tally.lost), (1, 1), "no answer");

    let (tally, statuses) = counted(|id| vec![good(id), good(id)]);
    assert_eq!((tally.broken(), tally.twice), (1, 1), "two answers");
    assert_eq!(statuses.len(), 1);

    let (tally, _) = counted(|id| {
        let strange = message(format!("bench-1/{}/gw-1/dbus.set/ack", Uuid::new_v4()), "{}".into());
        vec![good(id), strange]
    });
    assert_eq!((tally.broken(), tally.misrouted), (1, 1), "an answer to no call");

    let (tally, _) =
        counted(|id| vec![Message { topic: format!("bench-1/{id}/gw-2/dbus.set/ack"), ..good(id) }]);
    assert_eq!((tally.broken(), tally.misrouted), (1, 1), "an answer from another gateway");

    for payload in [
        format!(r#"{{"id":"{}","response":1,"status":"ok"}}"#, Uuid::new_v4()),
        r#"{"id":"@","response":2,"status":"ok"}"#.into(),
        r#"{"id":"@","status":"ok"}"#.into(),
        "no JSON".into(),
    ] {
        let (tally, _) =
            counted(|id| vec![Message { payload: payload.replace('@', &id.to_string()).into(), ..good(id) }]);
        assert_eq!((tally.broken(), tally.wrong), (1, 1), "{payload}");
    }
}

#[test]
fn a_refusal_is_no_execution() {
    let (tally, statuses) = counted(|id| {
        let payload = format!(r#"{{"id":"{id}","response":null,"status":"busy",{GATEWAY}}}"#);
        vec![Message { payload: payload.into(), ..good(id) }]
    });
    assert_eq!((tally.broken(), tally.of("busy")), (0, 1));
    assert_eq!(statuses, [Status::Busy]);
}

#[test]
fn an_echo_has_to_bring_back_the_same_bytes() {
    let (mut caller, _far) = caller();
    let way = Way::echo("echo-bare", Qos::AtLeastOnce);
    for right in [true, false] {
        caller.send(&way, 0).unwrap();
        let id = waiting(&caller);
        let payload = if right { caller.pending[&id].payload.clone() } else { "something".into() };
        let topic = format!("bench-1/{id}/echo-bare/echo/ack");
        caller.hear(&Message { topic, payload, qos: Qos::AtLeastOnce, id: 1 }, 7).unwrap();
        assert_eq!(caller.tally.wrong, u64::from(!right));
    }
}

#[test]
fn the_deadline_is_said_in_the_gateways_clock() {
    let (mut caller, _far) = caller();
    let way = Way::dbus("gw-1").within(500);
    caller.send(&way, 0).unwrap();
    let id = waiting(&caller);
    assert!(!caller.payload(&way, id, 0).contains("not_after"), "nothing is known yet");
    // Heard at 1 s by our clock, when the gateway's showed 5 s.
    caller.hear(&good(id), 1_000_000_000).unwrap();
    let payload = caller.payload(&way, Uuid::new_v4(), 3_000_000_000);
    assert!(payload.contains(r#""at":7000000"#), "{payload}");
    // What took longer to come says less.
    caller.send(&way, 0).unwrap();
    let id = waiting(&caller);
    caller
        .hear(
            &Message {
                payload: String::from_utf8_lossy(&good(id).payload).replace(":1,", ":2,").into(),
                ..good(id)
            },
            9_000_000_000,
        )
        .unwrap();
    assert!(caller.payload(&way, Uuid::new_v4(), 3_000_000_000).contains(r#""at":7000000"#));
}
