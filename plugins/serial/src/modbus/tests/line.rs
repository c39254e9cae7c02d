//! Devices that misbehave, byte by byte.

use tokio::io::AsyncReadExt;

use super::device::{Device, framed};
use super::*;

const MAP: &str = r#"
[modbus]
port = "rs485"
unit = 3
[methods."speed.set"]
write = { holding = 0x2000, value = "$hz", scale = 0.01 }
[methods."speed.get"]
read = { holding = 0x2000, scale = 0.01 }
[methods."current"]
read = { input = 1, type = "u32" }
[methods."ramp"]
write = [{ holding = 0x10, value = 1 }, { holding = 0x20, value = 2 }]
read = { holding = 0x30 }
"#;

/// The same without the echo of a two-wire adapter.
const ECHO: &str = r#"
[modbus]
port = "rs485"
unit = 3
echo = true
[methods."set"]
write = { holding = 0x2000, value = "$x" }
[methods."get"]
read = { holding = 0x2000 }
"#;

const ALL: &str = r#"
[modbus]
port = "rs485"
unit = 0
[methods."stop"]
write = { coil = 4, value = true }
[methods."stop.both"]
write = [{ coil = 4, value = true }, { holding = 1, value = 0 }]
"#;

const OTHER: &str = r#"
[modbus]
port = "rs485"
unit = 4
[methods."other"]
read = { holding = 0x2000, scale = 0.01 }
"#;

async fn start(device: &Device) -> Rig {
    Rig::start(device.config(), &[MAP, OTHER, ALL], "speed.get").await
}

const SET: &[u8] = &[3, 6, 0x20, 0, 0x04, 0xE2];
const GET: &[u8] = &[3, 3, 0x20, 0, 0, 1];
const GOT: &[u8] = &[3, 3, 2, 0x04, 0xE2];

#[tokio::test]
async fn what_is_confirmed_is_ok() {
    let mut device = Device::new();
    let rig = start(&device).await;
    let (set, ()) = tokio::join!(rig.call("speed.set", json!({"hz": 12.5}), LONG), async {
        device.expect(SET).await;
        device.say(&framed(SET)).await;
    });
    assert_eq!(set, Completion::Ok(Value::Null));
    let (got, ()) = tokio::join!(rig.call("speed.get", Value::Null, LONG), async {
        device.expect(GET).await;
        // A byte at a time.
        for byte in framed(GOT) {
            device.say(&[byte]).await;
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(got, Completion::Ok(json!(12.5)));
    device.quiet();
}

/// Whatever else comes over the line before the answer, the answer is found and nothing else is taken for it.
#[tokio::test]
async fn only_the_answer_is_taken() {
    let mut device = Device::new();
    let rig = start(&device).await;
    let mut flipped = framed(GOT);
    flipped[3] ^= 0x40;
    for (what, before) in [
        ("nothing", vec![]),
        ("a break", vec![0]),
        ("noise that looks like a length", vec![3, 3, 0xF0]),
        ("more noise than the library bears", vec![0x55; 40]),
        ("the answer of another unit", framed(&[4, 3, 2, 0, 1])),
        ("an exception of another unit", framed(&[4, 0x83, 2])),
        ("the answer to another function", framed(&[3, 4, 2, 0, 1])),
        ("an exception to another function", framed(&[3, 0x86, 2])),
        ("more registers than were asked for", framed(&[3, 3, 4, 0, 1, 0, 2])),
        ("a bit error", flipped),
        ("half of it", framed(GOT)[..4].to_vec()),
        ("half an exception", vec![3, 0x83]),
        ("the request, as a two-wire adapter repeats it", framed(GET)),
    ] {
        let (got, ()) = tokio::join!(rig.call("speed.get", Value::Null, LONG), async {
            device.expect(GET).await;
            device.say(&before).await;
            device.say(&framed(GOT)).await;
            // Nobody asked for this one; it must be gone before the next request.
            device.say(&framed(&[3, 3, 2, 0xFF, 0xFF])).await;
        });
        assert_eq!(got, Completion::Ok(json!(12.5)), "after {what}");
    }
    device.quiet();
}

#[tokio::test]
async fn a_write_is_confirmed_only_by_what_was_written() {
    let mut device = Device::new();
    let rig = start(&device).await;
    let (set, ()) =
        tokio::join!(rig.call("speed.set", json!({"hz": 12.5}), Duration::from_millis(200)), async {
            device.expect(SET).await;
            // Another address, another value.
            device.say(&framed(&[3, 6, 0x20, 1, 0x04, 0xE2])).await;
            device.say(&framed(&[3, 6, 0x20, 0, 0x04, 0xE3])).await;
        });
    let (code, message) = error(&set);
    assert!(matches!(set, Completion::Timeout(_)) && code == "timeout", "{set:?}");
    assert!(message.contains("16 bytes came that are no answer to it"), "{message}");
    device.quiet();
}

#[tokio::test]
async fn exceptions_say_what_was_done() {
    let mut device = Device::new();
    let rig = start(&device).await;
    for (exception, outcome, words) in [
        (1, Outcome::NotExecuted, "illegal function"),
        (2, Outcome::NotExecuted, "illegal data address"),
        (3, Outcome::NotExecuted, "illegal data value"),
        (4, Outcome::Unknown, "device failure"),
        (5, Outcome::Unknown, "acknowledge"),
        (6, Outcome::NotExecuted, "device busy"),
        (11, Outcome::Unknown, "gateway target device failed to respond"),
        (99, Outcome::Unknown, "not a code of the protocol"),
    ] {
        let (set, ()) = tokio::join!(rig.call("speed.set", json!({"hz": 12.5}), LONG), async {
            device.expect(SET).await;
            device.say(&framed(&[3, 0x86, exception])).await;
        });
        assert_eq!(set.outcome(), outcome, "{set:?}");
        assert_eq!(matches!(set, Completion::Refused(_)), exception <= 3, "{set:?}");
        let (code, message) = error(&set);
        assert_eq!(code, format!("modbus_exception_{exception}"));
        assert!(message.contains(words) && message.contains("holding register 0x2000"), "{message}");
    }
    // Reading moves nothing, whatever goes wrong.
    for (exception, refused) in [(2, true), (4, false), (6, false), (11, false)] {
        let (get, ()) = tokio::join!(rig.call("speed.get", Value::Null, LONG), async {
            device.expect(GET).await;
            device.say(&framed(&[3, 0x83, exception])).await;
        });
        assert_eq!(
            (get.outcome(), matches!(get, Completion::Refused(_))),
            (Outcome::NotExecuted, refused),
            "{get:?}"
        );
    }
    // After something was written, nothing is refused any more.
    for (exception, second) in [(2, true), (6, true), (2, false)] {
        let (ramp, ()) = tokio::join!(rig.call("ramp", Value::Null, LONG), async {
            device.expect(&[3, 6, 0, 0x10, 0, 1]).await;
            device.say(&framed(&[3, 6, 0, 0x10, 0, 1])).await;
            device.expect(&[3, 6, 0, 0x20, 0, 2]).await;
            if second {
                device.say(&framed(&[3, 0x86, exception])).await;
                return;
            }
            device.say(&framed(&[3, 6, 0, 0x20, 0, 2])).await;
            device.expect(&[3, 3, 0, 0x30, 0, 1]).await;
            device.say(&framed(&[3, 0x83, exception])).await;
        });
        assert!(matches!(ramp, Completion::Failed { outcome: Outcome::Unknown, .. }), "{ramp:?}");
        assert!(error(&ramp).1.contains("after an earlier write of this call had been done"), "{ramp:?}");
    }
    device.quiet();
}

/// The late answer is told as the truth about its own call, and never as the answer to the next one.
#[tokio::test]
async fn a_late_answer_is_not_taken_for_the_next() {
    let mut device = Device::new();
    let rig = start(&device).await;
    let (late, ()) = tokio::join!(rig.call("speed.get", Value::Null, Duration::from_millis(100)), async {
        device.expect(GET).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        device.say(&framed(GOT)).await;
    });
    assert_eq!(late, Completion::Ok(json!(12.5)));
    let (next, ()) = tokio::join!(rig.call("speed.get", Value::Null, LONG), async {
        device.expect(GET).await;
        device.say(&framed(&[3, 3, 2, 0, 100])).await;
    });
    assert_eq!(next, Completion::Ok(json!(1.0)));
    // Nothing at all, then half an answer in time and the other half late.
    let silent = rig.call("speed.set", json!({"hz": 12.5}), Duration::from_millis(50)).await;
    assert!(matches!(silent, Completion::Timeout(_)), "{silent:?}");
    assert!(error(&silent).1.contains("nothing was heard: look at the unit's number"), "{silent:?}");
    device.expect(SET).await;
    let answer = framed(GOT);
    let (halves, ()) = tokio::join!(rig.call("speed.get", Value::Null, Duration::from_millis(100)), async {
        device.expect(GET).await;
        device.say(&answer[..3]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        device.say(&answer[3..]).await;
    });
    assert_eq!(halves, Completion::Ok(json!(12.5)));
    let (next, ()) = tokio::join!(rig.call("other", Value::Null, LONG), async {
        device.expect(&[4, 3, 0x20, 0, 0, 1]).await;
        device.say(&framed(&[4, 3, 2, 0, 100])).await;
    });
    assert_eq!(next, Completion::Ok(json!(1.0)));
    device.quiet();
}

/// A method of several requests does not go on after its deadline, even if the late answer comes.
#[tokio::test]
async fn nothing_follows_a_late_answer() {
    let mut device = Device::new();
    let rig = start(&device).await;
    let (ramp, ()) = tokio::join!(rig.call("ramp", Value::Null, Duration::from_millis(100)), async {
        device.expect(&[3, 6, 0, 0x10, 0, 1]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        device.say(&framed(&[3, 6, 0, 0x10, 0, 1])).await;
    });
    assert!(matches!(ramp, Completion::Timeout(_)), "{ramp:?}");
    assert!(error(&ramp).1.contains("(step 1 of 3)"), "{ramp:?}");
    device.quiet();
}

#[tokio::test]
async fn a_late_refusal_is_told() {
    let mut device = Device::new();
    let rig = start(&device).await;
    let (set, ()) =
        tokio::join!(rig.call("speed.set", json!({"hz": 12.5}), Duration::from_millis(100)), async {
            device.expect(SET).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            device.say(&framed(&[3, 0x86, 3])).await;
        });
    assert!(matches!(set, Completion::Refused(_)), "{set:?}");
}

#[tokio::test]
async fn what_does_not_fit_writes_nothing() {
    let mut device = Device::new();
    let rig = start(&device).await;
    // The schema refuses this before; the plugin does not rely on it.
    let set = rig.call("speed.set", json!({"hz": 700}), LONG).await;
    assert!(matches!(set, Completion::InvalidRequest(_)), "{set:?}");
    let expected =
        "request.hz: 700 is out of range; a u16 with this `scale` and `offset` holds 0.0 to 655.35";
    assert_eq!(error(&set), ("invalid_request", expected));
    let late = rig.call("speed.set", json!({"hz": 7}), Duration::ZERO).await;
    assert!(matches!(late, Completion::Expired(_)), "{late:?}");
    device.quiet();
}

#[tokio::test]
async fn to_all_devices_nobody_answers() {
    let mut device = Device::new();
    let rig = start(&device).await;
    let all = rig.call("stop", Value::Null, LONG).await;
    assert_eq!(all, Completion::Sent(Value::Null));
    device.expect(&[0, 5, 0, 4, 0xFF, 0]).await;
    let started = nowd_plugin::BootInstant::now();
    let both = rig.call("stop.both", Value::Null, LONG).await;
    assert_eq!(both, Completion::Sent(Value::Null));
    // Each frame to all is followed by time to do it.
    assert!(nowd_plugin::BootInstant::now().saturating_since(started) >= Duration::from_millis(200));
    device.expect(&[0, 5, 0, 4, 0xFF, 0]).await;
    device.expect(&[0, 6, 0, 1, 0, 0]).await;
    device.quiet();
}

/// Where the line repeats what is sent, the repetition does not confirm the write.
#[tokio::test]
async fn an_echo_confirms_nothing() {
    let mut device = Device::new();
    let rig = Rig::start(device.config(), &[ECHO], "get").await;
    let write: &[u8] = &[3, 6, 0x20, 0, 0, 7];
    let (set, ()) = tokio::join!(rig.call("set", json!({"x": 7}), Duration::from_millis(200)), async {
        device.expect(write).await;
        device.say(&framed(write)).await;
    });
    assert!(matches!(set, Completion::Timeout(_)), "{set:?}");
    assert!(error(&set).1.contains("nothing was heard"), "{set:?}");
    let (set, ()) = tokio::join!(rig.call("set", json!({"x": 7}), LONG), async {
        device.expect(write).await;
        device.say(&[0]).await;
        device.say(&framed(write)).await;
        device.say(&framed(write)).await;
    });
    assert_eq!(set, Completion::Ok(Value::Null));
    let (get, ()) = tokio::join!(rig.call("get", Value::Null, Duration::from_millis(200)), async {
        device.expect(GET).await;
        device.say(&framed(GOT)).await;
    });
    assert!(error(&get).1.contains("did not come back whole"), "{get:?}");
}

#[tokio::test]
async fn an_unplugged_device_is_told_and_survived() {
    let mut device = Device::new();
    let rig = start(&device).await;
    let (set, ()) = tokio::join!(rig.call("speed.set", json!({"hz": 12.5}), LONG), async {
        device.expect(SET).await;
        drop(device);
    });
    assert!(matches!(set, Completion::Failed { outcome: Outcome::Unknown, .. }), "{set:?}");
    assert_eq!(error(&set).0, "port_gone");
    let next = rig.call("speed.set", json!({"hz": 12.5}), LONG).await;
    assert!(matches!(next, Completion::Unavailable(_)), "{next:?}");
    rig.stop.cancel();
}

/// Frames and requests take turns on one port, in one lane.
#[tokio::test]
async fn frames_and_requests_share_a_port() {
    let mut device = Device::new();
    let frames = "[serial]\nport = \"rs485\"\nframing = { line = \"\\r\\n\" }\n\
        [methods.hello]\nsend = \"HELLO\"\nreply = '^OK$'\n";
    let rig = Rig::start(device.config(), &[MAP, frames], "speed.get").await;
    let lanes: std::collections::BTreeSet<String> =
        rig.plugin.methods().into_iter().map(|method| method.lane.name.clone()).collect();
    assert_eq!(lanes.into_iter().collect::<Vec<_>>(), ["port:rs485"]);
    let (hello, set, ()) = tokio::join!(
        rig.call("hello", Value::Null, LONG),
        rig.call("speed.set", json!({"hz": 12.5}), LONG),
        async {
            let mut heard = [0; 7];
            device.master.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"HELLO\r\n");
            device.say(b"OK\r\n").await;
            device.expect(SET).await;
            device.say(&framed(SET)).await;
        }
    );
    assert!(matches!(hello, Completion::Ok(_)), "{hello:?}");
    assert_eq!(set, Completion::Ok(Value::Null));
}
