//! Who runs, who waits, and what time does to them.

use super::*;

#[test]
fn first_in_first_out_and_bounded() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(0, request(1, "set", 1_000)), ["start 1 set"]);
    assert_eq!(bench.send(1, request(2, "other", 1_000)), [""; 0]);
    assert_eq!(bench.send(2, request(3, "set", 1_000)), [""; 0]);
    assert_eq!(bench.send(3, request(4, "set", 1_000)), ["reply 4 busy"]);
    assert_eq!(bench.send(3, request(5, "wide", 1_000)), ["start 5 wide"], "another lane does not wait");
    assert_eq!(bench.end(10, 1, ok()), ["reply 1 ok", "start 2 other"]);
    assert_eq!(bench.end(20, 2, ok()), ["reply 2 ok", "start 3 set"]);
    assert_eq!(bench.end(30, 3, ok()), ["reply 3 ok"]);
    assert_eq!((bench.core.calls(), bench.core.unanswered()), (1, 1));
}

#[test]
fn as_many_run_as_the_lane_allows() {
    let mut bench = Bench::new();
    for id in 1..=3 {
        assert_eq!(bench.send(0, request(id, "wide", 1_000)), [format!("start {id} wide")]);
    }
    assert_eq!(bench.send(0, request(4, "wide", 1_000)), [""; 0]);
    assert_eq!(bench.end(1, 2, ok()), ["reply 2 ok", "start 4 wide"]);
}

#[test]
fn a_call_waits_only_while_it_can_still_start() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 2_000));
    bench.send(0, request(2, "patient", 1_000));
    assert_eq!(bench.send(0, request(4, "patient", 300)), ["reply 4 busy"], "it could not start in time");
    assert_eq!(bench.core.wake_at(), Some(at(700)));
    assert_eq!(bench.time(699), [""; 0]);
    assert_eq!(bench.time(700), ["reply 2 expired"]);
    // An idle lane admits whatever is left.
    bench.end(800, 1, ok());
    assert_eq!(bench.send(900, request(3, "patient", 1_000)), ["start 3 patient"]);
}

#[test]
fn after_a_freeze_nothing_that_waited_is_started() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 100));
    bench.send(0, request(2, "set", 200));
    bench.send(0, request(3, "set", 5_000));
    // The process stood still; the first thing it hears is the end of the call.
    let found = bench.end(6_000, 1, ok());
    assert_eq!(
        found,
        ["cancel", "reply 1 timeout", "record 1 Late ok", "reply 2 expired", "reply 3 expired"]
    );
    assert_eq!(bench.core.wake_at(), None);
}

#[test]
fn an_overrun_is_answered_once_and_holds_its_lane() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 100));
    bench.send(0, request(2, "set", 3_000));
    assert_eq!(bench.time(99), [""; 0]);
    assert_eq!(bench.time(100), ["cancel", "reply 1 timeout"]);
    assert_eq!(bench.time(500), [""; 0]);
    assert_eq!(bench.end(600, 1, ok()), ["record 1 Late ok", "start 2 set"]);
}

#[test]
fn what_was_not_done_is_told_even_at_the_deadline() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 100));
    let ended = Ended { status: Status::Expired, outcome: Outcome::NotExecuted, response: None, error: None };
    assert_eq!(bench.end(101, 1, ended), ["reply 1 expired"]);
}

#[test]
fn a_plugin_cannot_claim_more_than_its_status_says() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 100));
    let event = Event::Ended { key: bench.keys[&1], ended: Ended { outcome: Outcome::NotExecuted, ..ok() } };
    let actions = bench.core.handle(at(1), event);
    assert!(matches!(&actions[0], Action::Reply(reply) if reply.outcome == Outcome::Unknown));
}

#[test]
fn a_stuck_lane_says_so() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 100));
    bench.time(100);
    bench.send(200, request(2, "set", 4_000));
    assert_eq!(bench.time(1_099), [""; 0]);
    assert_eq!(bench.time(1_100), ["reply 2 unavailable"]);
    assert_eq!(bench.send(1_200, request(3, "set", 4_000)), ["reply 3 unavailable"]);
    assert_eq!(bench.send(1_200, request(4, "stop", 4_000)), ["reply 4 unavailable"]);
    assert_eq!(bench.end(1_300, 1, ok()), ["record 1 Late ok"]);
    assert_eq!(bench.send(1_400, request(5, "set", 4_000)), ["start 5 set"]);
}

#[test]
fn a_wide_lane_is_stuck_only_when_every_slot_is() {
    let mut bench = Bench::new();
    for id in 1..=2 {
        bench.send(0, request(id, "wide", 100));
    }
    bench.time(100);
    bench.time(1_100);
    assert_eq!(bench.send(1_200, request(3, "wide", 1_300)), ["start 3 wide"]);
    assert_eq!(bench.send(1_200, request(4, "wide", 1_300)), [""; 0]);
    assert_eq!(bench.time(1_300), ["cancel", "reply 3 timeout", "reply 4 expired"]);
    bench.time(2_300);
    assert_eq!(bench.send(2_400, request(5, "wide", 4_000)), ["reply 5 unavailable"]);
}

#[test]
fn a_stop_overtakes_and_clears_its_lane() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 1_000));
    bench.send(0, request(2, "set", 1_000));
    bench.send(0, request(3, "set", 1_000));
    assert_eq!(bench.send(1, request(4, "stop", 1_000)), ["reply 2 busy", "reply 3 busy"]);
    assert_eq!(bench.send(1, request(5, "set", 1_000)), [""; 0]);
    assert_eq!(bench.end(2, 1, ok()), ["reply 1 ok", "start 4 stop"]);
}

#[test]
fn a_safe_action_runs_beside_the_call_it_makes_safe() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "safe", 100));
    bench.send(0, request(2, "set", 3_000));
    assert_eq!(bench.time(100), ["cancel", "reply 1 timeout", "start 5afe halt"]);
    assert_eq!(bench.end(110, 0x5afe, ok()), ["record 5afe SafeAction ok"]);
    assert_eq!(bench.time(150), [""; 0], "once");
    assert_eq!(bench.end(160, 1, ok()), ["record 1 Late ok", "start 2 set"]);
}

#[test]
fn a_safe_action_that_overruns_starts_no_other() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "safe", 100));
    bench.time(100);
    assert_eq!(bench.time(200), ["cancel", "record 5afe SafeAction timeout"]);
    assert_eq!(bench.time(5_000), [""; 0]);
}

#[test]
fn stopping_starts_nothing_but_safe_actions() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "safe", 1_000));
    bench.send(0, request(2, "set", 1_000));
    assert_eq!(bench.handle(10, Event::Stop), ["reply 2 unavailable", "start 5afe halt"]);
    assert_eq!(bench.handle(11, Event::Stop), [""; 0]);
    assert_eq!(bench.send(20, request(3, "wide", 1_000)), ["reply 3 unavailable"]);
    assert_eq!(bench.end(30, 1, ok()), ["reply 1 ok"]);
}

#[test]
fn a_stop_does_not_clear_away_another_stop() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 1_000));
    assert_eq!(bench.send(1, request(2, "stop", 1_000)), [""; 0]);
    assert_eq!(bench.send(2, request(3, "set", 1_000)), [""; 0]);
    assert_eq!(bench.send(3, request(4, "stop", 20)), ["reply 3 busy"]);
    assert_eq!(bench.time(20), ["reply 4 expired"]);
    assert_eq!(bench.end(30, 1, ok()), ["reply 1 ok", "start 2 stop"]);
}

#[test]
fn a_safe_action_that_hangs_is_not_joined_by_others() {
    let mut bench = Bench::new();
    for round in 0..3_u64 {
        let (id, begin) = (u128::from(round) + 1, round * 200);
        bench.send(begin, request(id, "safe", begin + 100));
        let found = bench.time(begin + 100);
        let start = if round == 0 { "start 5afe halt" } else { "record 5afe SafeAction busy" };
        assert_eq!(found[2], start);
        bench.end(begin + 110, id, ok());
    }
    assert_eq!(bench.core.calls(), 1, "only the first safe action");
}

#[test]
fn a_safe_action_has_no_safe_action() {
    let mut settings = settings();
    offer(&mut settings).methods.get_mut("halt").unwrap().on_timeout = Some("halt".into());
    let mut bench = Bench::with(settings);
    bench.send(0, request(1, "safe", 100));
    bench.time(100);
    assert_eq!(bench.time(200), ["cancel", "record 5afe SafeAction timeout"]);
}

#[test]
fn calls_that_run_when_the_process_ends_are_answered() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 4_000));
    bench.handle(10, Event::Stop);
    assert_eq!(bench.handle(3_000, Event::Abandon), ["reply 1 timeout"]);
    assert_eq!(bench.core.unanswered(), 0);
    assert_eq!(bench.end(3_100, 1, ok()), ["record 1 Late ok"]);
}

#[test]
fn a_call_that_could_only_be_late_is_not_started_when_its_turn_comes() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 2_000));
    bench.send(0, request(2, "patient", 1_000));
    bench.send(0, request(3, "set", 1_000));
    // Ended and given up at one instant: what has `min_budget` left, and no more, is not started.
    assert_eq!(bench.end(700, 1, ok()), ["reply 1 ok", "reply 2 expired", "start 3 set"]);
}

#[test]
fn where_the_time_went_is_told() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 1_000));
    bench.send(10, request(2, "set", 1_000));
    bench.end(30, 1, ok());
    let event = Event::Ended { key: bench.keys[&2], ended: ok() };
    let actions = bench.core.handle(at(70), event);
    let Action::Reply(reply) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(reply.timing, Timing { queue: 20_000, plugin: 40_000, total: 60_000 });
    let actions = {
        bench.send(100, request(3, "set", 1_000));
        bench.send(100, request(4, "set", 200));
        bench.core.handle(at(250), Event::Time)
    };
    let Action::Reply(reply) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(
        (reply.status, reply.timing),
        (Status::Expired, Timing { queue: 150_000, plugin: 0, total: 150_000 })
    );
}

#[test]
fn what_runs_is_counted_answered_or_not() {
    let mut bench = Bench::new();
    assert_eq!(bench.core.running(), 0);
    bench.send(0, request(1, "safe", 100));
    bench.send(0, request(2, "set", 1_000));
    bench.send(0, request(3, "wide", 1_000));
    assert_eq!((bench.core.running(), bench.core.unanswered(), bench.core.calls()), (2, 2, 3));
    bench.time(100); // the first has overrun, and its safe action runs
    assert_eq!((bench.core.running(), bench.core.unanswered(), bench.core.calls()), (3, 2, 4));
    bench.end(110, 0x5afe, ok());
    bench.end(110, 3, ok());
    bench.end(110, 1, ok());
    assert_eq!((bench.core.running(), bench.core.unanswered(), bench.core.calls()), (1, 1, 1));
}

#[test]
fn a_lane_in_which_none_may_wait_says_so() {
    for (depth, waiting, expected) in [(0, 0, "a call runs, and none may wait"), (1, 1, "as many calls wait")]
    {
        let mut settings = settings();
        offer(&mut settings).lanes.insert("window".into(), lane(1, depth));
        let mut bench = Bench::with(settings);
        for id in 1..=1 + waiting {
            bench.send(0, request(id, "set", 1_000));
        }
        let message = Received::Request(request(9, "set", 1_000));
        let event = Event::Received { message, receipt: receipt(), params: Ok(0) };
        let actions = bench.core.handle(at(1), event);
        let Action::Reply(reply) = &actions[0] else { panic!("{actions:?}") };
        assert!(reply.error.as_ref().unwrap().message.starts_with(expected), "{reply:?}");
    }
}
