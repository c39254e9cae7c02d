//! A call of which nothing is heard is sent again once, and nothing is concluded from half of the story.

use super::*;

impl Rig {
    /// A reply by an incarnation that began `age` microseconds before it replied.
    fn young(&mut self, id: u128, attempt: u32, status: Status, incarnation: u128, age: u64) {
        let mut reply = reply(id, status, Some((incarnation, 100 * SECOND)));
        reply.attempt = Some(attempt);
        reply.gateway.as_mut().unwrap().since = Some(100 * SECOND - age);
        self.message(&ReplyTopic(topic("g", id)).to_string(), &reply.payload());
    }
}

#[test]
fn at_half_the_budget_the_same_bytes_are_sent_again() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.pass(SECOND - 1);
    assert_eq!(rig.requests().len(), 1);
    rig.pass(1);
    let [first, second] = <[Request; 2]>::try_from(rig.requests()).unwrap();
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!(Request { attempt: 1, ..second }.payload(), first.payload());
    assert_eq!(rig.desk.published[1].0.properties.message_expiry, Some(Duration::from_secs(1)));
    rig.pass(SECOND - 1);
    assert_eq!(rig.requests().len(), 2, "once");
    rig.reply_to(1, 1, Status::Ok, Some((1, 5 * SECOND)));
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 2)]);
    rig.reply_to(1, 2, Status::Ok, Some((1, 5 * SECOND)));
    assert_eq!(
        (rig.answers().len(), rig.counts.read().unknown),
        (1, 1),
        "the second answer is dropped and counted"
    );
}

#[test]
fn what_was_answered_is_not_sent_again() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.reply(1, Status::Ok, Some((1, 5 * SECOND)));
    rig.pass(3 * SECOND);
    assert_eq!(rig.requests().len(), 1);
}

#[test]
fn the_sample_form_is_sent_once() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Compat);
    rig.pass(3 * SECOND);
    assert_eq!(rig.requests().len(), 1);
}

#[test]
fn an_attempt_under_new_values_is_repeated_within_them() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 4, Form::Native);
    rig.pass(SECOND / 2);
    rig.reply(1, Status::Resync, Some((1, 50 * SECOND)));
    rig.pass(SECOND + SECOND / 2);
    assert_eq!(rig.requests().len(), 2);
    rig.pass(SECOND / 4);
    let requests = rig.requests();
    assert_eq!((requests.len(), requests[2].attempt), (3, 3));
    assert_eq!(requests[2].not_after, requests[1].not_after);
    // Both of its attempts are in the hands of one incarnation, which says that neither ran.
    rig.reply_to(1, 2, Status::Busy, Some((1, 52 * SECOND)));
    assert_eq!(rig.answers(), [(1, "busy", Outcome::NotExecuted, 3)]);
}

#[test]
fn without_a_link_it_is_sent_again_as_soon_as_there_is_one_and_never_late() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.call("g", 2, 4, Form::Native);
    rig.core.disconnected();
    rig.pass(SECOND + SECOND / 2);
    assert_eq!(rig.requests().len(), 2);
    rig.desk.full = true;
    rig.core.connected(rig.at(), &mut rig.desk);
    rig.pass(SECOND);
    rig.desk.full = false;
    rig.pass(SECOND / 100);
    let again = rig.requests().pop().unwrap();
    assert_eq!((rig.requests().len(), again.topic.id, again.attempt), (3, Uuid::from_u128(2), 2));
    rig.pass(2 * SECOND);
    assert_eq!(rig.requests().len(), 3, "the other one came too late");
    assert_eq!(rig.answers(), [(1, "no_reply", Outcome::Unknown, 1), (2, "no_reply", Outcome::Unknown, 2)]);
}

#[test]
fn a_full_link_is_waited_for() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.desk.full = true;
    rig.pass(SECOND);
    assert_eq!(rig.requests().len(), 1);
    assert!(rig.core.next_wake(rig.at()).unwrap() <= rig.at().saturating_add(TRY_AGAIN));
    rig.desk.full = false;
    rig.pass(SECOND / 100);
    assert_eq!(rig.requests().len(), 2);
}

#[test]
fn after_a_freeze_nothing_is_sent_again() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.pass(2 * SECOND);
    assert_eq!(rig.requests().len(), 1);
    assert_eq!(rig.answers(), [], "the last word is waited for");
    rig.pass(SECOND);
    assert_eq!(rig.answers(), [(1, "no_reply", Outcome::Unknown, 1)]);
}

#[test]
fn a_new_incarnation_does_not_vouch_for_the_one_before() {
    for status in [Status::Resync, Status::Forbidden, Status::Busy, Status::UnknownMethod] {
        let mut rig = Rig::ready();
        rig.call("g", 1, 2, Form::Native);
        rig.pass(SECOND);
        // The first attempt may have run; the gateway started again before the second came.
        rig.young(1, 2, status, 2, SECOND / 2);
        assert_eq!((rig.requests().len(), rig.answers()), (2, vec![]), "{status:?}");
        rig.pass(SECOND + LAST_WORD_MICROS);
        assert_eq!(rig.answers(), [(1, "no_reply", Outcome::Unknown, 2)], "{status:?}");
    }
}

const LAST_WORD_MICROS: u64 = 250_000;

#[test]
fn a_copy_that_reached_a_new_incarnation_says_nothing_of_the_first() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.pass(SECOND / 4);
    rig.young(1, 1, Status::Resync, 2, SECOND / 8);
    assert_eq!((rig.requests().len(), rig.answers()), (1, vec![]));
    rig.reply_to(1, 1, Status::Ok, Some((1, 50 * SECOND)));
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 1)], "the first one had run it");
}

#[test]
fn an_incarnation_that_had_begun_is_believed() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.pass(SECOND / 4);
    rig.young(1, 1, Status::Resync, 2, SECOND / 2);
    assert_eq!(rig.requests().len(), 2);
}

#[test]
fn the_broker_refusing_the_second_sending_says_nothing_of_the_first() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.pass(SECOND);
    let id = Uuid::from_u128(1);
    rig.core.not_taken(rig.at(), About::Call(id, 2), "QuotaExceeded", &mut rig.desk);
    assert_eq!(rig.answers(), []);
    rig.core.not_taken(rig.at(), About::Call(id, 1), "QuotaExceeded", &mut rig.desk);
    assert_eq!(rig.answers(), [(1, "unavailable", Outcome::NotExecuted, 2)]);
}

#[test]
fn a_late_reply_to_the_call_before_does_not_answer_the_next_of_its_id() {
    for gone in [false, true] {
        let mut rig = Rig::ready();
        rig.call("g", 1, 1, Form::Native);
        if gone {
            rig.core.gone(Uuid::from_u128(1));
        } else {
            rig.pass(SECOND + LAST_WORD_MICROS);
        }
        let before = rig.desk.answers.len();
        rig.call("g", 1, 2, Form::Native);
        let attempt = rig.requests().pop().unwrap().attempt;
        assert!(attempt > 1, "it goes on counting");
        // What became of the first call comes only now, while the second is at work.
        rig.reply_to(1, 1, Status::Expired, Some((1, 50 * SECOND)));
        rig.core.not_taken(rig.at(), About::Call(Uuid::from_u128(1), 1), "QuotaExceeded", &mut rig.desk);
        assert_eq!(rig.desk.answers.len(), before);
        rig.reply_to(1, attempt, Status::Ok, Some((1, 50 * SECOND)));
        assert_eq!(rig.answers().pop().unwrap(), (1, "ok", Outcome::Executed, 1));
    }
}

#[test]
fn a_reply_is_held_against_the_time_at_which_its_own_attempt_left() {
    // What the clock shows in the reply: less than the bound says of the second attempt's leaving, not of the first's.
    let shown = 51 * SECOND;
    for (attempt, given_up) in [(1, false), (2, true)] {
        let mut rig = Rig::ready();
        rig.call("g", 1, 1, Form::Native);
        rig.reply(1, Status::Ok, Some((1, 50 * SECOND)));
        rig.pass(SECOND / 2);
        rig.call("g", 2, 2, Form::Native);
        rig.pass(SECOND);
        rig.reply_to(2, attempt, Status::Ok, Some((1, shown)));
        rig.call("g", 3, 1, Form::Native);
        let at = rig.requests().pop().unwrap().not_after.unwrap().at;
        let (bound, margin) = if given_up { (shown, 200) } else { (50 * SECOND + 3 * SECOND / 2, 500) };
        assert_eq!(at, bound + SECOND - margin, "attempt {attempt}");
    }
}

#[test]
fn the_round_trip_is_that_of_the_attempt_that_was_answered() {
    // Milliseconds: how long the gateway had it, and what is left for the network of a reply after 1,900 ms, the repetition
    // having left after 1,000.
    for (had, network) in
        [(1_890, Some(10)), (1_000, Some(900)), (850, Some(50)), (0, Some(900)), (15_000, None)]
    {
        let mut rig = Rig::ready();
        rig.call("g", 1, 2, Form::Native);
        rig.pass(SECOND);
        assert_eq!(rig.requests().len(), 2);
        rig.pass(SECOND * 9 / 10);
        let timing = Some(Timing { queue: 0, plugin: 0, total: had * 1_000 });
        let reply = Reply { timing, attempt: Some(1), ..reply(1, Status::Ok, Some((1, 50 * SECOND))) };
        rig.message(&ReplyTopic(topic("g", 1)).to_string(), &reply.payload());
        let found = rig.desk.answers[0].timing.network();
        assert_eq!(found, network.map(Duration::from_millis), "{had} ms");
    }
}
