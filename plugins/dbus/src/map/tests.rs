use super::*;

const GOOD: &str = r#"
[dbus]
bus = "system"
destination = "com.example.Window1"
path = "/com/example/window/left"
interface = "com.example.Window1"
[methods."window.set"]
call = "MoveTo"
args = ["$percent", "$call.id", 5, { speed = "$percent" }]
signature = "usya{sv}"
done = { signal = "Moved", match = ["$call.id"] }
refused = ["com.example.Error.Interlock"]
params.percent = { type = "integer", minimum = 0, maximum = 100 }
[methods."window.get"]
get = "Position"
[methods."window.put"]
set = "Position"
value = 5
"#;

fn load(text: &str) -> Result<Vec<Mapped>, String> {
    super::load(&MapSource { file: "window.toml".into(), text: text.into() }).map_err(|e| e.to_string())
}

#[test]
fn reads_a_map() {
    let methods = load(GOOD).unwrap();
    let names: Vec<&str> = methods.iter().map(|mapped| mapped.method.name.as_str()).collect();
    assert_eq!(names, ["window.get", "window.put", "window.set"]);
    let set = &methods[2];
    assert_eq!(set.method.lane.name, "dbus:system:com.example.Window1/com/example/window/left");
    assert_eq!(set.method.origin, "window.toml:7");
    assert_eq!(set.signature.as_ref().unwrap().len(), 4);
    let done = set.done.as_ref().unwrap();
    assert_eq!((done.interface.as_str(), done.signal.as_str()), ("com.example.Window1", "Moved"));
}

#[test]
fn mistakes_are_told_with_file_and_line() {
    for (from, to, expected) in [
        ("\"system\"", "\"sytem\"", "window.toml:2: `bus = \"sytem\"` is not a bus; write \"system\""),
        ("\"system\"", "\"unix:\"", "window.toml:2: `bus = \"unix:\"` is not a bus"),
        (
            "\"com.example.Window1\"\npath",
            "\"window\"\npath",
            "window.toml:2: `destination = \"window\"` is not a bus name",
        ),
        (
            "\"com.example.Window1\"\npath",
            "\":1.5\"\npath",
            "window.toml:2: `destination = \":1.5\"` is not a bus name",
        ),
        ("\"/com/", "\"com/", "window.toml:2: `path = \"com/example/window/left\"` is not a object path"),
        ("interface = \"com.example.Window1\"", "interface = \"W\"", "window.toml:2: `interface = \"W\"`"),
        ("bus =", "buss =", "window.toml:3: unknown field `buss`"),
        (
            "call = \"MoveTo\"",
            "call = \"Move.To\"",
            "window.toml:7: `call = \"Move.To\"` is not a D-Bus member name",
        ),
        ("call =", "cal =", "window.toml:8: unknown key `cal`; did you mean `call`?"),
        ("call = \"MoveTo\"", "", "window.toml:7: a method has exactly one of `call`, `get` and `set`"),
        (
            "get =",
            "call = \"A\"\nget =",
            "window.toml:14: a method has exactly one of `call`, `get` and `set`",
        ),
        (
            "\"$percent\", \"$call",
            "\"$perzent\", \"$call",
            "window.toml:7: `$perzent` is not declared in `params`, which has percent",
        ),
        ("speed = \"$percent\"", "speed = \"$p\"", "window.toml:7: `$p` is not declared"),
        ("[\"$call.id\"] }", "[\"$call.di\"] }", "window.toml:7: `$call.di` is not known"),
        ("usya{sv}", "usya{sv", "window.toml:7: `signature`: \"usya{sv\" is not a D-Bus signature"),
        ("usya{sv}", "ushs", "window.toml:7: `signature`: \"ushs\" holds a file descriptor (h)"),
        ("usya{sv}", "us", "window.toml:7: `signature = \"us\"` is of 2 values, but 4 are sent"),
        ("5, {", "500, {", "window.toml:7: argument 3: expected an integer from 0 to 255 (y), got 500"),
        ("5, {", "2026-11-22, {", "window.toml:7: 2026-11-22 is a date"),
        (
            "com.example.Error.Interlock",
            "Interlock",
            "window.toml:7: `refused = \"Interlock\"` is not a D-Bus error name",
        ),
        (
            "\"Moved\"",
            "\"com.Moved\"",
            "window.toml:7: `done.signal = \"com.Moved\"` is not a D-Bus member name",
        ),
        ("match =", "mach =", "window.toml:11: unknown field `mach`"),
        (
            "get = \"Position\"",
            "get = \"Position\"\nargs = []",
            "window.toml:14: `args` belongs to `call` only",
        ),
        ("value = 5", "", "window.toml:16: `set` needs `value`"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let message = load(&GOOD.replace(from, to)).unwrap_err();
        assert!(message.starts_with(expected), "{from} -> {to}: {message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_name_twice_is_told_with_both_places() {
    let source = |file: &str| MapSource { file: file.into(), text: GOOD.into() };
    let error = crate::DbusPlugin::load(&[source("a.toml"), source("b.toml")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "b.toml:14: the method \"window.get\" is already declared in a.toml:14; choose another name"
    );
}
