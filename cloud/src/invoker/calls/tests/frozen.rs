//! A process that was stood still: nothing is sent on a connection that may be dead, and nothing from before is believed.

use super::*;

fn about(rig: &Rig) -> Vec<About> {
    rig.desk.published.iter().map(|(_, about)| *about).collect()
}

#[test]
fn a_call_waits_for_the_proof_and_for_the_presence_in_either_order() {
    type Act = fn(&mut Rig);
    let proved: Act = |rig| rig.core.proved(rig.at(), &mut rig.desk);
    let online: Act = |rig| rig.presence("g", true, 1, 1);
    let offline: Act = |rig| rig.presence("g", false, 1, 1);
    for (first, second, requests, answer) in [
        (proved, online, 1, None),
        (online, proved, 1, None),
        (offline, proved, 0, Some("offline")),
        (proved, offline, 0, Some("offline")),
    ] {
        let mut rig = Rig::ready();
        rig.thaw(false);
        rig.desk.subscribed.clear();
        rig.call("g", 1, 2, Form::Native);
        // It was known to be online; now it is asked again, on the connection that is in doubt.
        assert_eq!(rig.desk.subscribed, ["nowd/presence/g"]);
        assert!(matches!(about(&rig)[..], [About::Probe(_)]));
        first(&mut rig);
        assert!(rig.requests().is_empty() && rig.answers().is_empty());
        second(&mut rig);
        assert_eq!(rig.requests().len(), requests);
        assert_eq!(rig.answers().first().map(|row| row.1), answer);
    }
}

#[test]
fn what_was_on_its_way_when_the_process_stood_is_no_answer() {
    let mut rig = Rig::ready();
    rig.thaw(false);
    // Said before, read only now.
    rig.presence("g", true, 1, 1);
    rig.core.proved(rig.at(), &mut rig.desk);
    rig.call("g", 1, 2, Form::Native);
    assert!(rig.requests().is_empty());
    rig.presence("g", false, 2, 1);
    assert_eq!(rig.answers(), [(1, "offline", Outcome::NotExecuted, 0)]);
}

#[test]
fn another_connection_takes_the_place_of_the_one_in_doubt() {
    let mut rig = Rig::ready();
    rig.thaw(false);
    rig.call("g", 1, 2, Form::Native);
    rig.core.disconnected();
    rig.desk.subscribed.clear();
    rig.core.connected(rig.at(), &mut rig.desk);
    assert_eq!(rig.desk.subscribed, ["nowd/presence/g"]);
    rig.presence("g", true, 1, 1);
    assert_eq!(rig.requests().len(), 1);
}

#[test]
fn a_bound_is_void_only_if_our_clock_did_not_count_the_time() {
    for clock_stood in [false, true] {
        let mut rig = Rig::ready();
        rig.call("g", 1, 2, Form::Native);
        rig.reply(1, Status::Ok, Some((1, 50 * SECOND)));
        rig.thaw(clock_stood);
        rig.core.proved(rig.at(), &mut rig.desk);
        rig.call("g", 2, 2, Form::Native);
        rig.presence("g", true, 1, 1);
        assert_eq!(rig.requests()[1].not_after.is_none(), clock_stood);
    }
}

#[test]
fn nothing_is_sent_again_on_a_connection_in_doubt() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.thaw(false);
    rig.pass(SECOND + 1);
    assert_eq!(rig.requests().len(), 1);
    rig.core.proved(rig.at(), &mut rig.desk);
    let [first, second] = <[Request; 2]>::try_from(rig.requests()).unwrap();
    assert_eq!(Request { attempt: 1, ..second }.payload(), first.payload());
}

#[test]
fn what_a_lost_connection_may_have_swallowed_is_sent_again_at_once_and_once() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.call("g", 2, 2, Form::Compat);
    for _ in 0..2 {
        rig.pass(SECOND / 10);
        rig.core.disconnected();
        rig.core.connected(rig.at(), &mut rig.desk);
        assert_eq!(rig.requests().len(), 3, "a device of the sample would run it twice");
    }
    rig.pass(SECOND);
    assert_eq!(rig.requests().len(), 3);
    rig.reply(1, Status::Ok, Some((1, 50 * SECOND)));
    assert_eq!(rig.answers(), [(1, "ok", Outcome::Executed, 2)]);
}

#[test]
fn a_presence_that_was_cleared_meanwhile_hides_no_later_one() {
    let mut rig = Rig::ready();
    rig.thaw(false);
    // Cleared and announced anew while the process stood; read only now, before the proof.
    rig.message("nowd/presence/g", "");
    rig.presence("g", true, 2, 2);
    rig.core.proved(rig.at(), &mut rig.desk);
    rig.call("g", 1, 2, Form::Native);
    rig.presence("g", true, 2, 2);
    assert_eq!(rig.answers(), []);
    assert_eq!(rig.requests().len(), 1);
}

#[test]
fn what_a_clock_that_stood_made_late_is_never_sent() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 9, Form::Native);
    rig.call("other", 2, 9, Form::Native);
    rig.call("g", 3, 9, Form::Native);
    rig.reply(3, Status::Resync, Some((1, 50 * SECOND)));
    let sent = rig.requests().len();
    // Ten minutes, perhaps, of which our clock shows none.
    rig.thaw(true);
    assert_eq!(rig.desk.answers.len(), 3);
    rig.core.proved(rig.at(), &mut rig.desk);
    rig.presence("other", true, 1, 1);
    rig.reply(1, Status::Resync, Some((1, 50 * SECOND)));
    rig.pass(5 * SECOND);
    assert_eq!(rig.requests().len(), sent);
    let mut answers = rig.answers();
    answers.sort_unstable_by_key(|(id, ..)| *id);
    assert_eq!(answers[0], (1, "no_reply", Outcome::Unknown, 1));
    assert_eq!(answers[1], (2, "expired", Outcome::NotExecuted, 0));
    assert_eq!(answers[2], (3, "no_reply", Outcome::Unknown, 2));
}
