//! A safe action of a Modbus device whose call was not answered.

use nowd_plugin::Outcome;

use super::device::{Device, framed};
use super::*;

const MAP: &str = r#"
[modbus]
port = "rs485"
unit = 3
[methods."run"]
write = { holding = 0x2000, value = 1 }
on_timeout = "stop"
[methods."stop"]
write = { holding = 0x2000, value = 0 }
[methods."fill"]
write = { holding = 0x10, value = [1, 2], count = 2 }
on_timeout = "empty"
[methods."empty"]
write = { holding = 0x10, value = [0, 0], count = 2 }
[methods."drain"]
write = { holding = 0x10, value = [1, 2], count = 2 }
on_timeout = "empty_and_stop"
[methods."empty_and_stop"]
write = [{ holding = 0x10, value = [0, 0], count = 2 }, { holding = 0x2000, value = 0 }]
"#;

const RUN: &[u8] = &[3, 6, 0x20, 0, 0, 1];
const STOP: &[u8] = &[3, 6, 0x20, 0, 0, 0];
const FILL: &[u8] = &[3, 16, 0, 0x10, 0, 2, 4, 0, 1, 0, 2];
const EMPTY: &[u8] = &[3, 16, 0, 0x10, 0, 2, 4, 0, 0, 0, 0];
const FILLED: &[u8] = &[3, 16, 0, 0x10, 0, 2];

/// It is written at once, and only what says so is its confirmation: an exception, or the answer to a write of several
/// registers, may be the late one to the call.
#[tokio::test]
async fn it_is_written_and_only_its_own_answer_is_taken() {
    let both = [framed(RUN), framed(STOP)].concat();
    let exception = framed(&[3, 0x86, 4]);
    for (method, action, call_frame, safe_frame, said, expected) in [
        ("run", "stop", RUN, STOP, framed(STOP), "ok"),
        ("run", "stop", RUN, STOP, both, "ok"),
        ("run", "stop", RUN, STOP, exception, "answer_unclear"),
        ("run", "stop", RUN, STOP, framed(RUN), "timeout"),
        ("run", "stop", RUN, STOP, Vec::new(), "timeout"),
        ("fill", "empty", FILL, EMPTY, framed(FILLED), "answer_unclear"),
    ] {
        let mut device = Device::new();
        let mut config = device.config();
        // As it is unless it is given, and as the safe action's own time is.
        config.silence = None;
        let rig = Rig::start(config, &[MAP], "stop").await;
        let running = call(method, Value::Null, Duration::from_millis(500));
        let safe = async {
            running.deadline.passed().await;
            running.cancelled.cancel();
            rig.call(action, Value::Null, Duration::from_secs(1)).await
        };
        let (ran, made_safe, ()) = tokio::join!(rig.plugin.invoke(&running), safe, async {
            device.expect(call_frame).await;
            device.expect(safe_frame).await;
            device.say(&said).await;
        });
        let told = if matches!(made_safe, Completion::Ok(_)) { "ok" } else { error(&made_safe).0 };
        assert_eq!(made_safe.outcome() == Outcome::Unknown, told != "ok", "{made_safe:?}");
        assert_eq!(told, expected, "{said:02X?}: {made_safe:?}");
        let is_late = said.starts_with(&framed(RUN));
        assert_eq!(matches!(ran, Completion::Ok(_)), is_late, "{said:02X?}: {ran:?}");
        device.quiet();
    }
}

/// The first write may have been done, whatever the device says to the second.
#[tokio::test]
async fn what_is_refused_behind_an_answer_of_nobody_is_unknown() {
    let mut device = Device::new();
    let rig = Rig::start(device.config(), &[MAP], "stop").await;
    let running = call("drain", Value::Null, Duration::from_millis(500));
    let safe = async {
        running.deadline.passed().await;
        running.cancelled.cancel();
        rig.call("empty_and_stop", Value::Null, LONG).await
    };
    let (_, made_safe, ()) = tokio::join!(rig.plugin.invoke(&running), safe, async {
        device.expect(FILL).await;
        device.expect(EMPTY).await;
        device.say(&framed(FILLED)).await;
        device.expect(STOP).await;
        device.say(&framed(&[3, 0x86, 2])).await;
    });
    assert_eq!(error(&made_safe).0, "modbus_exception_2");
    assert_eq!(made_safe.outcome(), Outcome::Unknown, "{made_safe:?}");
}
