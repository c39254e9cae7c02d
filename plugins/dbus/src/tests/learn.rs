//! What services say of themselves, and what is said of maps that do not fit them.

use super::*;

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

/// Fits the window, but for what is changed in it.
const FITS: &str = r#"
[methods.set]
call = "MoveTo"
args = ["$percent"]
signature = "u"
done = { signal = "Moved", match = ["$*"] }
[methods.asked]
call = "MoveTo"
args = [40]
[methods.put]
set = "Position"
value = "$percent"
params.percent = { type = "integer" }
[methods.get]
get = "Position"
"#;

/// The first place of `from` in [`FITS`] is what is changed; what is told starts behind the object.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "\"MoveTo\"",
        "\"MoveTwo\"",
        "8:8: com.example.Window1 at /com/example/window/left has no method \"MoveTwo\"; did you mean \"MoveTo\"?",
    ),
    (
        "interface = \"com.example.Window1\"",
        "interface = \"com.example.Windw1\"",
        "5:13: com.example.Window1 at /com/example/window/left has no interface \"com.example.Windw1\"; did you mean \"com.example.Window1\"?",
    ),
    (
        "\"u\"",
        "\"s\"",
        "10:13: `signature = \"s\"`, but com.example.Window1 at /com/example/window/left says that MoveTo takes \"u\"",
    ),
    (
        "[\"$percent\"]\nsignature = \"u\"",
        "[\"$percent\", 1]\nsignature = \"uu\"",
        "8:8: com.example.Window1 at /com/example/window/left: MoveTo takes 1 value (\"u\"), and the map sends 2",
    ),
    (
        "\"Moved\"",
        "\"Movd\"",
        "11:19: com.example.Window1 at /com/example/window/left has no signal \"Movd\"; did you mean \"Moved\"?",
    ),
    (
        "[\"$*\"]",
        "[\"$*\", \"$*\", \"$*\"]",
        "11:36: com.example.Window1 at /com/example/window/left: the signal \"Moved\" carries 2 values, and `done.match` is of 3 values",
    ),
    ("[40]", "[-40]", "14:9: argument 1: expected an integer from 0 to 4294967295 (u), got -40"),
    (
        "set = \"Position\"",
        "set = \"SerialNumber\"",
        "16:7: com.example.Window1 at /com/example/window/left: the property \"SerialNumber\" can only be read",
    ),
    (
        "get = \"Position\"",
        "get = \"Postion\"",
        "20:7: com.example.Window1 at /com/example/window/left has no property \"Postion\"; did you mean \"Position\"?",
    ),
    (
        "{ type = \"integer\" }",
        "{ type = \"string\" }",
        "18:27: `params.percent.type` is \"string\", but `value` (u) takes \"integer\"",
    ),
    (
        "call = \"MoveTo\"\nargs = [40]",
        "call = \"TakeFile\"\nargs = [40]",
        "13:8: com.example.Window1 at /com/example/window/left: TakeFile takes a file descriptor (\"h\"), which cannot be sent from JSON",
    ),
    (
        "window/left",
        "window/lef",
        "4:8: com.example.Window1 at /com/example/window/lef is not there; correct `path`, or declare `signature` if it comes later",
    ),
];

#[tokio::test]
async fn what_does_not_fit_is_told_with_its_place() {
    let bus = PrivateBus::start().await;
    let (_service, _seen) = serve(&bus).await;
    let mut rigs = Vec::new();
    for (from, to, _) in MISTAKES {
        let mut map = bus.map(FITS);
        assert!(map.text.contains(from), "{from}");
        map.text = map.text.replacen(from, to, 1);
        rigs.push(Rig::start(&map));
    }
    for ((from, to, expected), rig) in MISTAKES.iter().zip(rigs) {
        let told = rig.told(1).await;
        assert_eq!(told.first(), Some(&format!("window.toml:{expected}")), "{from} -> {to}: {told:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_call_that_does_not_fit_is_refused_with_the_same_sentence() {
    let bus = PrivateBus::start().await;
    let (service, seen) = serve(&bus).await;
    let mut map = bus.map(FITS);
    map.text = map.text.replace("\"MoveTo\"", "\"MoveTwo\"");
    let rig = Rig::start(&map);
    rig.up(true).await;
    // Whether or not it has been told yet; with a signature the service is asked, and says less.
    for (method, end) in [("asked", "\"MoveTo\"?"), ("set", "(Unknown method 'MoveTwo')")] {
        rig.told(2).await;
        let Completion::Refused(error) = rig.call(method, json!({"percent": 1})).await else { panic!() };
        assert_eq!(error.code, "org.freedesktop.DBus.Error.UnknownMethod");
        assert!(error.message.starts_with("window.toml:"), "{}", error.message);
        assert!(error.message.contains("did you mean \"MoveTo\"?"), "{}", error.message);
        assert!(error.message.ends_with(end), "{}", error.message);
    }
    assert_eq!(seen.calls(), 0);
    drop(service);
}

#[tokio::test]
async fn a_path_that_is_wrong_is_told_with_its_place() {
    let bus = PrivateBus::start().await;
    let (_service, seen) = serve(&bus).await;
    let mut map = bus.map(FITS);
    map.text = map.text.replace(PATH, "/com/example/window/lef");
    let rig = Rig::start(&map);
    rig.up(true).await;
    for method in ["get", "set"] {
        let Completion::Refused(error) = rig.call(method, json!({"percent": 1})).await else { panic!() };
        assert_eq!(error.code, "org.freedesktop.DBus.Error.UnknownObject");
        let start =
            "window.toml:4:8: com.example.Window1 at /com/example/window/lef is not there; correct `path` (";
        assert!(error.message.starts_with(start), "{method}: {}", error.message);
    }
    assert_eq!(seen.calls(), 0);
}

#[tokio::test]
async fn a_call_whose_signal_never_comes_is_not_begun() {
    let bus = PrivateBus::start().await;
    let (_service, seen) = serve(&bus).await;
    let mut map = bus.map(FITS);
    map.text = map.text.replace("\"Moved\"", "\"Movd\"");
    let rig = Rig::start(&map);
    rig.up(true).await;
    let told = rig.told(1).await;
    let Completion::Refused(error) = rig.call("set", json!({"percent": 1})).await else { panic!() };
    assert_eq!(error.code, "no_such_signal");
    assert_eq!(Some(&error.message), told.first());
    assert_eq!(seen.calls(), 0);
}

#[test]
fn only_what_contradicts_is_told() {
    let map = nowd_plugin::map::MapSource {
        file: "window.toml".into(),
        text: format!(
            "[dbus]\nbus = \"system\"\ndestination = {NAME:?}\npath = {PATH:?}\ninterface = {NAME:?}\n{FITS}"
        ),
    };
    let mapped = crate::map::load(&map).unwrap();
    let set = mapped.iter().find(|mapped| mapped.method.name == "set").unwrap();
    for (method, signals, expected) in [
        ("u", "<signal name=\"Moved\"><arg type=\"s\"/></signal>", 0),
        // Whatever the service takes, it takes this too.
        ("v", "<signal name=\"Moved\"><arg type=\"s\"/></signal>", 0),
        ("s", "<signal name=\"Moved\"><arg type=\"s\"/></signal>", 1),
        // Many services do not tell of their signals.
        ("u", "", 0),
        ("u", "<signal name=\"Stopped\"/>", 1),
    ] {
        let xml = format!(
            "<node><interface name={NAME:?}><method name=\"MoveTo\"><arg type={method:?} direction=\"in\"/></method>{signals}</interface></node>"
        );
        let described = crate::introspect::Description::parse(&xml).unwrap();
        let mut wrong = crate::fit::complaints(set, &described);
        wrong.extend(crate::fit::done_complaint(set, set.done.as_ref().unwrap(), PATH, &described));
        assert_eq!(wrong.len(), expected, "{method} {signals}: {wrong:?}");
    }
}

#[tokio::test]
async fn an_object_that_comes_later_is_used() {
    let bus = PrivateBus::start().await;
    let service = rig::elsewhere(&bus).await;
    let rig = Rig::start(&bus.map(FITS));
    rig.up(true).await;
    assert_eq!(code(&rig.call("asked", Value::Null).await), ("unavailable", "no_signature"));
    let seen = rig::export(&service).await;
    // Its owner is the same as before.
    assert_eq!(rig.call("asked", Value::Null).await, Completion::Ok(json!(40)));
    assert_eq!(seen.calls(), 1);
    // And then there is nothing to complain of.
    until("peace", || rig.plugin.buses[0].told().is_empty()).await;
}

#[tokio::test]
async fn a_service_that_does_not_say_what_it_is_delays_nobody() {
    const MUTE: &str = "com.example.Mute1";
    let bus = PrivateBus::start().await;
    let (_service, _seen) = serve(&bus).await;
    // It has no objects, and so answers nothing at all.
    let mute = zbus::connection::Builder::address(bus.address().as_str());
    let _mute = mute.name(MUTE).build().await.unwrap();
    let mut other = bus.map(FITS);
    other.text =
        other.text.replace(&format!("{NAME:?}"), &format!("{MUTE:?}")).replace("[methods.", "[methods.mute_");
    other.file = "mute.toml".into();
    let rig = Rig::of(&[other, bus.map(FITS)]);
    rig.up(true).await;
    assert_eq!(rig.call("asked", Value::Null).await, Completion::Ok(json!(40)));
    // In time, so that its caller hears why.
    let short = Deadline::after(Duration::from_millis(400));
    let short = Call { deadline: short, ..call("mute_asked", Value::Null) };
    let completion = rig.invoke(&short).await;
    assert_eq!(code(&completion), ("unavailable", "no_signature"), "{completion:?}");
    // Where the types are declared, or there are none, nothing is missing.
    let told = rig.told(2).await;
    for (told, line) in told.iter().zip([13, 16]) {
        assert!(told.starts_with(&format!("mute.toml:{line}:")), "{told}");
        assert!(told.ends_with("did not describe itself in time; declare `signature`"), "{told}");
    }
}
