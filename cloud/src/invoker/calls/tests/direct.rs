//! Requests that somebody delivers who says whether the gateway is there.

use super::*;

fn not_there(rig: &mut Rig, attempt: u32) {
    let answer = Answer::own(Uuid::from_u128(1), Status::Offline, "not connected");
    rig.core.not_delivered(rig.at(), attempt, answer, &mut rig.desk);
}

#[test]
fn nobody_asks_for_a_presence_beforehand() {
    let mut rig = Rig::by(true);
    rig.call("g", 1, 2, Form::Native);
    assert_eq!((rig.requests().len(), rig.desk.subscribed.len()), (1, 0));
    not_there(&mut rig, 1);
    assert_eq!(rig.answers(), [(1, "offline", Outcome::NotExecuted, 1)]);
}

#[test]
fn who_has_answered_before_was_there() {
    let mut rig = Rig::by(true);
    rig.call("g", 1, 2, Form::Native);
    rig.reply(1, Status::Resync, Some((1, 50 * SECOND)));
    not_there(&mut rig, 2);
    assert_eq!(rig.answers(), [(1, "resync", Outcome::NotExecuted, 2)]);
}

#[test]
fn an_attempt_that_was_not_delivered_says_nothing_of_one_that_may_have_been() {
    let mut rig = Rig::by(true);
    rig.call("g", 1, 2, Form::Native);
    rig.pass(SECOND + 1);
    assert_eq!(rig.requests().len(), 2);
    not_there(&mut rig, 2);
    assert_eq!(rig.answers(), []);
    rig.reply_to(1, 1, Status::Ok, Some((1, 50 * SECOND)));
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 2)]);
}

#[test]
fn a_question_for_presence_is_still_asked_of_the_broker() {
    let mut rig = Rig::by(true);
    rig.call("g", 1, 2, Form::Presence);
    assert_eq!(rig.desk.subscribed, ["nowd/presence/g"]);
    rig.presence("g", true, 1, 7);
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 0)]);
    assert!(rig.desk.answers[0].response.get().starts_with("{\"online\":true,\"announced\":true,"));
}

#[test]
fn while_our_connection_is_in_doubt_nothing_is_delivered() {
    let mut rig = Rig::by(true);
    rig.thaw(false);
    rig.call("g", 1, 2, Form::Native);
    assert_eq!((rig.requests().len(), rig.desk.subscribed.len()), (0, 0));
    rig.core.proved(rig.at(), &mut rig.desk);
    assert_eq!(rig.requests().len(), 1);
}

#[test]
fn a_call_that_waited_for_a_connection_is_delivered_once() {
    let mut rig = Rig::new(100);
    rig.core.direct = true;
    rig.call("g", 1, 2, Form::Native);
    rig.core.connected(rig.at(), &mut rig.desk);
    assert_eq!(rig.requests().len(), 1);
    rig.pass(SECOND + 1);
    assert_eq!(rig.requests().len(), 2, "again at half its time, and not before");
}
