//! What a method would send, in words, without a bus.

use super::*;

const SHOWN: &str = r#"
[methods.set]
call = "MoveTo"
args = ["$percent", "id $call.id", { speed = { "$type" = "y", value = "$speed" } }]
signature = "usa{sv}"
refused = ["com.example.Error.Safety.*"]
failed = { "com.example.Error.Jammed" = "executed" }
done = { signal = "Moved", match = ["$call.reply[0]", "$percent"], success = ["$*", "$*", "done"] }
[methods.asked]
call = "Open"
args = ["$how"]
params.how = {}
[methods.get]
get = "Position"
[methods.put]
set = "Position"
value = "$percent"
signature = "u"
"#;

fn plugin() -> Arc<crate::DbusPlugin> {
    let text = format!(
        "[dbus]\nbus = \"system\"\ndestination = {NAME:?}\npath = {PATH:?}\ninterface = {NAME:?}\n{SHOWN}"
    );
    let map = nowd_plugin::map::MapSource { file: "window.toml".into(), text };
    crate::DbusPlugin::load(&[map]).unwrap()
}

#[test]
fn methods_are_explained() {
    let plugin = plugin();
    for (method, expected) in [
        (
            "set",
            &[
                r#"calls       com.example.Window1.MoveTo(u $percent, s "id $call.id", a{sv} {"speed": <y $speed>}) at /com/example/window/left on the system bus"#,
                "done        when the signal com.example.Window1.Moved($call.reply[0], $percent) comes from /com/example/window/left",
                "            and well if that signal carries ($*, $*, \"done\"); else failed, unknown",
                "failed      com.example.Error.Jammed: it was done all the same",
                "refused     com.example.Error.Safety.*: it did nothing",
            ][..],
        ),
        (
            "asked",
            &[
                "calls       com.example.Window1.Open($how) at /com/example/window/left on the system bus",
                "types       not declared; the service com.example.Window1 is asked for them (`signature` declares them)",
            ][..],
        ),
        (
            "get",
            &["reads       com.example.Window1.Position at /com/example/window/left on the system bus"][..],
        ),
        (
            "put",
            &[
                "writes      com.example.Window1.Position = u $percent at /com/example/window/left on the system bus",
            ][..],
        ),
    ] {
        assert_eq!(plugin.explain(method), expected, "{method}");
    }
}

#[test]
fn calls_are_previewed() {
    let plugin = plugin();
    let set = call("set", json!({"percent": 40, "speed": 3}));
    let expected = format!(
        "calls       com.example.Window1.MoveTo(u 40, s \"id {}\", a{{sv}} {{\"speed\": <y 3>}}) at {PATH} on the system bus",
        set.id
    );
    assert_eq!(plugin.preview(&set), Ok(vec![expected]));
    let asked = plugin.preview(&call("asked", json!({"how": [1, "x"]}))).unwrap();
    assert_eq!(
        asked[0],
        format!("calls       com.example.Window1.Open([1,\"x\"]) at {PATH} on the system bus")
    );
    assert!(asked[1].starts_with("types       not declared"), "{asked:?}");
    let wrong = plugin.preview(&call("set", json!({"percent": 40, "speed": 300}))).unwrap_err();
    let Completion::InvalidRequest(error) = wrong else { panic!("{wrong:?}") };
    assert_eq!(error.message, "request.speed: expected an integer from 0 to 255 (y), got 300");
    assert_eq!(code(&plugin.preview(&call("nobody's", Value::Null)).unwrap_err()).1, "unknown_method");
}
