//! Other methods on offer while the gateway runs.

use super::*;

/// The methods of [`settings`] with changes.
fn changed(change: impl FnOnce(&mut Offer)) -> Event<u8> {
    let mut offer = Offer { generation: 1, ..(*settings().offer).clone() };
    change(&mut offer);
    Event::Offer(Arc::new(offer))
}

#[test]
fn a_call_that_runs_ends_under_the_rules_that_it_began_with() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "safe", 100));
    let gone = changed(|offer| {
        offer.methods.retain(|name, _| name == "set");
        offer.lanes.remove("wide");
    });
    assert_eq!(bench.handle(10, gone), [""; 0]);
    assert!(bench.core.uses(0));
    assert_eq!(bench.send(20, request(2, "set", 2_000)), [""; 0], "the lane is the same, and is held");
    assert_eq!(bench.time(100), ["cancel", "reply 1 timeout", "start 5afe halt"], "as it was declared then");
    assert_eq!(bench.end(150, 0x5afe, ok()), ["record 5afe SafeAction ok"]);
    assert_eq!(bench.time(1_100), ["reply 2 unavailable"], "stuck, as it was declared then");
    assert_eq!(bench.end(1_200, 1, ok()), ["record 1 Late ok"]);
    assert!(!bench.core.uses(0));
    assert_eq!(bench.send(1_201, request(3, "set", 2_000)), ["start 3 set"]);
}

#[test]
fn a_safe_action_at_the_end_of_the_process_is_the_one_declared_then() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "safe", 1_000));
    bench.handle(10, changed(|offer| offer.methods.clear()));
    assert_eq!(bench.handle(20, Event::Stop), ["start 5afe halt"]);
    bench.end(21, 1, ok());
    assert!(bench.core.uses(0), "the safe action is of the same offer");
    bench.end(22, 0x5afe, ok());
    assert!(!bench.core.uses(0));
}

#[test]
fn calls_that_wait_are_given_up() {
    let mut settings = settings();
    settings.journal = true;
    let mut bench = Bench::with(settings);
    bench.send(0, request(1, "stop", 1_000));
    bench.send(0, request(2, "set", 1_000));
    bench.send(0, request(3, "wide", 1_000));
    let same = changed(|_| {});
    let words = ["reply 2 unavailable", "reply 3 unavailable", "journal 3 not started"];
    assert_eq!(bench.handle(10, same), words);
    let key = bench.keys[&3];
    assert_eq!(bench.handle(11, Event::Journaled { key, kept: true }), [""; 0]);
    let again = Request { timestamp: Some(1), attempt: 2, ..request(2, "set", 2_000) };
    assert_eq!(
        bench.send(12, request(2, "set", 1_000)),
        ["reply 2 unavailable", "record 2 Repeated unavailable"]
    );
    bench.send(12, again);
    assert_eq!(bench.end(20, 1, ok())[..2], ["reply 1 ok", "journal 2 started"]);
}

#[test]
fn a_repeat_is_answered_as_before_whatever_is_on_offer() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 1_000));
    bench.end(1, 1, ok());
    bench.send(2, request(2, "wide", 1_000));
    bench.handle(10, changed(|offer| offer.methods.clear()));
    assert_eq!(bench.send(11, request(1, "set", 1_000)), ["reply 1 ok", "record 1 Repeated ok"]);
    assert_eq!(bench.send(11, request(2, "wide", 1_000)), [""; 0], "it runs");
    assert_eq!(bench.end(12, 2, ok()), ["reply 2 ok", "reply 2 ok", "record 2 Repeated ok"]);
    let mut stranger = request(1, "set", 1_000);
    stranger.topic.client = Level::new("another").unwrap();
    assert_eq!(bench.send(13, stranger), ["reply 1 unknown_method"]);
    assert_eq!(bench.send(13, request(3, "set", 1_000)), ["reply 3 unknown_method"]);
}

#[test]
fn what_was_refused_is_not_started_because_the_methods_were_changed() {
    let mut bench = Bench::new();
    let of = |id, name, made: u64| Request { timeout: Some(1_000), ..request(id, name, made + 1_000) };
    assert_eq!(bench.send(5, of(1, "new", 0)), ["reply 1 unknown_method"]);
    let with_new = |offer: &mut Offer| drop(offer.methods.insert("new".into(), method("wide")));
    bench.handle(10, changed(with_new));
    assert_eq!(bench.send(11, of(1, "new", 0)), ["reply 1 unavailable"], "a copy that was under way");
    assert_eq!(bench.send(12, of(2, "new", 11)), ["start 2 new"], "made after the change");
    let mut bench = Bench::new();
    bench.handle(10, changed(with_new));
    assert_eq!(bench.send(11, of(1, "new", 0)), ["start 1 new"], "nothing had been refused");
}

#[test]
fn lanes_are_known_by_their_names() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 5_000));
    for id in 2..=3 {
        bench.send(0, request(id, "wide", 5_000));
    }
    let narrow = |offer: &mut Offer| {
        offer.lanes.insert("wide".into(), lane(1, 1));
        offer.lanes.insert("window".into(), lane(2, 0));
        offer.lanes.insert("new".into(), lane(1, 0));
        offer.methods.insert("new".into(), method("new"));
    };
    bench.handle(10, changed(narrow));
    assert_eq!(bench.send(11, request(4, "set", 5_000)), ["start 4 set"], "it is wider now");
    assert_eq!(bench.send(11, request(5, "set", 5_000)), ["reply 5 busy"]);
    assert_eq!(bench.send(11, request(6, "new", 5_000)), ["start 6 new"]);
    assert_eq!(bench.send(11, request(7, "wide", 5_000)), [""; 0]);
    assert_eq!(bench.send(11, request(8, "wide", 5_000)), ["reply 8 busy"]);
    assert_eq!(bench.end(12, 2, ok()), ["reply 2 ok"], "two ran, and one may");
    assert_eq!(bench.end(13, 3, ok()), ["reply 3 ok", "start 7 wide"]);
    // One that is not on offer any more is kept as long as it is held, and is the same when it comes back.
    let without = |offer: &mut Offer| offer.lanes.retain(|name, _| name != "new");
    bench.handle(20, changed(without));
    bench.handle(21, changed(narrow));
    assert_eq!(bench.send(22, request(9, "new", 5_000)), ["reply 9 busy"]);
    bench.handle(23, changed(without));
    assert!(bench.core.lanes.contains_key("new"));
    bench.end(24, 6, ok());
    assert!(!bench.core.lanes.contains_key("new"));
}

#[test]
fn whoever_may_call_and_whoever_speaks_the_samples_form_may_change() {
    let mut bench = Bench::new();
    bench.handle(0, changed(|offer| offer.access_default = vec![Pattern::new("ops")]));
    assert_eq!(bench.send(1, request(1, "set", 5_000)), ["reply 1 forbidden"]);
    let sample = |id| Request { timeout: None, not_after: None, ..request(id, "wide", 0) };
    bench.handle(2, changed(|offer| offer.compat.prefixes = vec!["app".into()]));
    assert_eq!(bench.send(3, sample(2)), ["start 2 wide"]);
    bench.handle(4, changed(|_| {}));
    assert_eq!(bench.send(5, sample(3)), ["reply 3 invalid_request"]);
}

/// A call of a polled method moves nothing, so it is not remembered. It must not move anything later either.
#[test]
fn what_was_said_of_a_polled_method_is_not_followed_by_a_start() {
    let mut settings = settings();
    let polled = settings::Method { poll: Some(Duration::from_secs(1)), ..method("wide") };
    offer(&mut settings).methods.insert("level".into(), polled);
    let not_polled = |offer: &mut Offer| drop(offer.methods.insert("level".into(), method("wide")));
    let of = |id, made: u64| Request { timeout: Some(1_000), ..request(id, "level", made + 1_000) };
    let mut bench = Bench::with(settings.clone());
    assert_eq!(bench.send(5, of(1, 0)), ["reply 1 unavailable"], "never read");
    bench.handle(10, changed(not_polled));
    assert_eq!(bench.send(11, of(1, 0)), ["reply 1 unavailable"], "a copy that was under way");
    assert_eq!(bench.send(12, of(2, 11)), ["start 2 level"], "made after the change");
    let mut bench = Bench::with(settings);
    let params = Err(ErrorBody { code: "invalid_request".into(), message: "leave them out".into() });
    let message = Received::Request(of(1, 0));
    let refused = bench.handle(5, Event::Received { message, receipt: receipt(), params });
    assert_eq!(refused, ["reply 1 invalid_request"]);
    bench.handle(10, changed(not_polled));
    assert_eq!(bench.send(11, of(1, 0)), ["reply 1 unavailable"], "a copy that was under way");
}

#[test]
fn who_becomes_a_compatibility_caller_is_not_called_anew() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(100, request(1, "wide", 50)), ["reply 1 expired"]);
    bench.handle(110, changed(|offer| offer.compat.prefixes = vec!["app".into()]));
    assert_eq!(bench.send(111, request(1, "wide", 50)), [""; 0], "its own deadline has passed");
}

/// [`settings`], where each method is known by its name.
fn known() -> Settings {
    let mut settings = settings();
    for (number, method) in (1..).zip(offer(&mut settings).methods.values_mut()) {
        method.identity = Some(Uuid::from_u128(number));
    }
    settings
}

fn changed_from(settings: &Settings, change: impl FnOnce(&mut Offer)) -> Event<u8> {
    let mut offer = Offer { generation: 1, ..(*settings.offer).clone() };
    change(&mut offer);
    Event::Offer(Arc::new(offer))
}

#[test]
fn what_a_change_does_not_touch_waits_on() {
    let mut settings = known();
    settings.journal = true;
    let another = |offer: &mut Offer| {
        offer.methods.get_mut("set").unwrap().identity = None;
        offer.methods.insert("new".into(), method("wide"));
    };
    let mut bench = Bench::with(settings.clone());
    bench.send(0, request(1, "stop", 1_000));
    bench.send(0, request(2, "set", 1_000));
    bench.send(0, request(3, "other", 1_000));
    bench.send(0, request(4, "wide", 1_000));
    assert_eq!(bench.handle(10, changed_from(&settings, another)), ["reply 2 unavailable"]);
    let key = bench.keys[&4];
    assert_eq!(bench.handle(11, Event::Journaled { key, kept: true }), ["start 4 wide"]);
    bench.end(12, 1, ok());
    let key = bench.keys[&3];
    assert_eq!(bench.handle(13, Event::Journaled { key, kept: true }), ["start 3 other"]);
    assert!(bench.core.uses(0), "they run as they were let in");
}

#[test]
fn only_copies_for_what_was_changed_are_from_before() {
    let settings = known();
    let mut bench = Bench::with(settings.clone());
    let of = |id, name, made: u64| Request { timeout: Some(1_000), ..request(id, name, made + 1_000) };
    assert_eq!(bench.send(5, of(1, "new", 0)), ["reply 1 unknown_method"]);
    let with_new = |offer: &mut Offer| drop(offer.methods.insert("new".into(), method("wide")));
    bench.handle(10, changed_from(&settings, with_new));
    assert_eq!(bench.send(11, of(1, "new", 0)), ["reply 1 unavailable"], "a copy that was under way");
    assert_eq!(bench.send(11, of(2, "wide", 0)), ["start 2 wide"], "nobody heard otherwise of this one");
    let sample = |offer: &mut Offer| {
        with_new(offer);
        offer.compat.prefixes = vec!["very-old".into()];
    };
    bench.handle(12, changed_from(&settings, sample));
    assert_eq!(bench.send(13, of(3, "wide", 0)), ["reply 3 unavailable"], "all are judged otherwise");
}

#[test]
fn what_was_read_of_the_same_method_is_kept() {
    let mut settings = known();
    let polled = settings::Method {
        poll: Some(Duration::from_secs(1)),
        identity: Some(Uuid::from_u128(99)),
        ..method("wide")
    };
    offer(&mut settings).methods.insert("level".into(), polled);
    let mut bench = Bench::with(settings.clone());
    bench.time(0);
    assert_eq!(bench.time(2_000), ["start 5afe level"]);
    let read = Ended { response: Some(RawValue::from_string("21".into()).unwrap()), ..ok() };
    bench.end(2_001, 0x5afe, read);
    assert_eq!(bench.send(2_002, request(1, "level", 3_000))[0], "reply 1 ok");
    bench.handle(2_003, changed_from(&settings, |offer| drop(offer.methods.remove("set"))));
    assert_eq!(bench.send(2_004, request(2, "level", 3_000))[0], "reply 2 ok");
    let another = |offer: &mut Offer| offer.methods.get_mut("level").unwrap().identity = None;
    bench.handle(2_005, changed_from(&settings, another));
    assert_eq!(bench.send(2_006, request(3, "level", 3_000))[0], "reply 3 unavailable");
}
