//! Methods that the gateway reads by itself.

use proptest::prelude::*;

use super::*;
use crate::core::polls::{FIRST_READ, MAX_VALUE_LEN};
use crate::event::Purpose;

/// `level` and `heat` are read every second and share the lane `window` with `set` and `stop`.
fn polling() -> Settings {
    let mut settings = settings();
    for name in ["level", "heat"] {
        let polled = settings::Method { poll: Some(Duration::from_secs(1)), ..method("window") };
        offer(&mut settings).methods.insert(name.into(), polled);
    }
    settings
}

/// Only `level`.
fn level() -> Settings {
    let mut settings = polling();
    offer(&mut settings).methods.remove("heat");
    settings
}

fn gave(json: &str) -> Ended {
    Ended { response: Some(RawValue::from_string(json.into()).unwrap()), ..ok() }
}

fn failed(code: &str) -> Ended {
    let error = ErrorBody { code: code.into(), message: "x".into() };
    Ended { status: Status::Failed, outcome: Outcome::Unknown, response: None, error: Some(error) }
}

/// A core that will read first at 0 ms.
fn bench(settings: Settings) -> Bench {
    let mut bench = Bench::with(settings);
    assert_eq!(bench.core.wake_at(), Some(Instant::from_micros(0)), "it does not know when it is");
    assert!(bench.core.handle(at(0).before(FIRST_READ), Event::Time).is_empty());
    bench
}

/// What a caller of `level` hears.
fn ask(bench: &mut Bench, ms: u64) -> String {
    let request = request(0x99, "level", ms + 1_000);
    let message = Received::Request(request);
    let actions = bench.core.handle(at(ms), Event::Received { message, receipt: receipt(), params: Ok(0) });
    let Some(Action::Reply(reply)) = actions.into_iter().next() else { panic!("no reply") };
    match (reply.response, reply.error) {
        (Some(response), None) => response.get().to_owned(),
        (_, error) => format!("{} {}", reply.status.as_str(), error.unwrap().code),
    }
}

const ID: u128 = 0x5afe;

#[test]
fn a_value_is_read_every_so_often_and_told_with_its_age() {
    let mut bench = bench(level());
    assert_eq!(bench.core.wake_at(), Some(at(0)), "not before ports are open");
    assert_eq!(bench.time(0), ["start 5afe level"]);
    assert_eq!(ask(&mut bench, 1), "unavailable unavailable");
    assert_eq!(bench.end(20, ID, gave("21")), [""; 0], "nobody is told, and nothing recorded");
    assert_eq!(ask(&mut bench, 20), r#"{"value":21,"age_ms":20}"#, "as old as its read");
    assert_eq!(ask(&mut bench, 320), r#"{"value":21,"age_ms":320}"#);
    assert_eq!(bench.core.wake_at(), Some(at(1_000)));
    assert_eq!(bench.time(1_000), ["start 5afe level"]);
    assert_eq!(ask(&mut bench, 1_010), r#"{"value":21,"age_ms":1010}"#, "while it is being read");
    bench.end(1_020, ID, gave("22"));
    assert_eq!(ask(&mut bench, 1_021), r#"{"value":22,"age_ms":21}"#);
    assert_eq!(bench.core.remembered(), 0);
}

#[test]
fn a_part_of_a_millisecond_counts_as_a_whole_one() {
    let mut bench = bench(level());
    bench.time(0);
    let key = bench.keys[&ID];
    bench.core.handle(Instant::from_micros(NOW + 900), Event::Ended { key, ended: gave("1") });
    assert_eq!(ask(&mut bench, 1), r#"{"value":1,"age_ms":1}"#);
    let now = Instant::from_micros(NOW + 1_001);
    assert!(bench.core.handle(now, Event::Time).is_empty());
    let message = Received::Request(request(1, "level", 900));
    let actions = bench.core.handle(now, Event::Received { message, receipt: receipt(), params: Ok(0) });
    let Some(Action::Reply(reply)) = actions.first() else { panic!("no reply") };
    assert_eq!(reply.response.as_ref().unwrap().get(), r#"{"value":1,"age_ms":2}"#);
}

#[test]
fn a_read_that_fails_leaves_the_old_value_and_is_told_once() {
    let mut bench = bench(level());
    bench.time(0);
    assert_eq!(bench.end(1, ID, failed("hot")), ["level fails: hot"]);
    assert_eq!(ask(&mut bench, 2), "unavailable hot");
    bench.time(1_000);
    assert_eq!(bench.end(1_001, ID, gave("7")), ["level works again"]);
    bench.time(2_000);
    assert_eq!(bench.end(2_001, ID, failed("gone")), ["level fails: gone"]);
    let old = r#"{"value":7,"age_ms":1500,"error":{"code":"gone","message":"x"}}"#;
    assert_eq!(ask(&mut bench, 2_500), old);
    bench.time(3_000);
    assert_eq!(bench.end(3_001, ID, failed("hot")), [""; 0], "it is known that it fails");
    assert!(ask(&mut bench, 3_002).ends_with(r#""error":{"code":"hot","message":"x"}}"#), "the last one");
    // One that takes too long.
    bench.time(4_000);
    assert_eq!(bench.time(4_100), ["cancel"]);
    assert!(ask(&mut bench, 4_101).contains(r#""code":"timeout""#));
    bench.time(5_000);
    assert_eq!(
        bench.end(5_300, ID, gave("8")),
        ["start 5afe level"],
        "its late result is not taken, and the next begins"
    );
    assert!(ask(&mut bench, 5_301).contains(r#""value":7"#));
    let large = gave(&format!("\"{}\"", "x".repeat(MAX_VALUE_LEN)));
    bench.end(5_302, ID, large);
    assert!(ask(&mut bench, 5_303).contains(r#""code":"response_too_large""#));
    bench.time(6_300);
    assert_eq!(bench.end(6_301, ID, ok()), ["level works again"]);
    assert_eq!(ask(&mut bench, 6_301), r#"{"value":null,"age_ms":1}"#);
}

#[test]
fn what_was_never_read_is_tried_again_soon_while_nothing_is_sent() {
    let mut settings = level();
    let hour = Duration::from_secs(3_600);
    offer(&mut settings).methods.get_mut("level").unwrap().poll = Some(hour);
    let mut bench = bench(settings);
    bench.time(0);
    let gone = || Ended { status: Status::Unavailable, outcome: Outcome::NotExecuted, ..failed("port_gone") };
    bench.end(1, ID, gone());
    assert_eq!(bench.core.wake_at(), Some(at(1_000)));
    bench.time(1_000);
    bench.end(1_001, ID, failed("hot"));
    assert_eq!(bench.core.wake_at(), Some(at(1_000).after(hour)), "this one was sent");
}

#[test]
fn commands_go_first_and_a_read_that_was_due_is_done_once() {
    let mut bench = bench(level());
    bench.time(0);
    assert_eq!(bench.send(1, request(1, "set", 5_000)), [""; 0], "it waits for the read");
    assert_eq!(bench.send(1, request(2, "set", 5_000)), [""; 0]);
    assert_eq!(bench.end(2, ID, gave("1")), ["start 1 set"]);
    assert_eq!(bench.time(1_000), [""; 0]);
    assert_eq!(bench.core.wake_at(), Some(at(5_000)), "the lane's end is an event of its own");
    assert_eq!(bench.end(3_500, 1, ok()), ["reply 1 ok", "start 2 set"]);
    assert_eq!(bench.end(3_600, 2, ok()), ["reply 2 ok", "start 5afe level"], "once, not three times");
    assert_eq!(bench.end(3_601, ID, gave("2")), [""; 0]);
    assert_eq!(bench.time(4_599), [""; 0]);
    assert_eq!(bench.time(4_600), ["start 5afe level"]);
}

#[test]
fn a_command_that_comes_when_a_read_is_due_goes_before_it() {
    let mut bench = bench(level());
    bench.time(0);
    bench.end(1, ID, gave("1"));
    assert_eq!(bench.send(1_000, request(1, "set", 5_000)), ["start 1 set"]);
    assert_eq!(bench.end(1_001, 1, ok()), ["reply 1 ok", "start 5afe level"]);
}

#[test]
fn a_read_takes_no_place_and_no_time_from_commands() {
    let mut settings = level();
    offer(&mut settings).lanes.insert("window".into(), lane(1, 0));
    let mut bench = bench(settings);
    bench.time(0);
    // With little time left, in a lane where nobody may wait: it would have started at once.
    assert_eq!(bench.send(1, request(1, "patient", 50)), [""; 0]);
    assert_eq!(bench.send(1, request(2, "set", 5_000)), ["reply 2 busy"], "as if the first had started");
    assert_eq!(bench.end(40, ID, gave("1")), ["start 1 patient"]);
    bench.end(45, 1, ok());
    bench.time(1_000);
    bench.send(1_001, request(3, "patient", 1_050));
    assert_eq!(bench.time(1_050), ["reply 3 expired"]);
    assert_eq!(bench.send(1_051, request(4, "stop", 5_000)), [""; 0]);
    assert_eq!(bench.end(1_052, ID, gave("1")), ["start 4 stop"]);
}

#[test]
fn as_many_commands_fit_as_without_the_read() {
    let mut settings = level();
    offer(&mut settings).lanes.insert("window".into(), lane(1, 1));
    let mut bench = bench(settings);
    bench.time(0);
    assert_eq!(bench.send(1, request(1, "set", 5_000)), [""; 0], "it would run");
    assert_eq!(bench.send(1, request(2, "set", 5_000)), [""; 0], "it would wait");
    assert_eq!(bench.send(1, request(3, "set", 5_000)), ["reply 3 busy"]);
}

#[test]
fn nothing_is_read_beside_a_safe_action() {
    let mut bench = bench(level());
    bench.time(0);
    bench.end(1, ID, gave("1"));
    bench.send(2, request(1, "safe", 990));
    assert_eq!(bench.time(990), ["cancel", "reply 1 timeout", "start 5afe halt"]);
    assert_eq!(bench.end(995, 1, ok()), ["record 1 Late ok"]);
    assert_eq!(bench.time(1_010), [""; 0], "the safe action runs");
    assert_eq!(bench.end(1_020, ID, ok()), ["record 5afe SafeAction ok", "start 5afe level"]);
}

#[test]
fn a_read_that_takes_too_long_leaves_nothing_to_be_made_safe() {
    let mut settings = level();
    offer(&mut settings).methods.get_mut("level").unwrap().on_timeout = Some("halt".into());
    let mut bench = bench(settings);
    bench.time(0);
    assert_eq!(bench.time(100), ["cancel", "level fails: timeout"]);
}

#[test]
fn those_that_share_a_lane_are_read_one_after_the_other_and_none_starves() {
    let mut bench = bench(polling());
    assert_eq!(bench.time(0), ["start 5afe heat"]);
    assert_eq!(bench.core.wake_at(), Some(at(100)), "the read's deadline");
    assert_eq!(bench.end(10, ID, gave("1")), [""; 0]);
    assert_eq!(bench.core.wake_at(), Some(at(500)), "not all at once");
    assert_eq!(bench.time(500), ["start 5afe level"]);
    bench.end(510, ID, gave("1"));
    bench.send(900, request(1, "set", 5_000));
    bench.time(1_600);
    assert_eq!(bench.end(2_000, 1, ok()), ["reply 1 ok", "start 5afe heat"], "it was due first");
    assert_eq!(bench.end(2_010, ID, gave("1")), ["start 5afe level"]);
}

#[test]
fn nothing_is_read_under_lockout_or_at_the_end() {
    let mut bench = bench(level());
    bench.handle(0, Event::Lockout(Some("x".into())));
    assert_eq!((bench.time(1), bench.core.wake_at()), (vec![], None));
    assert_eq!(bench.handle(2, Event::Lockout(None)), ["start 5afe level"]);
    bench.end(3, ID, gave("1"));
    bench.handle(4, Event::Lockout(Some("x".into())));
    assert_eq!((bench.time(5_000), bench.core.wake_at()), (vec![], None));
    assert_eq!(ask(&mut bench, 5_002), r#"{"value":1,"age_ms":5000}"#, "to be told of it moves nothing");
    assert_eq!(bench.handle(5_003, Event::Lockout(None)), ["start 5afe level"]);
    assert_eq!((bench.core.running(), bench.core.unanswered()), (1, 0), "nobody waits for it");
    assert_eq!(bench.handle(5_004, Event::Stop), ["cancel"]);
    bench.handle(5_005, Event::Abandon);
    bench.end(5_006, ID, gave("1"));
    assert_eq!((bench.time(9_000), bench.core.wake_at(), bench.core.calls()), (vec![], None, 0));
}

#[test]
fn whoever_asks_is_judged_like_any_other() {
    let mut settings = level();
    offer(&mut settings).methods.get_mut("level").unwrap().allow = Some(vec![Pattern::new("ops")]);
    let mut bench = bench(settings);
    bench.time(0);
    bench.end(1, ID, gave("1"));
    assert_eq!(bench.send(2, request(1, "level", 1_000)), ["reply 1 forbidden"]);
    let ops = |request: Request| Request { caller: Some("ops".into()), ..request };
    assert_eq!(bench.send(2, ops(request(1, "level", 1_000))), ["reply 1 ok"]);
    assert_eq!(bench.send(3, ops(request(2, "level", 3))), ["reply 2 expired"]);
    assert_eq!(
        bench.send(3, ops(Request { timeout: Some(9_000), ..request(2, "level", 10) })),
        ["reply 2 invalid_request"]
    );
    let error = ErrorBody { code: "invalid_request".into(), message: "x".into() };
    let message = Received::Request(ops(request(3, "level", 1_000)));
    let bad = Event::Received { message, receipt: receipt(), params: Err(error) };
    assert_eq!(bench.handle(4, bad), ["reply 3 invalid_request"]);
    bench.send(5, ops(request(4, "set", 1_000)));
    assert_eq!(bench.send(6, ops(request(4, "level", 1_000))), ["reply 4 conflict"]);
}

#[test]
fn what_was_read_under_another_offer_is_forgotten() {
    let mut bench = bench(level());
    bench.time(0);
    bench.end(1, ID, gave("1"));
    bench.time(1_000);
    let key = bench.keys[&ID];
    let offer = Offer { generation: 1, ..(*level().offer).clone() };
    assert_eq!(bench.handle(1_001, Event::Offer(Arc::new(offer))), [""; 0], "the lane is held");
    assert!(bench.core.uses(0));
    assert_eq!(ask(&mut bench, 1_002), "unavailable unavailable");
    assert_eq!(bench.handle(1_050, Event::Ended { key, ended: gave("1") }), [""; 0]);
    assert!(!bench.core.uses(0));
    assert_eq!(bench.time(1_251), ["start 5afe level"]);
    assert_eq!(ask(&mut bench, 1_252), "unavailable unavailable", "it was of the old offer");
}

/// When commands start that come at `arrivals` and take so long, in a lane that takes one at a time, whose reads take
/// `read` each.
fn starts(settings: Settings, arrivals: &[(u64, u64)], read: u64) -> Vec<u64> {
    let mut core: Core<u8> = Core::new(settings, []);
    let mut starts = vec![u64::MAX; arrivals.len()];
    let mut running: Vec<(u64, CallKey)> = Vec::new();
    let mut next = 0;
    while starts.contains(&u64::MAX) {
        let wake = core.wake_at().map(|at| at.as_micros().saturating_sub(NOW) / 1_000);
        let ends = running.iter().map(|(at, _)| *at).min();
        let arrival = arrivals.get(next).map(|(at, _)| *at);
        let now = [wake, ends, arrival].into_iter().flatten().min().unwrap();
        let event = if let Some(place) = running.iter().position(|(at, _)| *at <= now) {
            let (_, key) = running.remove(place);
            Event::Ended { key, ended: gave("1") }
        } else if arrival == Some(now) {
            next += 1;
            let id = u128::try_from(next).unwrap();
            let request = Request { timeout: Some(5_000), ..request(id, "set", now + 5_000) };
            Event::Received { message: Received::Request(request), receipt: receipt(), params: Ok(0) }
        } else {
            Event::Time
        };
        for action in core.handle(at(now), event) {
            if let Action::Start(start) = action {
                let takes = if start.purpose == Purpose::Poll {
                    read
                } else {
                    let place = usize::try_from(start.id.as_u128()).unwrap() - 1;
                    starts[place] = now;
                    arrivals[place].1
                };
                running.push((now + takes, start.key));
            }
        }
    }
    starts
}

proptest! {
    #[test]
    fn no_command_is_delayed_by_more_than_one_read(
        steps in prop::collection::vec((0..200_u64, 0..60_u64), 1..40),
        every in 50..300_u64,
        read in 0..90_u64,
    ) {
        let mut time = 0;
        let arrivals: Vec<(u64, u64)> = steps.into_iter().map(|(after, takes)| { time += after; (time, takes) }).collect();
        let with = |poll| {
            let mut settings = settings();
            let offer = offer(&mut settings);
            offer.lanes.insert("window".into(), lane(1, 1_000));
            offer.methods.insert("level".into(), settings::Method { poll, ..method("window") });
            settings
        };
        let polled = starts(with(Some(Duration::from_millis(every))), &arrivals, read);
        let alone = starts(with(None), &arrivals, read);
        for (polled, alone) in polled.iter().zip(&alone) {
            prop_assert!(alone <= polled && *polled <= alone + read, "{polled} instead of {alone}");
        }
    }
}
