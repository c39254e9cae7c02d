//! Calls over the bus of the gateway's own machine.

use super::*;

/// Somebody whom the gateway serves on its bus.
fn here() -> Receipt {
    Receipt { local: true, ..receipt() }
}

fn local(id: u128, name: &str) -> Request {
    let mut request = Request { caller: Some("local:ann".into()), ..request(id, name, 5_000) };
    request.topic.client = Level::new(LOCAL_CLIENT).unwrap();
    request
}

fn nobody_may_call() -> Bench {
    let mut settings = settings();
    offer(&mut settings).access_default = Vec::new();
    Bench::with(settings)
}

#[test]
fn who_is_served_may_call_whatever_is_not_internal() {
    let mut bench = nobody_may_call();
    assert_eq!(bench.send(0, request(1, "set", 5_000)), ["reply 1 forbidden"]);
    for (id, name, expected) in [
        (2, "set", "start 2 set"),
        (3, "ops", "start 3 ops"),
        (4, "halt", "reply 4 forbidden"),
        (5, "nothing", "reply 5 unknown_method"),
    ] {
        assert_eq!(bench.send_with(0, local(id, name), here()), [expected], "{name}");
    }
}

#[test]
fn nothing_else_is_let_pass() {
    let mut bench = nobody_may_call();
    bench.handle(0, Event::Lockout(Some("a hand in the gate".into())));
    assert_eq!(bench.send_with(0, local(1, "set"), here()), ["reply 1 locked"]);
    bench.handle(0, Event::Lockout(None));
    let mut late = local(2, "set");
    late.not_after = Some(NotAfter { incarnation: INCARNATION, at: at(1).as_micros() });
    assert_eq!(bench.send_with(1, late, here()), ["reply 2 expired"]);
    let mut long = local(3, "set");
    long.timeout = Some(5_001);
    assert_eq!(bench.send_with(1, long, here()), ["reply 3 invalid_request"]);
    bench.handle(1, Event::Stop);
    assert_eq!(bench.send_with(1, local(4, "set"), here()), ["reply 4 unavailable"]);
}

#[test]
fn no_message_has_its_return_address() {
    let mut bench = Bench::new();
    let dropped = bench.send(0, local(1, "set"));
    assert!(matches!(dropped.as_slice(), [drop] if drop.starts_with("drop: ")), "{dropped:?}");
    assert_eq!(bench.core.remembered(), 0);
    // Nor does a gateway of that name drop the calls of its own machine.
    let mut settings = settings();
    settings.target = Level::new(LOCAL_CLIENT).unwrap();
    let mut request = local(2, "set");
    request.topic.target = settings.target.clone();
    assert_eq!(Bench::with(settings).send_with(0, request, here()), ["start 2 set"]);
}

#[test]
fn it_is_no_compatibility_caller_whatever_their_names_begin_with() {
    let mut settings = settings();
    offer(&mut settings).compat.prefixes = vec!["nowd".into()];
    let mut bench = Bench::with(settings);
    bench.send_with(0, local(1, "set"), here());
    let failed = Ended { status: Status::Refused, outcome: Outcome::NotExecuted, ..ok() };
    assert_eq!(bench.end(10, 1, failed), ["reply 1 refused"], "they would hear success only");
}

#[test]
fn one_id_is_one_call_whichever_way_it_comes() {
    let mut bench = Bench::new();
    let asked = Request { caller: Some("ann".into()), ..request(1, "set", 5_000) };
    assert_eq!(bench.send(0, asked.clone()), ["start 1 set"]);
    assert_eq!(bench.send_with(1, local(1, "set"), here()), ["reply 1 conflict"], "it is somebody else's");
    assert_eq!(bench.send_with(2, local(2, "wide"), here()), ["start 2 wide"]);
    assert!(bench.send_with(3, local(2, "wide"), here()).is_empty(), "it joins the call");
    assert_eq!(bench.end(4, 2, ok()), ["reply 2 ok", "reply 2 ok", "record 2 Repeated ok"]);
    let from_afar = Request { caller: asked.caller, ..request(2, "wide", 5_000) };
    assert_eq!(bench.send(5, from_afar), ["reply 2 conflict"]);
    let somebody_else = Request { caller: Some("local:bob".into()), ..local(2, "wide") };
    assert_eq!(bench.send_with(6, somebody_else, here()), ["reply 2 conflict"]);
}

#[test]
fn nobody_far_away_is_a_user_of_this_machine() {
    let mut bench = Bench::new();
    let posing = Request { caller: Some("local:ann".into()), ..request(1, "set", 5_000) };
    assert_eq!(bench.send(0, posing), ["reply 1 invalid_request"]);
}

#[test]
fn what_is_on_offer_is_all_that_is_not_internal() {
    let mut bench = nobody_may_call();
    let mut ask = local(1, "nowd.methods");
    ask.request = RawValue::NULL.to_owned();
    let event = Event::Received { message: Received::Request(ask), receipt: here(), params: Ok(0) };
    let actions = bench.core.handle(at(0), event);
    let Some(Action::Reply(reply)) = actions.into_iter().next() else { unreachable!("no reply") };
    let page = reply.response.unwrap();
    let page: Vec<_> = page.get().matches("{}").collect();
    let public = bench.core.offer().methods.values().filter(|method| !method.internal).count();
    assert_eq!(page.len(), public);
}

#[test]
fn lanes_say_how_they_are() {
    let mut bench = Bench::new();
    for id in 1..=3 {
        bench.send_with(0, local(id, "set"), here());
    }
    let lanes = |bench: &Bench| {
        let lanes = bench.core.lanes();
        let lane = lanes.iter().find(|lane| lane.name == "window").unwrap();
        (lane.concurrency, lane.running, lane.waiting, lane.stuck)
    };
    assert_eq!(lanes(&bench), (1, 1, 2, 0));
    bench.time(5_000);
    assert_eq!(lanes(&bench), (1, 1, 0, 0));
    bench.time(6_000);
    assert_eq!(lanes(&bench), (1, 1, 0, 1));
}
