//! Calls from their beginning to their answer. Time is a number, and broker and gateway are lists.

use super::*;
use nowd_link::Qos;
use nowd_protocol::{ErrorBody, GatewayStamp, NotAfter, Outcome, RawValue, Received, ReplyStatus, Timing};

mod again;
mod direct;
mod frozen;
mod model;
mod presence;
mod promises;
mod rig;

use rig::{Desk, Rig, level, not_after, reply, topic};

const SECOND: u64 = 1_000_000;

#[test]
fn a_call_and_its_answer() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    let request = rig.requests().remove(0);
    assert_eq!((request.timeout, request.timestamp, request.attempt), (Some(2_000), Some(1_000), 1));
    assert_eq!((request.request.get(), request.caller.as_deref()), ("{\"a\": 1}", Some("me")));
    assert_eq!(request.not_after, None);
    let publish = &rig.desk.published[0].0;
    assert_eq!((publish.topic.as_str(), publish.qos), (&*topic("g", 1).to_string(), Qos::AtLeastOnce));
    assert!(!publish.retain);
    let properties = &publish.properties;
    assert_eq!(properties.message_expiry, Some(Duration::from_secs(2)));
    assert_eq!(properties.response_topic.as_deref(), Some(&*ReplyTopic(topic("g", 1)).to_string()));
    assert_eq!(properties.correlation_data.as_deref(), Some(&Uuid::from_u128(1).as_bytes()[..]));
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));

    rig.pass(300);
    rig.reply(1, Status::Ok, Some((1, 5 * SECOND)));
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 1)]);
    assert_eq!(rig.desk.answers[0].timing.total, Duration::from_micros(300));
    assert_eq!(rig.desk.answers[0].timing.round_trip, Some(Duration::from_micros(300)));

    // The next call knows the gateway's clock: two seconds and a drift margin of 400 us from there.
    rig.call("g", 2, 2, Form::Native);
    assert_eq!(rig.requests()[1].not_after, Some(not_after(1, 7 * SECOND - 400)));
}

#[test]
fn a_resync_is_followed_by_the_same_bytes_under_new_values() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.pass(SECOND / 2);
    rig.reply(1, Status::Resync, Some((1, 50 * SECOND)));
    assert_eq!(rig.answers(), []);
    let [first, second] = <[Request; 2]>::try_from(rig.requests()).unwrap();
    assert_eq!((second.attempt, second.not_after), (2, Some(not_after(1, 51 * SECOND + SECOND / 2 - 300))));
    assert_eq!(rig.desk.published[1].0.properties.message_expiry, Some(Duration::from_millis(1_500)));
    let stripped = Request { attempt: 1, not_after: None, ..second };
    assert_eq!(stripped.payload(), first.payload());
    rig.reply(1, Status::Ok, Some((1, 50 * SECOND + 9)));
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 2)]);
}

#[test]
fn resyncs_have_an_end() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    for incarnation in 1..=4 {
        assert_eq!(rig.answers(), []);
        rig.reply(1, Status::Resync, Some((incarnation, SECOND)));
    }
    assert_eq!(rig.answers(), [(1, "resync", Outcome::NotExecuted, 4)]);
    assert_eq!(rig.desk.answers[0].error.as_ref().unwrap().message, "why");
}

#[test]
fn a_resync_without_values_is_an_answer() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.reply(1, Status::Resync, None);
    assert_eq!(rig.answers(), [(1, "resync", Outcome::NotExecuted, 1)]);
}

#[test]
fn the_second_copy_of_a_resync_does_not_send_again() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.reply(1, Status::Resync, Some((1, SECOND)));
    rig.reply_to(1, 1, Status::Resync, Some((1, SECOND)));
    assert_eq!((rig.requests().len(), rig.answers()), (2, vec![]), "attempt 2 is under way");
    rig.reply(1, Status::Ok, Some((1, SECOND)));
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 2)]);
}

#[test]
fn an_old_resync_does_not_send_again_what_may_be_running() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.reply(1, Status::Resync, Some((1, SECOND)));
    rig.reply(1, Status::Resync, Some((2, SECOND)));
    assert_eq!(rig.requests().len(), 3);
    // The second copy of the first incarnation's answer, while the second incarnation may be at work.
    rig.reply_to(1, 1, Status::Resync, Some((1, SECOND)));
    assert_eq!((rig.requests().len(), rig.answers()), (3, vec![]));
    rig.reply(1, Status::Ok, Some((2, SECOND)));
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 3)]);
}

#[test]
fn the_deadline_ends_every_call() {
    use Outcome::{NotExecuted, Unknown};
    type Act = fn(&mut Rig);
    let table: &[(&str, Act, &str, Outcome, u32)] = &[
        ("sent", |_| {}, "no_reply", Unknown, 2),
        ("link lost after it was sent", |rig| rig.core.disconnected(), "no_reply", Unknown, 1),
        ("sent anew", |rig| rig.reply(1, Status::Resync, Some((1, SECOND))), "no_reply", Unknown, 3),
        (
            "link lost before it could be sent anew",
            |rig| {
                rig.desk.full = true;
                rig.reply(1, Status::Resync, Some((1, SECOND)));
                rig.core.disconnected();
            },
            "expired",
            NotExecuted,
            1,
        ),
    ];
    for (name, act, status, outcome, attempts) in table {
        let mut rig = Rig::ready();
        rig.call("g", 1, 2, Form::Native);
        act(&mut rig);
        rig.pass(2 * SECOND - 1);
        assert_eq!(rig.answers(), [], "{name}");
        assert!(
            rig.core.next_wake(rig.at()).unwrap() <= BootInstant::from_micros(2 * SECOND + 5_000),
            "{name}"
        );
        rig.pass(1);
        if *status == "no_reply" {
            // The gateway's own word is still waited for, and nothing more is sent.
            assert_eq!(
                (rig.answers(), u32::try_from(rig.requests().len()).unwrap()),
                (vec![], *attempts),
                "{name}"
            );
            rig.pass(250_000);
        }
        assert_eq!(rig.answers(), [(1, *status, *outcome, *attempts)], "{name}");
    }
}

#[test]
fn the_gateways_last_word_counts() {
    for (status, expected) in
        [(Status::Expired, "expired"), (Status::Timeout, "timeout"), (Status::Resync, "expired")]
    {
        let mut rig = Rig::ready();
        rig.call("g", 1, 2, Form::Native);
        rig.pass(2 * SECOND + 249_999);
        rig.reply(1, status, Some((1, SECOND)));
        let answers: Vec<_> =
            rig.answers().into_iter().map(|(_, status, _, attempts)| (status, attempts)).collect();
        assert_eq!(answers, [(expected, 1)], "and nothing is sent after the deadline");
        assert_eq!(rig.requests().len(), 1);
    }
}

#[test]
fn nothing_published_is_not_executed() {
    let mut rig = Rig::new(100);
    rig.call("g", 1, 1, Form::Native);
    rig.call("g", 2, 0, Form::Native);
    assert_eq!(rig.answers(), [(2, "offline", Outcome::NotExecuted, 0)]);
    rig.pass(SECOND);
    assert_eq!(rig.answers()[1], (1, "offline", Outcome::NotExecuted, 0));
    assert!(rig.desk.answers[1].error.as_ref().unwrap().message.contains("not connected to the broker"));
    assert!(rig.core.calls.is_empty() && rig.core.waiting.is_empty() && rig.core.deadlines.is_empty());
}

#[test]
fn a_call_waits_for_the_link() {
    let mut rig = Rig::new(100);
    rig.call("g", 1, 2, Form::Native);
    rig.pass(SECOND);
    rig.core.connected(rig.at(), &mut rig.desk);
    rig.presence("g", true, 1, 1);
    assert_eq!(rig.requests().len(), 1);
    assert_eq!(rig.requests()[0].timeout, Some(2_000));
}

#[test]
fn only_the_fitting_reply_counts() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    let good = reply(1, Status::Ok, None).payload();
    let ack =
        |target: &str, method: &str, id: u128| format!("c/{}/{target}/{method}/ack", Uuid::from_u128(id));
    rig.message(&ack("h", "m", 1), &good);
    rig.message(&ack("g", "n", 1), &good);
    rig.message(&ack("g", "m", 1), &reply(2, Status::Ok, None).payload());
    rig.message(&ack("g", "m", 2), &reply(2, Status::Ok, None).payload());
    rig.message(&ack("g", "m", 1), "[]");
    rig.message(&ack("g", "m", 1).replace("c/", "d/"), &good);
    rig.core.message(rig.at(), &ack("g", "m", 1), good.as_bytes(), true, &mut rig.desk);
    assert_eq!(rig.answers(), []);
    rig.message(&ack("g", "m", 1), &good);
    rig.message(&ack("g", "m", 1), &good);
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 1)]);
    let dropped = rig.counts.read();
    assert_eq!((dropped.mismatched, dropped.unknown, dropped.unreadable), (3, 3, 2));
}

#[test]
fn room_is_bounded_and_given_back() {
    let mut rig = Rig::new(2);
    for id in 1..=3 {
        rig.call("g", id, 1, Form::Native);
    }
    assert_eq!(rig.answers(), [(3, "busy", Outcome::NotExecuted, 0)]);
    rig.core.gone(Uuid::from_u128(1));
    rig.call("g", 4, 1, Form::Native);
    assert_eq!(rig.answers().len(), 1);
    assert_eq!((rig.core.calls.len(), rig.core.waiting.len(), rig.core.deadlines.len()), (2, 2, 2));
}

#[test]
fn a_full_link_is_tried_again_in_order() {
    let mut rig = Rig::ready();
    rig.desk.full = true;
    rig.call("g", 1, 1, Form::Native);
    rig.call("g", 2, 1, Form::Native);
    assert_eq!(rig.core.next_wake(rig.at()), Some(BootInstant::from_micros(5_000)));
    rig.pass(5_000);
    rig.desk.full = false;
    rig.pass(5_000);
    let ids: Vec<_> = rig.requests().iter().map(|request| request.topic.id.as_u128()).collect();
    assert_eq!(ids, [1, 2]);
    rig.desk.full = true;
    rig.call("g", 3, 1, Form::Native);
    rig.pass(SECOND);
    assert_eq!(rig.answers().last(), Some(&(3, "busy", Outcome::NotExecuted, 0)));
}

#[test]
fn a_request_that_the_broker_does_not_take_did_nothing() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 1, Form::Native);
    rig.core.not_taken(rig.at(), About::Call(Uuid::from_u128(1), 1), "NotAuthorized", &mut rig.desk);
    assert_eq!(rig.answers(), [(1, "unavailable", Outcome::NotExecuted, 1)]);
}

#[test]
fn the_sample_gets_a_deadline_only_where_it_has_a_clock() {
    let mut rig = Rig::connected();
    rig.call("g", 1, 2, Form::Compat);
    rig.echo();
    assert_eq!((rig.requests()[0].timeout, rig.requests()[0].not_after), (Some(2_000), None));
    assert!(std::str::from_utf8(&rig.desk.published[1].0.payload).unwrap().contains(r#""timestamp":"1000""#));
    rig.reply(1, Status::Ok, Some((1, SECOND)));
    rig.call("g", 2, 2, Form::Compat);
    assert_eq!(rig.requests()[1].timeout, Some(2_000));
    assert_eq!(rig.requests()[1].not_after, Some(not_after(1, 3 * SECOND - 400)));
}

#[test]
fn stopping_answers_everybody() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.call("h", 2, 2, Form::Native);
    rig.core.stop(rig.at(), &mut rig.desk);
    let mut answers = rig.answers();
    answers.sort_by_key(|row| row.0);
    assert_eq!(answers, [(1, "no_reply", Outcome::Unknown, 1), (2, "offline", Outcome::NotExecuted, 0)]);
}

#[test]
fn calls_that_waited_leave_in_the_order_in_which_they_came() {
    let mut rig = Rig::ready();
    rig.desk.full = true;
    for id in [3, 1, 2] {
        rig.call("g", id, 2, Form::Native);
    }
    rig.desk.full = false;
    rig.pass(1);
    let ids: Vec<u128> = rig.requests().iter().map(|request| request.topic.id.as_u128()).collect();
    assert_eq!(ids, [3, 1, 2]);
    assert_eq!(rig.core.waiting_for(Uuid::from_u128(3)).map(|request| request.topic.id.as_u128()), Some(3));
    assert!(rig.core.waiting_for(Uuid::from_u128(4)).is_none());
}

#[test]
fn a_method_that_is_called_probe_is_answered_like_any_other() {
    let mut rig = Rig::ready();
    let topic = RequestTopic { method: level(PROBE), ..topic("g", 1) };
    let request = Request {
        topic: topic.clone(),
        timestamp: Some(1_000),
        request: RawValue::NULL.to_owned(),
        timeout: None,
        not_after: None,
        attempt: 1,
        caller: None,
        traceparent: None,
    };
    let (received, deadline) = (rig.at(), rig.at().saturating_add(Duration::from_secs(1)));
    let new = NewCall { request, form: Form::Native, received, deadline };
    rig.core.submit(received, new, &mut rig.desk);
    rig.message(&ReplyTopic(topic).to_string(), &reply(1, Status::Ok, None).payload());
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 1)]);
}
