//! The ready-made maps of `plugins/maps` against devices at pseudo-terminals: unchanged, with the ports as their comments
//! say, but for the device.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::process::{Child, Command, Stdio};

use super::*;

const RELAY: &str = include_str!("../../../maps/usb-relay.toml");
const ARDUINO: &str = include_str!("../../../maps/arduino-lines.toml");
const NMEA: &str = include_str!("../../../maps/nmea.toml");
const DRIVE: &str = include_str!("../../../maps/modbus-drive.toml");

/// The map and others at the port that its comment declares, which is opened at `device`.
fn bench(map: &str, others: &[&str], device: impl Into<PathBuf>) -> Rig {
    let declared = map.lines().skip_while(|line| !line.starts_with("#   [ports."));
    let declared: Vec<&str> = declared.map_while(|line| line.strip_prefix("#   ")).collect();
    let mut port: BTreeMap<String, BTreeMap<String, PortConfig>> =
        toml::from_str(&declared.join("\n")).unwrap();
    let (name, mut config) = port.remove("ports").unwrap().pop_first().unwrap();
    assert!(config.device.starts_with("/dev/serial/by-id/"), "{}", config.device.display());
    config.device = device.into();
    let maps: Vec<&str> = std::iter::once(map).chain(others.iter().copied()).collect();
    let mut rig = Rig::load(&[(&name, config)], &maps);
    rig.run();
    rig
}

/// Waits until the port is open; `params` are right for the method.
async fn opened(rig: &Rig, method: &str, params: &Value) {
    let bound = Deadline::after(LONG);
    loop {
        let completion = rig.call(method, params.clone(), Duration::ZERO).await;
        if matches!(completion, Completion::Expired(_)) {
            return;
        }
        assert!(bound.check().is_ok(), "still {completion:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn described(rig: &Rig, method: &str) -> Method {
    rig.plugin.methods().into_iter().find(|described| described.name == method).unwrap()
}

/// Whether the gateway would let a call with these parameters through to the plugin.
fn takes(rig: &Rig, method: &str, params: Value) -> bool {
    described(rig, method).params.unwrap().check(params).is_ok()
}

async fn frame(device: &mut Device) -> [u8; 4] {
    let mut frame = [0; 4];
    device.master.read_exact(&mut frame).await.unwrap();
    frame
}

#[tokio::test]
async fn usb_relay_gets_its_four_bytes() {
    let mut device = Device::new();
    let rig = bench(RELAY, &[], device.path());
    opened(&rig, "relay.off", &json!({"relay": 1})).await;
    for (method, params, expected) in [
        ("relay.set", json!({"relay": 1, "on": true}), [0xA0, 1, 1, 0xA2]),
        ("relay.set", json!({"relay": 1, "on": false}), [0xA0, 1, 0, 0xA1]),
        ("relay.set", json!({"relay": 8, "on": true}), [0xA0, 8, 1, 0xA9]),
        ("relay.off", json!({"relay": 8}), [0xA0, 8, 0, 0xA8]),
    ] {
        assert!(takes(&rig, method, params.clone()));
        assert_eq!(rig.call(method, params, LONG).await, Completion::Sent(Value::Null));
        assert_eq!(frame(&mut device).await, expected, "{method}");
    }
    for (method, params) in [
        ("relay.set", json!({"relay": 0, "on": true})),
        ("relay.set", json!({"relay": 9, "on": true})),
        ("relay.set", json!({"relay": 1, "on": 1})),
        ("relay.pulse", json!({"relay": 1.5})),
        ("relay.off", json!({})),
    ] {
        assert!(!takes(&rig, method, params.clone()), "{method} {params}");
    }

    // A test that is late in seeing the first frame sees too short a pulse; it cannot be late every time.
    let (pulse, bound) = (Duration::from_millis(200), Deadline::after(LONG));
    loop {
        let began = nowd_plugin::BootInstant::now();
        let (completion, seen) = tokio::join!(rig.call("relay.pulse", json!({"relay": 2}), LONG), async {
            assert_eq!(frame(&mut device).await, [0xA0, 2, 1, 0xA3]);
            let on = nowd_plugin::BootInstant::now();
            assert_eq!(frame(&mut device).await, [0xA0, 2, 0, 0xA2]);
            nowd_plugin::BootInstant::now().saturating_since(on)
        });
        assert_eq!(completion, Completion::Sent(Value::Null));
        assert!(nowd_plugin::BootInstant::now().saturating_since(began) >= pulse);
        if seen >= pulse {
            break;
        }
        assert!(bound.check().is_ok(), "{seen:?}");
    }
    let policy = described(&rig, "relay.pulse").policy;
    assert!(!policy.idempotent);
    assert_eq!(
        (policy.on_timeout.as_deref(), policy.on_stop.as_deref()),
        (Some("relay.off"), Some("relay.off"))
    );
}

#[tokio::test]
async fn arduino_lines_are_answered_refused_and_heard() {
    let mut device = Device::new();
    let rig = bench(ARDUINO, &[], device.path());
    opened(&rig, "pin.get", &json!({"pin": 7})).await;
    let nothing = rig.call("button.last", Value::Null, LONG).await;
    assert!(matches!(&nothing, Completion::Unavailable(e) if e.code == "nothing_heard"), "{nothing:?}");

    let refused = |message: &str| Completion::Refused(CallError::new("refused", message));
    for (method, params, sent, said, expected) in [
        (
            "pin.set",
            json!({"pin": 13, "level": 1}),
            "SET 13 1\n",
            "OK 13 1\r\n",
            Completion::Ok(json!({"pin": 13, "level": 1})),
        ),
        ("pin.get", json!({"pin": 7}), "GET 7\n", "OK 7 0\n", Completion::Ok(json!({"pin": 7, "level": 0}))),
        (
            "pin.get",
            json!({"pin": 7}),
            "GET 7\n",
            "EVENT button 2\r\nOK 7 1\r\n",
            Completion::Ok(json!({"pin": 7, "level": 1})),
        ),
        (
            "pin.set",
            json!({"pin": 3, "level": 0}),
            "SET 3 0\n",
            "ERR pin 3 is an input\r\n",
            refused("pin 3 is an input"),
        ),
        ("pin.get", json!({"pin": 7}), "GET 7\n", "ERR busy\n", refused("busy")),
    ] {
        assert!(takes(&rig, method, params.clone()));
        let (completion, ()) = tokio::join!(rig.call(method, params, LONG), async {
            device.expect(sent).await;
            device.say(said).await;
        });
        assert_eq!(completion, expected, "{said:?}");
    }
    // One that came during a call, and one that comes when nobody calls.
    heard(&rig, "button.last", &json!({"button": 2})).await;
    device.say("EVENT button 12\r\n").await;
    heard(&rig, "button.last", &json!({"button": 12})).await;
    for (method, params) in [
        ("pin.set", json!({"pin": 1, "level": 1})),
        ("pin.set", json!({"pin": 13, "level": 2})),
        ("pin.get", json!({"pin": "7\nSET 13 1"})),
    ] {
        assert!(!takes(&rig, method, params.clone()), "{method} {params}");
    }
}

/// Waits until this is what was heard last.
async fn heard(rig: &Rig, method: &str, expected: &Value) {
    let bound = Deadline::after(LONG);
    loop {
        let completion = rig.call(method, Value::Null, LONG).await;
        if let Completion::Ok(response) = &completion
            && &response["value"] == expected
        {
            assert!(response["age_ms"].is_u64() && response.get("error").is_none(), "{response}");
            return;
        }
        assert!(bound.check().is_ok(), "still {completion:?}, not {expected}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The example in every description of NMEA.
const GGA: &str = "GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,";

/// The sentence with its checksum.
fn sentence(content: &str) -> String {
    let sum = content.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${content}*{sum:02X}\r\n")
}

#[tokio::test]
async fn nmea_tells_the_last_sentence_that_is_whole() {
    let mut device = Device::new();
    let rig = bench(NMEA, &[], device.path());
    rig.wait("position.fix", |completion| matches!(completion, Completion::Expired(_))).await;
    let bound = Deadline::after(LONG);
    while gone(&rig.call("position.fix", Value::Null, LONG).await) {
        assert!(bound.check().is_ok());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for method in ["position.fix", "position.speed"] {
        let nothing = rig.call(method, Value::Null, LONG).await;
        assert!(matches!(&nothing, Completion::Unavailable(e) if e.code == "nothing_heard"), "{nothing:?}");
    }

    let munich = json!({
        "time": "123519", "lat_deg": 48, "lat_min": 7.038, "ns": "N", "lon_deg": 11, "lon_min": 31.0, "ew": "E",
        "quality": 1, "satellites": 8, "hdop": 0.9, "height": 545.4,
    });
    // What follows this one here is not whole.
    assert_eq!(sentence(GGA), format!("${GGA}*47\r\n"));
    device.say(&sentence(GGA)).await;
    heard(&rig, "position.fix", &munich).await;
    let changed = GGA.replace("4807", "4907");
    let wrong = sentence(GGA).replace("4807", "4907");
    for broken in
        [wrong, format!("${changed}\r\n"), format!("${changed}*\r\n"), sentence(&changed).split_off(9)]
    {
        device.say(&broken).await;
    }

    // South and west, more digits, and another talker; its digits are letters in lower case.
    let rio = "GNGGA,003001.00,2254.50012,S,04310.40034,W,4,12,0.61,-1.2,M,-5.4,M,1.0,0082";
    let lower = sentence(rio).replace("*5B", "*5b");
    assert_ne!(lower, sentence(rio), "{}", sentence(rio));
    let speed = "GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W";
    assert_eq!(sentence(speed), format!("${speed}*6A\r\n"));
    // The first of the two comes after all that is broken, so that was heard and dropped.
    device.say(&sentence(speed)).await;
    heard(&rig, "position.speed", &json!({"status": "A", "knots": 22.4, "course": 84.4})).await;
    heard(&rig, "position.fix", &munich).await;
    device.say(&lower).await;
    let in_rio = json!({
        "time": "003001.00", "lat_deg": 22, "lat_min": 54.50012, "ns": "S", "lon_deg": 43, "lon_min": 10.40034,
        "ew": "W", "quality": 4, "satellites": 12, "hdop": 0.61, "height": -1.2,
    });
    heard(&rig, "position.fix", &in_rio).await;

    // Other sentences, a maker's own that looks alike, and a receiver that does not know where it is.
    device.say(&sentence("GPGSV,1,1,01,21,61,123,42")).await;
    device.say(&sentence("PXGGA,1,4807.038,N,01131.000,E,1,08,0.9,545.4,M")).await;
    device.say(&sentence("GNGGA,,,,,,0,00,99.99,,,,,,")).await;
    device.say(&sentence("GNRMC,,V,,,,,,,,,,N")).await;
    let nowhere = json!({
        "time": null, "lat_deg": null, "lat_min": null, "ns": null, "lon_deg": null, "lon_min": null, "ew": null,
        "quality": 0, "satellites": 0, "hdop": 99.99, "height": null,
    });
    heard(&rig, "position.fix", &nowhere).await;
    heard(&rig, "position.speed", &json!({"status": "V", "knots": null, "course": null})).await;
    // The newer form of the sentence, and a standing receiver without a course.
    device.say(&sentence("GNRMC,083559.00,A,4717.11437,N,00833.91522,E,0.004,,091202,,,A,V")).await;
    heard(&rig, "position.speed", &json!({"status": "A", "knots": 0.004, "course": null})).await;
}

/// A drive made of pymodbus's serial server, ended with the value.
struct Drive(Child);

impl Drive {
    /// Its registers are these.
    fn start(registers: &str) -> (Self, String) {
        let mut child = Command::new("/usr/bin/python3")
            .args([concat!(env!("CARGO_MANIFEST_DIR"), "/src/modbus/tests/slave.py"), registers])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut path = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut path).unwrap();
        assert!(path.starts_with("/dev/"), "python3-pymodbus does not start; run .ci/setup");
        (Self(child), path.trim().to_owned())
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// What was written into the drive.
const WRITTEN: &str = r#"
[modbus]
port = "rs485"
unit = 1
[methods."written"]
read = { holding = 0x2000, count = 2 }
"#;

#[tokio::test]
async fn modbus_drive_runs_stops_and_tells() {
    // 0x2000, 0x2001, and 0x2100 to 0x2104.
    let registers = r#"{"8192": 0, "8193": 0, "8448": 7, "8449": 0, "8450": 2550, "8451": 2549, "8452": 31}"#;
    let (_drive, path) = Drive::start(registers);
    let rig = bench(DRIVE, &[WRITTEN], &path);
    rig.wait_open("drive.stop").await;
    for (method, params, command, frequency) in [
        ("drive.speed", json!({"hz": 25.5}), 0, 2550),
        ("drive.run", Value::Null, 0x12, 2550),
        ("drive.speed", json!({"hz": 50}), 0x12, 5000),
        ("drive.speed", json!({"hz": 0.29}), 0x12, 29),
        ("drive.stop", Value::Null, 1, 29),
    ] {
        let completion = rig.call(method, params, LONG).await;
        assert_eq!(completion, Completion::Ok(Value::Null), "{method}");
        let written = rig.call("written", Value::Null, LONG).await;
        assert_eq!(written, Completion::Ok(json!([command, frequency])), "{method}");
    }
    let status = json!({"command_hz": 25.5, "output_hz": 25.49, "current_a": 3.1});
    assert_eq!(rig.call("drive.status", Value::Null, LONG).await, Completion::Ok(status));
    assert_eq!(rig.call("drive.fault", Value::Null, LONG).await, Completion::Ok(json!(7)));

    for params in [json!({"hz": 50.01}), json!({"hz": -1}), json!({"hz": "25"}), json!({})] {
        assert!(!takes(&rig, "drive.speed", params.clone()), "{params}");
    }
    assert_eq!(described(&rig, "drive.fault").policy.poll, Some(Duration::from_secs(1)));
    let (run, stop) = (described(&rig, "drive.run").policy, described(&rig, "drive.stop").policy);
    assert!(stop.stop && stop.idempotent && !run.idempotent);
    assert_eq!((run.on_timeout.as_deref(), run.on_stop.as_deref()), (Some("drive.stop"), Some("drive.stop")));
}

#[tokio::test]
async fn modbus_drive_of_another_kind_refuses() {
    let (_drive, path) = Drive::start(r#"{"8192": 0, "8450": 0, "8451": 0}"#);
    let rig = bench(DRIVE, &[], &path);
    rig.wait_open("drive.stop").await;
    // Reads: newer versions of pymodbus write registers into being.
    for method in ["drive.status", "drive.fault"] {
        let completion = rig.call(method, Value::Null, LONG).await;
        assert!(
            matches!(&completion, Completion::Refused(e) if e.code == "modbus_exception_2"),
            "{completion:?}"
        );
    }
    assert_eq!(rig.call("drive.stop", Value::Null, LONG).await, Completion::Ok(Value::Null));
}

#[tokio::test]
async fn a_pulse_that_is_cut_off_between_its_frames_does_not_keep_the_line_from_the_safe_action() {
    const PULSE: &str = "[serial]\nport = \"relay\"\nframing = { fixed = 4 }\nchecksum = \"SUM-8\"\n[methods.pulse]\nsteps = [{ send = { hex = \"A0 01 01\" } }, { wait = \"60s\" }, { send = { hex = \"A0 01 00\" } }]\n\
                         timeout = \"90s\"\nmax_timeout = \"90s\"\n[methods.off]\nsend = { hex = \"A0 01 00\" }\n";
    let mut device = Device::new();
    let path = device.path();
    let config = format!("device = {:?}\nsilence = \"5s\"", path.to_str().unwrap());
    let config: PortConfig = toml::from_str(&config).unwrap();
    let mut rig = Rig::load(&[("relay", config)], &[PULSE]);
    rig.run();
    rig.wait_open("off").await;
    // Cut off while the frame itself is still under way the line is left alone; that cannot be so every time.
    let bound = Deadline::after(Duration::from_secs(60));
    loop {
        let pulse = call("pulse", Value::Null, Duration::from_secs(90));
        let (completion, off) = tokio::join!(rig.plugin.invoke(&pulse), async {
            assert_eq!(frame(&mut device).await, [0xA0, 1, 1, 0xA2]);
            tokio::time::sleep(Duration::from_millis(100)).await;
            pulse.cancelled.cancel();
            // Far less than the silence after a call without an answer: no answer was waited for.
            rig.call("off", Value::Null, Duration::from_secs(2)).await
        });
        assert_eq!(completion.outcome(), nowd_plugin::Outcome::Unknown, "{completion:?}");
        if off == Completion::Sent(Value::Null) {
            break;
        }
        assert!(bound.check().is_ok(), "{off:?}");
    }
    assert_eq!(frame(&mut device).await, [0xA0, 1, 0, 0xA1]);
}
