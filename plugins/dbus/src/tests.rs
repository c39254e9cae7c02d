//! The plugin on a real bus.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it expects, and fails on the rest")]

mod rig;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nowd_plugin::{BootInstant, Call, Completion, Deadline, Outcome, Plugin};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::bus::Object;

use self::rig::{NAME, PATH, PrivateBus, Rig, serve, until, within};

const METHODS: &str = r#"
[methods.basics]
call = "Basics"
args = ["$y", true, -5, 65535, -7, "$u", -9, 10, 0.5, "s $y", "/o", "a{sv}"]
params.y = { type = "integer" }
params.u = { type = "integer" }
[methods.containers]
call = "Containers"
args = ["$bytes", [["a", 1], ["$name", 2]], { n = "$n" }, "$any"]
signature = "aya(su)a{sv}v"
params.bytes = {}
params.name = {}
params.n = {}
params.any = {}
[methods.move]
call = "MoveTo"
args = ["$percent"]
signature = "u"
params.percent = {}
[methods.move_asked]
call = "MoveTo"
args = ["$percent"]
params.percent = {}
[methods.nothing]
call = "Nothing"
[methods.forbidden]
call = "Forbidden"
signature = ""
[methods.missing]
call = "Missing"
signature = ""
[methods.missing_asked]
call = "Missing"
[methods.interlock]
call = "Interlock"
refused = ["com.example.Error.Interlock"]
[methods.jam]
call = "Jam"
refused = ["com.example.Error.Interlock"]
[methods.big]
call = "Big"
args = ["$length"]
params.length = {}
[methods.one_too_many]
call = "MoveTo"
args = [1, 2]
[methods.hang]
call = "Hang"
signature = ""
[methods.start]
call = "Start"
args = ["$when", "$call.id"]
done = { signal = "Moved", match = ["$call.id"] }
params.when = {}
[methods.get]
get = "Position"
[methods.get_missing]
get = "Missing"
[methods.set]
set = "Position"
value = "$percent"
params.percent = {}
[methods.set_missing]
set = "Missing"
value = 1
signature = "u"
[methods.set_read_only]
set = "SerialNumber"
value = "w-2"
"#;

fn call(method: &str, params: Value) -> Call {
    Call::new(Uuid::new_v4(), method, params, Deadline::after(rig::LONG))
}

fn code(completion: &Completion) -> (&'static str, &str) {
    match completion {
        Completion::Failed { outcome: Outcome::Unknown, error } => ("failed", &error.code),
        Completion::Failed { outcome: Outcome::NotExecuted, error } => ("failed, not executed", &error.code),
        Completion::Failed { outcome: Outcome::Executed, error } => ("failed, executed", &error.code),
        Completion::Refused(error) => ("refused", &error.code),
        Completion::Unavailable(error) => ("unavailable", &error.code),
        Completion::InvalidRequest(error) => ("invalid", &error.code),
        Completion::Timeout(error) => ("timeout", &error.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn values_and_properties_come_back() {
    let bus = PrivateBus::start().await;
    let (_service, seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    assert_eq!(
        rig.call("basics", json!({"y": 200, "u": 4_000_000_000_u32})).await,
        Completion::Ok(json!([
            200,
            true,
            -5,
            65535,
            -7,
            4_000_000_000_u32,
            -9,
            10,
            0.5,
            "s 200",
            "/o",
            "a{sv}"
        ]))
    );
    let containers = json!({"bytes": "AAE=", "name": "b", "n": [1, "x"], "any": {"k": 1.5}});
    assert_eq!(
        rig.call("containers", containers).await,
        Completion::Ok(json!(["AAE=", [["a", 1], ["b", 2]], {"n": [1, "x"]}, {"k": 1.5}]))
    );
    assert_eq!(rig.call("move", json!({"percent": 40})).await, Completion::Ok(json!(40)));
    assert_eq!(rig.call("get", Value::Null).await, Completion::Ok(json!(40)));
    assert_eq!(rig.call("set", json!({"percent": 41})).await, Completion::Ok(Value::Null));
    assert_eq!(rig.call("get", Value::Null).await, Completion::Ok(json!(41)));
    assert_eq!(rig.call("nothing", Value::Null).await, Completion::Ok(Value::Null));
    assert_eq!(seen.calls(), 5);
    rig.stop().await;
}

#[tokio::test]
async fn errors_say_what_is_known() {
    let bus = PrivateBus::start().await;
    let (_service, seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    let percent = |value: Value| json!({ "percent": value });
    for (method, params, expected) in [
        ("interlock", Value::Null, ("refused", "com.example.Error.Interlock")),
        ("jam", Value::Null, ("failed", "com.example.Error.Jammed")),
        ("missing", Value::Null, ("refused", "org.freedesktop.DBus.Error.UnknownMethod")),
        ("missing_asked", Value::Null, ("refused", "org.freedesktop.DBus.Error.UnknownMethod")),
        ("get_missing", Value::Null, ("refused", "org.freedesktop.DBus.Error.UnknownProperty")),
        ("set_missing", Value::Null, ("refused", "org.freedesktop.DBus.Error.UnknownProperty")),
        ("set_read_only", Value::Null, ("refused", "org.freedesktop.DBus.Error.PropertyReadOnly")),
        ("forbidden", Value::Null, ("unavailable", "org.freedesktop.DBus.Error.AccessDenied")),
        ("move", percent(json!(-1)), ("invalid", "invalid_argument")),
        ("move_asked", percent(json!("x")), ("invalid", "invalid_argument")),
        ("one_too_many", Value::Null, ("refused", "org.freedesktop.DBus.Error.InvalidArgs")),
        ("big", json!({"length": 200_000}), ("failed, executed", "bad_response")),
        ("nobody's", Value::Null, ("unavailable", "unknown_method")),
    ] {
        let completion = rig.call(method, params).await;
        assert_eq!(code(&completion), expected, "{method}: {completion:?}");
    }
    let Completion::Refused(interlock) = rig.call("interlock", Value::Null).await else { unreachable!() };
    assert_eq!(interlock.message, "a hand is in the way");
    let Completion::Failed { error: jam, .. } = rig.call("jam", Value::Null).await else { unreachable!() };
    assert!(jam.message.len() < 400, "{}", jam.message);
    let Completion::InvalidRequest(error) = rig.call("move", percent(json!(-1))).await else {
        unreachable!()
    };
    assert_eq!(error.message, "request.percent: expected an integer from 0 to 4294967295 (u), got -1");
    assert_eq!(seen.calls(), 0);
}

#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let bus = PrivateBus::start().await;
    let (_service, seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    for method in ["move", "move_asked"] {
        let now = BootInstant::now();
        let late = Call {
            deadline: Deadline::new(now, Duration::from_secs(1)),
            ..call(method, json!({"percent": 40}))
        };
        let completion = rig.invoke(&late).await;
        assert!(matches!(completion, Completion::Expired(_)), "{completion:?}");
    }
    // Whatever had been sent before this one would have been seen before it.
    assert_eq!(rig.call("move", json!({"percent": 41})).await, Completion::Ok(json!(41)));
    assert_eq!(seen.calls(), 1);
}

#[tokio::test]
async fn an_absent_name_is_unavailable_and_not_started() {
    let bus = PrivateBus::start().await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    for method in ["move", "move_asked", "get"] {
        let completion = rig.call(method, json!({"percent": 40})).await;
        let (status, code) = code(&completion);
        assert_eq!(status, "unavailable");
        assert!(code.ends_with("NameHasNoOwner") || code.ends_with("ServiceUnknown"), "{completion:?}");
    }
    let (_service, seen) = serve(&bus).await;
    assert_eq!(rig.call("move_asked", json!({"percent": 40})).await, Completion::Ok(json!(40)));
    assert_eq!(seen.calls(), 1);
}

#[tokio::test]
async fn an_owner_that_vanishes_in_mid_call_leaves_it_unknown() {
    let bus = PrivateBus::start().await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    // The service ends: the bus says so.
    let (service, seen) = serve(&bus).await;
    let (completion, ()) = tokio::join!(rig.call("hang", Value::Null), async {
        until("the call", || seen.hanging.load(Ordering::SeqCst) == 1).await;
        service.close().await.unwrap();
    });
    assert_eq!(code(&completion).0, "failed", "{completion:?}");
    // The service gives up its name and lives on: nobody but the bus's signal tells.
    let (service, seen) = serve(&bus).await;
    let (completion, ()) = tokio::join!(rig.call("hang", Value::Null), async {
        until("the call", || seen.hanging.load(Ordering::SeqCst) == 1).await;
        service.release_name(NAME).await.unwrap();
    });
    assert_eq!(code(&completion), ("failed", "owner_gone"));
    // Or before the signal that would have said that the work is done.
    drop(service);
    let (service, seen) = serve(&bus).await;
    let (completion, ()) = tokio::join!(rig.call("start", json!({"when": "never"})), async {
        until("the call", || seen.calls() == 1).await;
        service.close().await.unwrap();
    });
    assert_eq!(code(&completion).0, "failed", "{completion:?}");
}

#[tokio::test]
async fn a_bus_that_comes_back_is_used_again() {
    let mut bus = PrivateBus::absent();
    let rig = Rig::start(&bus.map(METHODS));
    // The first attempt has failed.
    within(rig.plugin.ready()).await;
    let completion = rig.call("move", json!({"percent": 40})).await;
    assert_eq!(code(&completion), ("unavailable", "bus_gone"));
    let Completion::Unavailable(error) = completion else { unreachable!() };
    let address = bus.address();
    let socket = address.strip_prefix("unix:path=").unwrap();
    let expected = format!(
        "the bus {address} is not there, so {NAME} cannot be called: there is no {socket}; start that bus, or correct `bus`"
    );
    assert_eq!(error.message, expected);

    for round in 0..2 {
        bus.restart().await;
        let (service, seen) = serve(&bus).await;
        rig.up(true).await;
        assert_eq!(
            rig.call("move_asked", json!({"percent": 40})).await,
            Completion::Ok(json!(40)),
            "{round}"
        );
        let (completion, ()) = tokio::join!(rig.call("hang", Value::Null), async {
            until("the call", || seen.hanging.load(Ordering::SeqCst) == 1).await;
            bus.kill().await;
        });
        assert_eq!(code(&completion), ("failed", "bus_gone"));
        rig.up(false).await;
        assert_eq!(code(&rig.call("move", json!({"percent": 40})).await), ("unavailable", "bus_gone"));
        drop(service);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_signal_completes_work_that_was_only_started() {
    let bus = PrivateBus::start().await;
    let (_service, _seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    for (when, percent) in [("before", 40), ("after", 41)] {
        let started = call("start", json!({ "when": when }));
        assert_eq!(rig.invoke(&started).await, Completion::Ok(json!([started.id, percent])), "{when}");
    }
    let short = Deadline::after(Duration::from_millis(300));
    let never = Call { deadline: short, ..call("start", json!({"when": "never"})) };
    assert_eq!(code(&rig.invoke(&never).await), ("timeout", "no_signal"));
    let cancelled = call("start", json!({"when": "never"}));
    cancelled.cancelled.cancel();
    assert_eq!(code(&rig.invoke(&cancelled).await), ("timeout", "no_signal"));
}

#[tokio::test]
async fn a_strangers_signal_does_not_count() {
    let bus = PrivateBus::start().await;
    let (service, seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    let stranger = zbus::connection::Builder::address(bus.address().as_str()).build().await.unwrap();
    // Everybody on the bus learns what a service is called by; here the gateway, from a call of its own.
    let gateway = rig.plugin.buses[0].unique_name().unwrap();
    let started = call("start", json!({"when": "never"}));
    let id = started.id.to_string();
    let (completion, ()) = tokio::join!(rig.invoke(&started), async {
        until("the call", || seen.calls() == 1).await;
        stranger.emit_signal(Some(gateway.as_str()), PATH, NAME, "Moved", &(&id, 99_u32)).await.unwrap();
        // After the bus has answered this, it has also passed the signal on.
        stranger.call_method(Some("org.freedesktop.DBus"), "/", None::<&str>, "GetId", &()).await.unwrap();
        service.emit_signal(Some(gateway.as_str()), PATH, NAME, "Moved", &(&id, 40_u32)).await.unwrap();
    });
    assert_eq!(completion, Completion::Ok(json!([id, 40])));
}

#[tokio::test]
async fn a_hung_callee_delays_nobody_else() {
    let bus = PrivateBus::start().await;
    let (_service, seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    let short = Deadline::after(Duration::from_millis(100));
    let hanging = Call { deadline: short, ..call("hang", Value::Null) };
    let hang = rig.plugin.invoke(&hanging);
    tokio::pin!(hang);
    tokio::select! {
        completion = &mut hang => panic!("{completion:?}"),
        () = until("the call", || seen.hanging.load(Ordering::SeqCst) == 1) => {}
    }
    for _ in 0..100 {
        let other = tokio::select! {
            completion = &mut hang => panic!("the lane was given back: {completion:?}"),
            other = rig.call("nothing", Value::Null) => other,
        };
        assert_eq!(other, Completion::Ok(Value::Null));
    }
    // The lane is held past the deadline, for as long as the callee may still act.
    within(hanging.deadline.passed()).await;
    let held = tokio::select! {
        completion = &mut hang => panic!("the lane was given back: {completion:?}"),
        held = rig.call("get", Value::Null) => held,
    };
    assert_eq!(held, Completion::Ok(json!(7)));
}

#[tokio::test]
async fn what_a_frozen_bus_did_not_take_in_time_is_never_sent() {
    let bus = PrivateBus::start().await;
    let (_service, seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    bus.freeze(true).await;
    // One after the other, until one does not fit into the socket's buffer any more.
    let mut calls = JoinSet::new();
    let limit = Deadline::after(rig::LONG);
    while rig.plugin.buses[0].is_up() && limit.check().is_ok() {
        let plugin = Arc::clone(&rig.plugin);
        let params = json!({"bytes": "AAAA".repeat(30_000), "name": "b", "n": 1, "any": 1});
        let deadline = Deadline::after(Duration::from_millis(200));
        let call = Call { deadline, ..call("containers", params) };
        calls.spawn(async move { plugin.invoke(&call).await });
        until("the deadline", || !rig.plugin.buses[0].is_up() || deadline.check().is_err()).await;
    }
    let (mut unknown, mut expired) = (0, 0);
    while let Some(completion) = within(calls.join_next()).await {
        match completion.unwrap() {
            Completion::Failed { outcome: Outcome::Unknown, error } if error.code == "bus_gone" => {
                unknown += 1;
            }
            Completion::Expired(_) => expired += 1,
            // It came after the connection had been given up.
            Completion::Unavailable(error) if error.code == "bus_gone" => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(expired > 0 && unknown > 0, "{expired} expired, {unknown} unknown");
    bus.freeze(false).await;
    rig.up(true).await;
    for _ in 0..50 {
        assert_eq!(rig.call("move", json!({"percent": 40})).await, Completion::Ok(json!(40)));
    }
    assert!(seen.calls() <= unknown + 50, "{} calls, {unknown} of them unknown", seen.calls());
}

#[tokio::test]
async fn types_are_asked_anew_of_a_new_owner() {
    let bus = PrivateBus::start().await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    let object = Object { destination: NAME.into(), path: PATH.into() };
    let known = || rig.plugin.buses[0].description(&object).is_some();
    for _ in 0..2 {
        assert!(!known());
        let (service, _seen) = serve(&bus).await;
        // Without a call.
        until("the description", known).await;
        assert_eq!(rig.call("move_asked", json!({"percent": 40})).await, Completion::Ok(json!(40)));
        service.close().await.unwrap();
        until("the owner's end", || !known()).await;
    }
}
