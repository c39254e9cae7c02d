//! Safe actions on a line whose call has not ended: they are written, and no answer of another's is taken for theirs.

use std::pin::pin;

use nowd_plugin::BootInstant;

use super::*;

/// Times are as they are unless somebody says otherwise.
const GATE: &str = r#"
[serial]
port = "relay"
framing = { line = "\r\n" }
[methods."ring"]
send = "RING"
[methods."state"]
send = "STATE $ch"
reply = '^OK (?<state>\w+)( (?<rest>\w+))?$'
params.ch = { type = "string" }
[methods."open"]
send = "OPEN"
reply = '^OPENED$'
on_timeout = "halt"
on_stop = "halt"
[methods."slow"]
steps = [{ send = "UNLOCK", reply = '^OK$' }, { wait = "20s" }, { send = "OPEN", reply = '^OPENED$' }]
on_stop = "halt"
[methods."halt"]
send = "HALT"
reply = '^HALTED$'
[methods."push"]
send = "PUSH"
reply = '^OK$'
on_timeout = "rest"
on_stop = "off"
[methods."rest"]
steps = [{ send = "REST", reply = '^OK$' }, { send = "BRAKE", reply = '^OK$' }]
[methods."off"]
send = "OFF"
"#;

/// What `silence` is unless it is given.
const SILENCE: Duration = Duration::from_secs(1);
/// The budget of a safe action unless `timeout` is given.
const BUDGET: Duration = Duration::from_secs(1);

async fn gate(device: &Device) -> Rig {
    let mut rig = Rig::load(&[("relay", PortConfig::new(device.path()))], &[GATE]);
    rig.run();
    rig.wait_open("ring").await;
    rig
}

impl Rig {
    /// What the core does at the deadline of a call that runs: nobody waits any more, and its safe action starts.
    async fn make_safe(&self, running: &Call, action: &str) -> Completion {
        running.deadline.passed().await;
        running.cancelled.cancel();
        self.call(action, Value::Null, BUDGET).await
    }
}

fn ok() -> Completion {
    Completion::Ok(Value::Null)
}

fn code(completion: &Completion) -> &str {
    let (Completion::Timeout(error) | Completion::Failed { outcome: Outcome::Unknown, error }) = completion
    else {
        panic!("{completion:?}")
    };
    &error.code
}

/// A device that answers, or not, or late, before the safe action is written or after it.
#[tokio::test]
async fn a_safe_action_is_written_within_its_time_whatever_the_device_says() {
    for (before, after, call, action) in [
        ("", "", None, None),
        ("", "HALTED\r\n", None, Some(ok())),
        ("", "OPENED\r\nHALTED\r\n", Some(ok()), Some(ok())),
        ("OPE", "NED\r\nHALTED\r\n", Some(ok()), Some(ok())),
        ("", "NOISE\r\nHALTED\r\n", None, Some(ok())),
        ("", "HALTED\r\nOPENED\r\n", Some(ok()), Some(ok())),
        ("", "OPENED\r\n", Some(ok()), None),
    ] {
        let mut device = Device::new();
        let rig = gate(&device).await;
        let open = call_of("open");
        let (opened, halted, ()) =
            tokio::join!(rig.plugin.invoke(&open), rig.make_safe(&open, "halt"), async {
                device.expect("OPEN\r\n").await;
                device.say(before).await;
                // Nothing but the safe action itself.
                device.expect("HALT\r\n").await;
                device.say(after).await;
            });
        let what = format!("{before:?} and {after:?}: {opened:?}, {halted:?}");
        match call {
            Some(expected) => assert_eq!(opened, expected, "{what}"),
            None => assert_eq!(code(&opened), "timeout", "{what}"),
        }
        match action {
            Some(expected) => assert_eq!(halted, expected, "{what}"),
            None => assert_eq!(code(&halted), "timeout", "{what}"),
        }
        rig.works(&mut device).await;
    }
}

/// A call that will be cut off: not before a busy machine has written its first frame.
fn call_of(method: &str) -> Call {
    call(method, Value::Null, Duration::from_millis(500))
}

/// The next call has the line only after the silence, also behind a safe action that was answered.
#[tokio::test]
async fn the_line_is_silent_behind_a_safe_action_too() {
    let mut device = Device::new();
    let rig = gate(&device).await;
    let open = call_of("open");
    let (_, halted, said) = tokio::join!(rig.plugin.invoke(&open), rig.make_safe(&open, "halt"), async {
        device.expect("OPEN\r\n").await;
        device.expect("HALT\r\n").await;
        let said = BootInstant::now();
        device.say("HALTED\r\n").await;
        said
    });
    assert_eq!(halted, ok());
    let since = BootInstant::now().saturating_since(said);
    assert!(since >= SILENCE, "{since:?}");
    rig.works(&mut device).await;
}

/// All steps are written, and what comes is nobody's for certain.
#[tokio::test]
async fn an_answer_that_may_be_the_late_one_is_never_told_as_the_safe_actions() {
    let mut device = Device::new();
    let rig = gate(&device).await;
    let push = call_of("push");
    let (pushed, rested, ()) = tokio::join!(rig.plugin.invoke(&push), rig.make_safe(&push, "rest"), async {
        device.expect("PUSH\r\n").await;
        device.expect("REST\r\n").await;
        device.say("OK\r\n").await;
        device.expect("BRAKE\r\n").await;
        device.say("OK\r\n").await;
    });
    assert_eq!(code(&rested), "answer_unclear", "{rested:?}");
    let Completion::Timeout(e) = &pushed else { panic!("{pushed:?}") };
    assert!(e.message.ends_with("an answer came that may as well be another call's"), "{}", e.message);
    rig.works(&mut device).await;
}

/// At the end of the process the call's deadline may be far away: it is cut off, and nothing more of it is written.
#[tokio::test]
async fn at_the_end_the_line_is_taken_from_the_call() {
    for (method, first, answer) in [("open", "OPEN\r\n", ""), ("slow", "UNLOCK\r\n", "OK\r\n")] {
        let mut device = Device::new();
        let rig = gate(&device).await;
        let running = call(method, Value::Null, LONG);
        let halting = async {
            device.expect(first).await;
            device.say(answer).await;
            let halt = call("halt", Value::Null, BUDGET);
            let (halted, ()) = tokio::join!(rig.plugin.invoke(&halt), async {
                device.expect("HALT\r\n").await;
                assert!(halt.deadline.check().is_ok());
                device.say("HALTED\r\n").await;
            });
            halted
        };
        let (cut, halted) = tokio::join!(rig.plugin.invoke(&running), halting);
        assert_eq!(halted, ok(), "{method}");
        assert_eq!(code(&cut), "cancelled", "{cut:?}");
        assert!(running.deadline.check().is_ok());
        rig.works(&mut device).await;
    }
}

/// One without a reply says no more than that it was written; and it is written though another one waits for its answer.
/// What waits for silence afterwards must not throw it away on its way out.
#[tokio::test]
async fn the_second_takes_the_line_from_the_first() {
    let mut device = Device::new();
    let rig = gate(&device).await;
    let (push, seen) = (call_of("push"), CancellationToken::new());
    let off = async {
        seen.cancelled().await;
        rig.call("off", Value::Null, BUDGET).await
    };
    let rest = async {
        push.deadline.passed().await;
        // Its own end is far away.
        rig.call("rest", Value::Null, LONG).await
    };
    let (pushed, rested, off, ()) = tokio::join!(rig.plugin.invoke(&push), rest, off, async {
        device.expect("PUSH\r\n").await;
        device.expect("REST\r\n").await;
        seen.cancel();
        device.expect("OFF\r\n").await;
    });
    assert_eq!((code(&pushed), &off), ("timeout", &Completion::Sent(Value::Null)));
    assert_eq!(code(&rested), "cancelled");
    rig.works(&mut device).await;
}

/// A device that never stops talking cannot keep it from being written.
#[tokio::test]
async fn noise_does_not_hold_it_up() {
    let device = Device::new();
    let rig = gate(&device).await;
    let open = call_of("open");
    let (mut reader, mut writer) = tokio::io::split(device.master);
    let ended = CancellationToken::new();
    let mut talk = pin!(async {
        while !ended.is_cancelled() {
            writer.write_all(&[b'x', 0xff, 0, b'\r', b'x'].repeat(20)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let hear = async {
        let mut heard = Vec::new();
        while !heard.ends_with(b"HALT\r\n") {
            let byte = reader.read_u8().await.unwrap();
            heard.push(byte);
        }
        ended.cancel();
        heard
    };
    let calls = async { tokio::join!(rig.plugin.invoke(&open), rig.make_safe(&open, "halt")) };
    let ((), heard, (_, halted)) = tokio::join!(&mut talk, hear, calls);
    assert_eq!(String::from_utf8(heard).unwrap(), "OPEN\r\nHALT\r\n");
    assert_eq!(code(&halted), "timeout");
}
