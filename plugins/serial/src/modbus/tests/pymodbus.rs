//! Maps against a device that this project did not write: the serial server of pymodbus.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

/// It serves units 1, 3 and 4, which are alike; see `slave.py`.
struct Slave(Child);

impl Slave {
    fn start() -> (Self, PortConfig) {
        // Debian's, which `.ci/setup` installs; another python3 in the path may not have pymodbus.
        let mut child = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/modbus/tests/slave.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut path = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut path).unwrap();
        assert!(path.starts_with("/dev/"), "python3-pymodbus does not start; run .ci/setup");
        let mut config = PortConfig::new(path.trim());
        config.baud = 115_200;
        config.silence = Some(Duration::from_millis(300));
        (Self(child), config)
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

const MAP: &str = r#"
[modbus]
port = "rs485"
unit = 3

[methods."coil.set"]
write = { coil = 5, value = "$on" }
read = { coil = 4, count = 3 }
[methods."coils.set"]
write = { coil = 10, count = 11, value = "$on" }
read = { coil = 10, count = 11 }
[methods."coil.set.15"]
write = { coil = 5, value = "$on", single = false }
read = { coil = 5 }
[methods."discrete"]
read = { discrete = 0, count = 10 }
[methods."inputs"]
read.a-u32 = { input = 0, type = "u32" }
read.b-cdab = { input = 0, type = "u32", order = "CDAB" }
read.c-badc = { input = 0, type = "u32", order = "BADC" }
read.d-dcba = { input = 0, type = "u32", order = "DCBA" }
read.e-u64 = { input = 0, type = "u64" }
read.f-i16 = { input = 4, type = "i16", scale = 0.1 }
read.g-scaled = { input = 5, scale = 0.01, offset = -2 }
read.h-f32 = { input = 6, type = "f32" }
read.i-list = { input = 8, count = 3 }
read.j-bit = { input = 0, bit = 5 }
read.k-bit = { input = 0, bit = 6 }
[methods."inputs.together"]
together = true
read.f = { input = 4, type = "i16" }
read.u32 = { input = 0, type = "u32" }
read.ready = { input = 1, bit = 2 }
read.far = { input = 9 }
[methods."list"]
read = [{ input = 8 }, { discrete = 3 }, { coil = 63 }]
[methods."numbers"]
together = true
write = [
  { holding = 100, type = "u16", value = "$u16" },
  { holding = 101, type = "i16", value = "$i16", scale = 0.1, offset = -40 },
  { holding = 102, type = "u32", value = "$u32", order = "CDAB" },
  { holding = 104, type = "i32", value = "$i32", order = "BADC" },
  { holding = 106, type = "u64", value = "$u64", order = "DCBA" },
  { holding = 110, type = "i64", value = "$i64" },
  { holding = 114, type = "f32", value = "$f32", order = "CDAB" },
  { holding = 116, type = "f64", value = "$f64" },
]
read.u16 = { holding = 100, type = "u16" }
read.i16 = { holding = 101, type = "i16", scale = 0.1, offset = -40 }
read.u32 = { holding = 102, type = "u32", order = "CDAB" }
read.i32 = { holding = 104, type = "i32", order = "BADC" }
read.u64 = { holding = 106, type = "u64", order = "DCBA" }
read.i64 = { holding = 110, type = "i64" }
read.f32 = { holding = 114, type = "f32", order = "CDAB" }
read.f64 = { holding = 116, type = "f64" }
[methods."raw"]
read = { holding = 100, count = 12 }
[methods."text"]
write = { holding = 200, type = "text", length = 9, value = "<$name>" }
params.name = { type = "string" }
read = { holding = 200, type = "text", length = 9 }
[methods."single"]
write = { holding = 0, value = "$x" }
read = { holding = 0 }
[methods."multiple"]
write = { holding = 0, value = "$x", single = false }
read = { holding = 0 }
[methods."bit"]
write = { holding = 0, bit = 3, value = "$on" }
read = { holding = 0 }
[methods."pulse"]
write = [{ coil = 7, value = true }, { wait = "20ms" }, { coil = 7, value = false }]
read = { coil = 7 }
[methods."wrong"]
write = { holding = 40001, value = 1 }
[methods."wrong.read"]
read = { input = 1000 }
[methods."wrong.second"]
write = [{ holding = 0, value = 9 }, { holding = 1000, value = 9 }]
"#;

/// The other unit on the same line, all units at once, and one that is not there.
const FOUR: &str = r#"
[modbus]
port = "rs485"
unit = 4
[methods."four"]
read = { holding = 0 }
"#;
const ALL: &str = r#"
[modbus]
port = "rs485"
unit = 0
[methods."all"]
write = { holding = 0, value = 77 }
"#;
const NONE: &str = r#"
[modbus]
port = "rs485"
unit = 9
[methods."none"]
read = { holding = 0 }
"#;

#[tokio::test]
async fn a_foreign_device_is_driven_by_maps() {
    let (_slave, config) = Slave::start();
    let rig = Rig::start(config, &[MAP, FOUR, ALL, NONE], "discrete").await;
    let coils = json!([true, false, true, true, false, false, false, false, false, false, true]);
    let numbers = json!({
        "u16": 65535, "i16": -12.3, "u32": 0x1234_5678, "i32": -2, "u64": u64::MAX - 1, "i64": i64::MIN,
        "f32": 21.7, "f64": -1e-9,
    });
    for (method, params, response) in [
        ("coil.set", json!({"on": true}), json!([false, true, false])),
        ("coil.set", json!({"on": false}), json!([false, false, false])),
        ("coil.set.15", json!({"on": true}), json!(true)),
        ("coils.set", json!({"on": coils}), coils.clone()),
        ("discrete", Value::Null, json!([true, false, false, true, false, false, true, false, false, true])),
        (
            "inputs",
            Value::Null,
            json!({
                "a-u32": 0x1122_3344, "b-cdab": 0x3344_1122, "c-badc": 0x2211_4433, "d-dcba": 0x4433_2211,
                "e-u64": 0x1122_3344_5566_7788_u64, "f-i16": -0.2, "g-scaled": 10.34, "h-f32": 21.5,
                "i-list": [100, 101, 102], "j-bit": true, "k-bit": false,
            }),
        ),
        ("inputs.together", Value::Null, json!({"f": -2, "u32": 0x1122_3344, "ready": true, "far": 101})),
        ("list", Value::Null, json!([100, true, false])),
        ("numbers", numbers.clone(), numbers.clone()),
        // CDAB, BADC and DCBA as they lie in the device: -12.3 is 277 of 0.1 above -40.
        (
            "raw",
            Value::Null,
            json!([65535, 277, 0x5678, 0x1234, 0xFFFF, 0xFEFF, 0xFEFF, 0xFFFF, 0xFFFF, 0xFFFF, 0x8000, 0]),
        ),
        ("text", json!({"name": "pump 1"}), json!("<pump 1>")),
        ("single", json!({"x": 0x0101}), json!(0x0101)),
        ("bit", json!({"on": true}), json!(0x0109)),
        ("bit", json!({"on": false}), json!(0x0101)),
        ("multiple", json!({"x": 42}), json!(42)),
        ("pulse", Value::Null, json!(false)),
        ("four", Value::Null, json!(0)),
    ] {
        let completion = rig.call(method, params, LONG).await;
        assert_eq!(completion, Completion::Ok(response), "{method}");
    }
    for method in ["wrong", "wrong.read"] {
        let wrong = rig.call(method, Value::Null, LONG).await;
        assert!(matches!(wrong, Completion::Refused(_)), "{wrong:?}");
        assert_eq!(error(&wrong).0, "modbus_exception_2");
        assert!(error(&wrong).1.contains("illegal data address"), "{wrong:?}");
        assert_eq!(error(&wrong).1.contains("a manual that calls"), method == "wrong", "{wrong:?}");
    }
    let second = rig.call("wrong.second", Value::Null, LONG).await;
    assert!(matches!(second, Completion::Failed { outcome: Outcome::Unknown, .. }), "{second:?}");
    let none = rig.call("none", Value::Null, Duration::from_millis(100)).await;
    assert!(matches!(none, Completion::Timeout(_)), "{none:?}");
    // None says that it did it; whether all did is another thing in each version of pymodbus.
    assert_eq!(rig.call("all", Value::Null, LONG).await, Completion::Sent(Value::Null));
}
