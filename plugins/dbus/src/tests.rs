//! The plugin on a real bus.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it expects, and fails on the rest")]

mod done;
mod learn;
mod life;
mod mock;
mod preview;
mod ready_made;
pub(crate) mod rig;

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
    let nobody = async |hint: &str| {
        for method in ["move", "move_asked", "get", "start"] {
            let params = json!({"percent": 40, "when": "never"});
            let Completion::Unavailable(error) = rig.call(method, params).await else { panic!("{method}") };
            assert_eq!(error.code, "org.freedesktop.DBus.Error.NameHasNoOwner");
            let address = bus.address();
            assert_eq!(error.message, format!("nobody on the bus {address} has the name {NAME}; {hint}"));
        }
    };
    nobody("start that service, or correct `destination`").await;
    let near = zbus::connection::Builder::address(bus.address().as_str());
    let _near = near.name("com.example.Windw1").build().await.unwrap();
    nobody("did you mean \"com.example.Windw1\"?").await;
    // At once, whether or not the news of its owner has come.
    let (_service, seen) = serve(&bus).await;
    assert_eq!(rig.call("move_asked", json!({"percent": 40})).await, Completion::Ok(json!(40)));
    assert_eq!(seen.calls(), 1);
}

#[tokio::test]
async fn the_bus_itself_is_always_there() {
    let bus = PrivateBus::start().await;
    let mut map = bus.map("[methods.id]\ncall = \"GetId\"\n");
    map.text = map.text.replace(NAME, "org.freedesktop.DBus").replace(PATH, "/org/freedesktop/DBus");
    let rig = Rig::start(&map);
    rig.up(true).await;
    let completion = rig.call("id", Value::Null).await;
    assert!(matches!(&completion, Completion::Ok(Value::String(id)) if id.len() == 32), "{completion:?}");
}
