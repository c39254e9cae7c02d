//! What is said of maps before anything is written.

use super::*;

const GOOD: &str = r#"
[modbus]
port = "rs485"
unit = 3
order = "CDAB"
[methods."conveyor.speed"]
write = { holding = 0x2000, type = "u16", value = "$hz", scale = 0.01 }
[methods."m"]
write = [{ coil = 1, value = "$on" }, { wait = "20ms" }, { holding = 2, count = 2, type = "i32", value = ["$a", 5] }]
read.speed = { input = 1, type = "i32", scale = 0.1, offset = -40 }
read.state = { holding = 40002, bit = 3 }
[methods."l"]
write = { holding = 2, count = 2, value = "$list" }
[methods."t"]
write = { holding = 2, type = "text", length = 3, value = "$name" }
[methods."j"]
together = true
write = [{ holding = 2, value = 1 }, { holding = 3, value = 2 }]
read = [{ input = 9 }, { input = 4, type = "u64" }, { input = 8 }]
"#;

fn port() -> PortConfig {
    PortConfig::new("/dev/ttyX")
}

#[test]
fn says_what_it_does() {
    let plugin = load(&port(), &[GOOD]).unwrap();
    let unit = "to          unit 3";
    let refused = "refused     exceptions 1 to 3, as long as nothing was written before in the call";
    let failed = "failed      any other exception";
    let hint = "note        addresses are those of the protocol, which count from 0 in each table: a manual that calls the \
                holding register 40002 and counts from 40001 means 1";
    assert_eq!(
        plugin.explain("conveyor.speed"),
        ["writes      holding register 0x2000 by function 6: $hz as u16 * 0.01", unit, refused, failed]
    );
    assert_eq!(
        plugin.explain("m"),
        [
            "writes      coil 0x0001 by function 5: $on as bool",
            "waits       20ms",
            "writes      holding registers 0x0002 to 0x0005 by function 16: [$a, 5] as 2 x i32 CDAB",
            "reads       input registers 0x0001 to 0x0002 by function 4: speed as i32 CDAB * 0.1 - 40",
            "reads       holding register 0x9C42 by function 3: state as bit 3",
            hint,
            unit,
            refused,
            failed,
        ]
    );
    assert_eq!(
        plugin.explain("j"),
        [
            "writes      holding registers 0x0002 to 0x0003 by function 16: 1 as u16, 2 as u16",
            "reads       input registers 0x0004 to 0x0009 by function 4: u64 CDAB, u16, u16",
            unit,
            refused,
            failed,
        ]
    );
}

/// The checksums are those that pymodbus computes.
#[test]
fn shows_the_frames() {
    let plugin = load(&port(), &[GOOD]).unwrap();
    let lines = plugin.preview(&call("conveyor.speed", json!({"hz": 12.5}), LONG)).unwrap();
    assert_eq!(lines, ["writes      holding register 0x2000, unit 3, function 6: 03 06 20 00 04 E2 01 61"]);
    let lines = plugin.preview(&call("m", json!({"on": true, "a": -1}), LONG)).unwrap();
    assert_eq!(
        lines,
        [
            "writes      coil 0x0001, unit 3, function 5: 03 05 00 01 FF 00 DC 18",
            "waits       20ms",
            "writes      holding registers 0x0002 to 0x0005, unit 3, function 16: \
             03 10 00 02 00 04 08 FF FF FF FF 00 05 00 00 9D AD",
            "reads       input registers 0x0001 to 0x0002, unit 3, function 4: 03 04 00 01 00 02 21 E9",
            "reads       holding register 0x9C42, unit 3, function 3: 03 03 9C 42 00 01 0B AC",
        ]
    );
    let refused = plugin.preview(&call("conveyor.speed", json!({"hz": 1000}), LONG)).unwrap_err();
    assert_eq!(error(&refused).0, "invalid_request");
}

#[test]
fn parameters_follow_from_the_types() {
    let plugin = load(&port(), &[GOOD]).unwrap();
    let methods = plugin.methods();
    let properties = |name: &str| {
        let method = methods.iter().find(|method| method.name == name).unwrap();
        Value::Object(method.params.as_ref().unwrap().properties())
    };
    assert_eq!(
        properties("conveyor.speed"),
        json!({"hz": {"type": "number", "minimum": 0.0, "maximum": 655.35}})
    );
    assert_eq!(
        properties("m"),
        json!({"on": {"type": "boolean"}, "a": {"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}})
    );
    let item = json!({"type": "integer", "minimum": 0, "maximum": 65535});
    assert_eq!(
        properties("l"),
        json!({"list": {"type": "array", "items": item, "minItems": 2, "maxItems": 2}})
    );
    assert_eq!(properties("t"), json!({"name": {"type": "string", "maxLength": 3, "pattern": "^[ -~]*$"}}));
    let narrowed = GOOD.replace("scale = 0.01 }", "scale = 0.01 }\nparams.hz = { maximum = 50 }");
    let plugin = load(&port(), &[&narrowed]).unwrap();
    let params = plugin.methods().iter().find_map(|method| method.params.clone()).unwrap();
    assert_eq!(params.properties()["hz"], json!({"type": "number", "minimum": 0.0, "maximum": 50}));
}

fn mistake(table: &str, method: &str) -> String {
    let text = format!("[modbus]\nport = \"rs485\"\n{table}\n[methods.m]\n{method}\n");
    load(&port(), &[&text]).unwrap_err()
}

/// Lines of a method, and what is said of them; the method begins in line 4.
const MISTAKES: &[(&str, &str)] = &[
    ("", "4:10: the method does nothing; add `write` or `read`"),
    ("reads = { input = 1 }", "5:1: unknown key `reads`; did you mean `read`?"),
    ("read = 5", "5:8: 5 is nothing to read; `read` must be { input = 0x0001 }, a list of such"),
    ("read = {}", "5:8: `read`: says no address; add one of `coil`, `discrete`, `holding`, `input`"),
    ("write = { value = 1 }", "5:9: `write`: says no address; add one of `coil`, `holding`, such as"),
    ("read = { holdin = 1 }", "5:19: `read.holdin`: unknown key; did you mean `holding`?"),
    ("read = { holding = 1, register = 1 }", "5:34: `read.register`: unknown key; there are coil, discrete"),
    (
        "read = { holding = 1, input = 1 }",
        "5:31: `read.input`: one item is in one table; leave out the other",
    ),
    (
        "read = { holding = \"1\" }",
        "5:20: `read.holding`: \"1\" is no address; write a number without quotes",
    ),
    (
        "read = { holding = 400001 }",
        "5:20: `read.holding`: 400001 is no address, which is 0 to 65535; addresses are those of the protocol, \
             which count from 0 in each table: a manual that calls the holding register 400001 and counts from \
             400001 means 0",
    ),
    ("read = { holding = -1 }", "5:20: `read.holding`: -1 is no address, which is 0 to 65535"),
    (
        "read = { holding = 65535, type = \"u32\" }",
        "5:20: `read.holding`: the 2 registers from 65535 on end after",
    ),
    (
        "read = { holding = 1, type = \"u23\" }",
        "5:30: `read.type`: \"u23\" is no type; did you mean \"u32\"?",
    ),
    (
        "read = { holding = 1, type = \"bool\" }",
        "5:30: `read.type`: \"bool\" is no type; a register has 16 bits",
    ),
    (
        "read = { holding = 1, type = \"u32\", order = \"BA\" }",
        "5:45: `read.order`: \"BA\" is no order of a number of several",
    ),
    (
        "read = { holding = 1, order = \"ABCD\" }",
        "5:31: `read.order`: \"ABCD\" is no order of a number of one register; there are AB, BA",
    ),
    ("read = { holding = 1, scale = 0 }", "5:31: `read.scale`: every value would be the same"),
    ("read = { holding = 1, scale = \"x\" }", "5:31: `read.scale`: \"x\" is not a number"),
    ("read = { holding = 1, bit = 16 }", "5:29: `read.bit`: 16 is no bit of a register, which are 0 to 15"),
    (
        "read = { holding = 1, bit = 1, scale = 2 }",
        "5:40: `read.scale`: a `bit` of a register is true or false",
    ),
    ("read = { holding = 1, type = \"text\" }", "5:8: `read`: a text needs `length`"),
    ("read = { holding = 1, length = 2 }", "5:32: `read.length`: it is for texts"),
    (
        "read = { holding = 1, count = 0 }",
        "5:31: `read.count`: 0 is no number of values, which is at least 1",
    ),
    (
        "read = { holding = 1, count = 126 }",
        "5:31: `read.count`: takes 126 registers, and one request carries at most 125",
    ),
    (
        "read = { coil = 1, count = 2001 }",
        "5:28: `read.count`: takes 2001 bits, and one request carries at most 2000",
    ),
    (
        "read = { coil = 1, type = \"u16\" }",
        "5:27: `read.type`: a `coil` is one bit: \"u16\" should be \"bool\"",
    ),
    ("read = { coil = 1, scale = 2 }", "5:28: `read.scale`: a `coil` is one bit; leave it out"),
    ("read = { holding = 1, value = 1 }", "5:31: `read.value`: unknown key; it belongs to `write`"),
    (
        "read.a = { holding = 1 }\nread.b = { holding = 2, typ = \"u16\" }",
        "6:31: `read.b.typ`: unknown key; did you mean `type`?",
    ),
    ("read = [{ holding = 1 }, 5]", "5:26: `read[1]`: `read` must be"),
    (
        "write = { input = 1, value = 1 }",
        "5:19: `write.input`: devices only let it be read; `write` takes `coil` or `holding`",
    ),
    ("write = { holding = 1 }", "5:9: `write`: says no value to write; add one, such as value = \"$level\""),
    (
        "write = { holding = 1, value = 65536 }",
        "5:32: `write.value`: 65536 is out of range; a u16 holds 0 to 65535",
    ),
    ("write = { coil = 1, value = 1 }", "5:29: `write.value`: 1 is not true or false"),
    ("write = { holding = 1, value = [1] }", "5:32: `write.value`: is a list; add count = 1"),
    (
        "write = { holding = 1, count = 2, value = [1] }",
        "5:43: `write.value`: has 1 values, and `count` says 2",
    ),
    ("write = { holding = 1, value = \"5\" }", "5:32: `write.value`: \"5\" is a text, and a u16 goes there"),
    ("write = { holding = 1, value = \"$a b\" }", "5:32: `write.value`: \"$a b\" is a text, and a u16"),
    ("write = { holding = 1, value = \"$\" }", "5:32: `write.value`: a `$` must be followed by"),
    (
        "write = { holding = 1, value = \"$a\" }\nparams.b = { type = \"integer\" }",
        "5:32: `$a` is not declared in `params`",
    ),
    ("write = { holding = 1, value = \"$a\" }\nparams.a = { type = \"string\" }", "6:21: "),
    ("write = { holding = 1, value = \"$a\" }\nparams.a = { maximum = 70000 }", "6:24: "),
    (
        "write = { holding = 1, type = \"text\", length = 4, value = \"<$a>\" }",
        "5:9: `write`: `$a` is not declared in `params`, which is empty",
    ),
    (
        "write = { holding = 1, count = 2, value = [1, 2], single = true }",
        "5:60: `write.single`: a single write cannot carry holding registers",
    ),
    (
        "write = [{ coil = 1, value = true }, { wait = \"1s\" }]",
        "5:9: `write`: nothing comes after the last `wait`",
    ),
    ("write = [{ wait = \"1s\", coil = 1 }]", "5:32: `write[0].coil`: stands beside `wait`"),
    ("write = [{ wait = 5 }, { coil = 1, value = true }]", "5:19: `write[0].wait`: "),
    ("write = [{ wait = \"1h\" }, { coil = 1, value = true }]", "5:9: the steps wait for 3600s in all"),
    ("write = 5", "5:9: `write` must be { holding = 0x2000, value = \"$level\" }, or a list of such"),
    (
        "poll = \"1s\"\nwrite = { holding = 1, value = 1 }",
        "5:8: `poll` reads something every so often, and `write` would move it each time",
    ),
    (
        "together = true\nread = [{ holding = 1 }, { holding = 3 }]",
        "5:12: `together`: there is nothing to join",
    ),
];

#[test]
fn mistakes_lead_to_the_fix() {
    for (method, expected) in MISTAKES {
        let message = mistake("unit = 3", method);
        assert!(message.starts_with(&format!("0.toml:{expected}")), "{method}\n{message}");
        assert!(!message.contains('\n') && !message.ends_with('.'), "{message}");
    }
    let many: Vec<String> = (0..33).map(|index| format!("{{ holding = {} }}", index * 2)).collect();
    let many = mistake("unit = 3", &format!("read = [{}]", many.join(", ")));
    assert!(many.contains("the method takes 33 steps; at most 32 are allowed"), "{many}");
    for (table, method, expected) in [
        (
            "unit = 248",
            "read = { coil = 1 }",
            "3:8: `unit` is 248; a device has 1 to 247, and 0 is all devices at once",
        ),
        ("unit = -1", "read = { coil = 1 }", "3:8: `unit` is -1"),
        ("", "read = { coil = 1 }", "1:1: the key `unit` is missing"),
        (
            "unit = 1\norder = \"big\"",
            "read = { coil = 1 }",
            "4:9: `order` is \"big\"; there are ABCD, CDAB, BADC, DCBA",
        ),
        ("unit = 1\nspeed = 1", "read = { coil = 1 }", "4:1: unknown key `speed`"),
        (
            "unit = 0",
            "read = { coil = 1 }",
            "5:8: `read`: unit 0 is all devices at once, and none of them answers; to read, choose one unit",
        ),
    ] {
        let message = mistake(table, method);
        assert!(message.starts_with(&format!("0.toml:{expected}")), "{message}");
    }
    let mut seven = port();
    seven.format = "7E1".parse().unwrap();
    let message = load(&seven, &[GOOD]).unwrap_err();
    assert!(
        message.starts_with(
            "0.toml:3:8: Modbus RTU needs 8 data bits, and [ports.rs485] has `format = \"7E1\"`"
        ),
        "{message}"
    );
}

/// The silence before each frame is at least what the protocol asks for.
#[test]
fn the_gap_is_kept() {
    for (baud, format, gap, expected) in [
        (9600, "8N1", None, 3646),
        (9600, "8E1", None, 4011),
        (19_200, "8E1", None, 2006),
        (38_400, "8E1", None, 1750),
        (115_200, "8N2", Some(5000), 5000),
        (9600, "8E1", Some(1000), 4011),
    ] {
        let mut port = port();
        port.baud = baud;
        port.format = format.parse().unwrap();
        port.gap = gap.map(Duration::from_micros);
        assert_eq!(super::super::gap(&port), Duration::from_micros(expected), "{baud} {format}");
    }
}
