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

/// What is changed in [`GOOD`], and what is said of it.
const MISTAKES: &[(&str, &str, &str)] = &[
    (r#""system""#, r#""sytem""#, r#"3:7: `bus`: "sytem" is not a bus; did you mean "system"?"#),
    (
        r#""system""#,
        r#""unix:""#,
        r#"3:7: `bus`: "unix:" is not a bus; write "system", "session" or an address such as "unix:path=/run/example/bus""#,
    ),
    (
        r#""com.example.Window1"
path"#,
        r#""window"
path"#,
        r#"4:15: `destination = "window"` is not a bus name, such as "com.example.Window1""#,
    ),
    (
        r#""com.example.Window1"
path"#,
        r#"":1.5"
path"#,
        r#"4:15: `destination = ":1.5"` is not a bus name, such as "com.example.Window1""#,
    ),
    (
        r#""/com/"#,
        r#""com/"#,
        r#"5:8: `path = "com/example/window/left"` is not an object path, such as "/com/example/window""#,
    ),
    (
        r#"interface = "com.example.Window1""#,
        r#"interface = "W""#,
        r#"6:13: `interface = "W"` is not a D-Bus interface name, such as "com.example.Window1""#,
    ),
    ("bus =", "buss =", "3:1: unknown key `buss`; did you mean `bus`?"),
    (
        r#"call = "MoveTo""#,
        r#"call = "Move.To""#,
        r#"8:8: `call = "Move.To"` is not a D-Bus member name, such as "MoveTo""#,
    ),
    (
        "set =",
        "poll = \"1s\"\nset =",
        "17:8: `poll` reads something every so often, and what has `set` or `done` would move it each time; leave out one of them",
    ),
    (
        "signature =",
        "poll = \"1s\"\nsignature =",
        "10:8: `poll` reads something every so often, and what has `set` or `done` would move it each time; leave out one of them",
    ),
    ("call =", "cal =", "8:1: unknown key `cal`; did you mean `call`?"),
    (r#"call = "MoveTo""#, "", "7:10: a method has exactly one of `call`, `get` and `set`"),
    (
        "get =",
        r#"call = "A"
get ="#,
        "14:10: a method has exactly one of `call`, `get` and `set`",
    ),
    (
        r#""$percent", "$call"#,
        r#""$perzent", "$call"#,
        "9:9: `$perzent` is not declared in `params`; did you mean `$percent`?",
    ),
    (r#"speed = "$percent""#, r#"speed = "$p""#, "9:46: `$p` is not declared in `params`; there is percent"),
    (
        r#"["$call.id"] }"#,
        r#"["$call.di"] }"#,
        "11:37: `$call.di` is not known; there are `$call.id` and `$call.not_after`",
    ),
    (
        "usya{sv}",
        "usya{sv",
        r#"10:13: `signature`: "usya{sv" is not a D-Bus signature, such as "us" (a u32 and a text), "ay" (bytes) or "a{sv}""#,
    ),
    (
        "usya{sv}",
        "ushs",
        r#"10:13: `signature`: "ushs" holds a file descriptor (h), which cannot be sent from JSON"#,
    ),
    ("usya{sv}", "us", r#"10:13: `signature = "us"` says 2 values, but 4 are sent"#),
    ("5, {", "500, {", "9:33: argument 3: expected an integer from 0 to 255 (y), got 500"),
    ("5, {", "2026-11-22, {", "9:33: 2026-11-22 is a date, which D-Bus does not know; write a text"),
    (
        "com.example.Error.Interlock",
        "Interlock",
        r#"12:12: `refused`: "Interlock" is not a D-Bus error name, such as "com.example.Error.Interlock" or "com.example.Error.*""#,
    ),
    (
        r#""Moved""#,
        r#""com.Moved""#,
        r#"11:19: `done.signal = "com.Moved"` is not a D-Bus member name, such as "MoveTo""#,
    ),
    ("match =", "mach =", "11:28: unknown key `mach`; did you mean `match`?"),
    (
        r#"get = "Position""#,
        r#"get = "Position"
args = []"#,
        "16:8: `args` belongs to `call` only; leave it out",
    ),
    ("value = 5", "", r#"17:7: `set` needs `value`: what to write, such as `value = "$percent"`"#),
    (r#""system""#, r#""syste m""#, r#"3:7: `bus`: "syste m" is not a bus; did you mean "system"?"#),
    (
        r#""system""#,
        r#""my""#,
        r#"3:7: `bus`: "my" is not a bus; write "system", "session" or an address such as "unix:path=/run/example/bus""#,
    ),
    (r#"path = "/com"#, r#"pat = "/com"#, "5:1: unknown key `pat`; did you mean `path`?"),
    (
        r#""$percent", "$call"#,
        r#""$call.reply", "$call"#,
        "9:9: `$call.reply` stands only in `done`, by itself",
    ),
    (r#""$percent", "$call"#, r#""$*", "$call"#, "9:9: `$*` stands only in `done`, by itself"),
    (
        r#""$percent", "$call"#,
        r#""$percent $", "$call"#,
        r#"9:9: a `$` must be followed by a parameter's name, `call.id`, `call.not_after`, or another `$`, in "$percent $""#,
    ),
    (
        r#"speed = "$percent""#,
        r#""$percent" = 1"#,
        r#"9:51: a key cannot be a parameter: "$percent"; write `$$` for a `$`"#,
    ),
    (
        r#"speed = "$percent""#,
        r#"speed = { "$typ" = "u" }"#,
        r#"9:57: a key cannot be a parameter: "$typ"; did you mean `$type`?"#,
    ),
    (
        r#"speed = "$percent""#,
        r#"speed = { "$type" = "u" }"#,
        r#"9:58: `value` is missing; a typed value is { "$type" = "u", value = ... }"#,
    ),
    (
        r#"speed = "$percent""#,
        r#"speed = { "$type" = "uu", value = 1 }"#,
        r#"9:58: `$type`: "uu" is not one complete D-Bus type, such as "u", "ay" or "a{sv}""#,
    ),
    (
        r#"speed = "$percent""#,
        r#"speed = { "$type" = "u", value = -1 }"#,
        r#"9:36: argument 4["speed"]: expected an integer from 0 to 4294967295 (u), got -1"#,
    ),
    (
        r#"speed = "$percent""#,
        r#"speed = { "$type" = "h", value = -1 }"#,
        r#"9:58: `$type`: "h" holds a file descriptor (h), which cannot be sent from JSON"#,
    ),
    (
        r#"speed = "$percent""#,
        r#"speed = { "$type" = "u", valu = 1 }"#,
        r#"9:70: unknown key `valu`; a typed value is { "$type" = "u", value = ... }"#,
    ),
    (
        "5, {",
        r#"{ "$type" = "u", value = 1 }, {"#,
        r#"9:33: argument 3: expected an integer from 0 to 255 (y), got a value of the type "u""#,
    ),
    ("5, {", "inf, {", "9:33: inf is not a number that JSON knows"),
    (
        "maximum = 100",
        "maximum = 5000000000",
        "13:61: `params.percent.maximum` is 5000000000, but argument 1 (u) takes maximum 4294967295",
    ),
    (
        r#""integer""#,
        r#""string""#,
        r#"13:27: `params.percent.type` is "string", but argument 1 (u) takes "integer""#,
    ),
    (
        r#"com.example.Error.Interlock"]"#,
        r#"com.example.*", "*"]"#,
        r#"12:29: `refused`: "*" is not a D-Bus error name, such as "com.example.Error.Interlock" or "com.example.Error.*""#,
    ),
    (
        "refused = [",
        r#"failed = { "com.example.Error.Interlock" = "executed" }
refused = ["#,
        r#"12:10: "com.example.Error.Interlock" stands in `refused` too; choose one of them"#,
    ),
    (
        "refused = [",
        r#"failed = { "com.example.Error.Jam" = "excuted" }
refused = ["#,
        r#"12:10: `failed`: "excuted" is not an outcome; did you mean "executed"?"#,
    ),
    (
        "refused = [",
        r#"failed = { "Jam" = "executed" }
refused = ["#,
        r#"12:10: `failed`: "Jam" is not a D-Bus error name, such as "com.example.Error.Interlock" or "com.example.Error.*""#,
    ),
    (r#"signal = "Moved""#, r#"signl = "Moved""#, "11:10: unknown key `signl`; did you mean `signal`?"),
    (
        r#"match = ["$call.id"]"#,
        r#"match = ["$call.reply["]"#,
        r#"11:37: "$call.reply[" is not a place in the reply, such as `$call.reply`, `$call.reply[1]` or `$call.reply.name`"#,
    ),
    (
        r#"match = ["$call.id"]"#,
        r#"match = [{ "$type" = "u", value = 1 }]"#,
        "11:37: types are said of what is sent; here write the value alone",
    ),
    (
        r#"match = ["$call.id"]"#,
        r#"success = ["$percnt"]"#,
        "11:39: `$percnt` is not declared in `params`; did you mean `$percent`?",
    ),
    (
        "match = [",
        r#"path = "com", match = ["#,
        r#"11:35: `done.path = "com"` is not an object path, such as "/com/example/window""#,
    ),
    (
        "match = [",
        r#"interface = "com", match = ["#,
        r#"11:40: `done.interface = "com"` is not a D-Bus interface name, such as "com.example.Window1""#,
    ),
    (
        r#"match = ["$call.id"]"#,
        r#"match = [{ "$any" = 2 }]"#,
        r#"11:37: alternatives are { "$any" = [2, 4] }, alone in their table"#,
    ),
    (
        r#"match = ["$call.id"]"#,
        r#"match = [{ "$any" = ["$x"] }]"#,
        "11:49: `$x` is not declared in `params`; there is percent",
    ),
    // Of another kind than they must be.
    (
        r#"{ signal = "Moved", match = ["$call.id"] }"#,
        r#""Dosed""#,
        r#"11:8: `done` must be a table, such as `done = { signal = "Moved" }`, not the string "Dosed""#,
    ),
    (
        r#"signal = "Moved""#,
        r#"signal = ["Moved"]"#,
        r#"11:19: `done.signal` must be a text, such as `signal = "Moved"`, not an array"#,
    ),
    (
        r#"["$call.id"] }"#,
        r#""$call.id" }"#,
        r#"11:36: `done.match` must be an array, such as `match = ["$call.id"]`, not the string "$call.id""#,
    ),
    (
        r#"["com.example.Error.Interlock"]"#,
        r#""com.example.Error.Interlock""#,
        r#"12:11: `refused` must be an array of texts, such as `refused = ["com.example.Error.Interlock"]`, not the string "com.example.Error.Interlock""#,
    ),
    (
        r#"["com.example.Error.Interlock"]"#,
        "[5]",
        r#"12:11: `refused` must be an array of texts, such as `refused = ["com.example.Error.Interlock"]`, not the integer 5"#,
    ),
    (
        "refused = [",
        "failed = true\nrefused = [",
        r#"12:10: `failed` must be a table of texts, such as `failed = { "com.example.Error.Jammed" = "executed" }`, not the boolean true"#,
    ),
    (
        r#"args = ["$percent", "$call.id", 5, { speed = "$percent" }]"#,
        r#"args = "$percent""#,
        r#"9:8: `args` must be an array, such as `args = ["$percent"]`, not the string "$percent""#,
    ),
    (
        r#""usya{sv}""#,
        r#"["u", "s"]"#,
        r#"10:13: `signature` must be a text, such as `signature = "us"`, not an array"#,
    ),
    (
        r#"get = "Position""#,
        "get = { property = \"Position\" }",
        r#"15:7: `get` must be a text, such as `get = "Position"`, not a table"#,
    ),
    (r#""system""#, "1", r#"3:7: `bus` must be a text, such as `bus = "system"`, not the integer 1"#),
    (r#"{ signal = "Moved", "#, "{ ", "11:8: the key `signal` is missing"),
];

#[test]
fn mistakes_are_told_with_file_and_line() {
    for (from, to, expected) in MISTAKES {
        assert!(GOOD.contains(from), "{from}");
        let message = load(&GOOD.replace(from, to)).unwrap_err();
        assert_eq!(message, format!("window.toml:{expected}"), "{from} -> {to}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_name_twice_is_told_with_both_places() {
    let source = |file: &str| MapSource { file: file.into(), text: GOOD.into() };
    let error = crate::DbusPlugin::load(&[source("a.toml"), source("b.toml")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "b.toml:14:10: the method \"window.get\" is already declared in a.toml:14; choose another name"
    );
}

fn params(methods: &str) -> Result<String, String> {
    let head = GOOD.split("[methods").next().unwrap();
    let mut loaded = load(&format!("{head}{methods}"))?;
    let params = loaded.pop().unwrap().method.params;
    let schema = params.map(|params| params.schema().get("properties").unwrap().to_string());
    Ok(schema.unwrap_or_else(|| "none".into()))
}

#[test]
fn parameters_follow_from_the_signature() {
    for (keys, expected) in [
        (
            r#"args = ["$a", "$b"]
            signature = "ys""#,
            r#"{"a":{"maximum":255,"minimum":0,"type":"integer"},"b":{"type":"string"}}"#,
        ),
        (
            r#"args = [["$a", ["$b"]], { k = "$c" }]
            signature = "(xab)a{sd}""#,
            r#"{"a":{"maximum":9223372036854775807,"minimum":-9223372036854775808,"type":"integer"},"b":{"type":"boolean"},"c":{"type":"number"}}"#,
        ),
        (
            r#"args = [{ k = { "$type" = "q", value = "$a" } }]"#,
            r#"{"a":{"maximum":65535,"minimum":0,"type":"integer"}}"#,
        ),
        (
            r#"args = ["$a"]
            signature = "ay""#,
            r#"{"a":{"type":["string","array"]}}"#,
        ),
        ("args = [1]", "none"),
        (
            r#"args = ["$a"]
            signature = "y"
            params.a = { maximum = 100, description = "how far" }"#,
            r#"{"a":{"description":"how far","maximum":100,"minimum":0,"type":"integer"}}"#,
        ),
    ] {
        let method = format!("[methods.m]\ncall = \"M\"\n{keys}\n");
        assert_eq!(params(&method), Ok(expected.into()), "{keys}");
    }
    for (keys, expected) in [
        (
            "args = [\"$a\"]",
            "window.toml:9:9: `$a` is not declared in `params`; write `params.a = { type = ... }`, or declare `signature`",
        ),
        (
            "args = [\"$a and b\"]\nsignature = \"s\"",
            "window.toml:9:9: `$a` is not declared in `params`; what it may be does not follow from the signature: write `params.a = { ... }`",
        ),
        (
            "args = [\"$a\"]\nsignature = \"v\"",
            "window.toml:9:9: `$a` is not declared in `params`; what it may be does not follow from the signature: write `params.a = { ... }`",
        ),
    ] {
        let method = format!("[methods.m]\ncall = \"M\"\n{keys}\n");
        assert_eq!(params(&method), Err(expected.into()), "{keys}");
    }
}
