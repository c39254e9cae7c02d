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
[methods."lift"]
send = "LIFT"
reply = '^LIFTED$'
on_timeout = "drop"
[methods."drop"]
send = "DROP"
reply = '^DROP$'
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

/// Of two answers to two questions nobody can say which is whose, also when the second one comes alone.
#[tokio::test]
async fn what_follows_an_answer_of_nobody_is_nobodys_either() {
    let mut device = Device::new();
    let rig = gate(&device).await;
    let push = call_of("push");
    let (pushed, rested, ()) = tokio::join!(rig.plugin.invoke(&push), rig.make_safe(&push, "rest"), async {
        device.expect("PUSH\r\n").await;
        device.expect("REST\r\n").await;
        device.say("OK\r\n").await;
        device.expect("BRAKE\r\n").await;
        device.say("OK\r\nOK\r\n").await;
    });
    assert_eq!((code(&pushed), code(&rested)), ("timeout", "answer_unclear"), "{pushed:?}, {rested:?}");
    rig.works(&mut device).await;
}

/// The adapter still held the late answer when the safe action was written, and the line repeats what is sent.
#[tokio::test]
async fn what_was_sent_confirms_nothing_behind_a_late_answer_either() {
    let mut device = Device::new();
    let rig = gate(&device).await;
    let lift = call_of("lift");
    let (lifted, dropped, ()) = tokio::join!(rig.plugin.invoke(&lift), rig.make_safe(&lift, "drop"), async {
        device.expect("LIFT\r\n").await;
        device.expect("DROP\r\n").await;
        device.say("LIFTED\r\nDROP\r\n").await;
    });
    assert_eq!((&lifted, code(&dropped)), (&ok(), "timeout"), "{dropped:?}");
    rig.works(&mut device).await;
}

/// The map of the call, and that of its safe action, at one port.
async fn two_maps(device: &Device, framing: &str, other: &str) -> Rig {
    let map = |framing: &str, rest: &str| {
        format!("[serial]\nport = \"relay\"\nframing = {framing}\n{rest}\nreply = '^OK$'\n")
    };
    let call = map(framing, "[methods.\"turn\"]\nsend = \"TT\"\non_timeout = \"brake\"");
    let safe = map(other, "[methods.\"brake\"]\nsend = \"BB\"");
    let mut rig = Rig::load(&[("relay", PortConfig::new(device.path()))], &[&call, &safe]);
    rig.run();
    rig.wait_open("turn").await;
    rig
}

/// A frame of the one may hold one of the other.
#[tokio::test]
async fn where_frames_differ_no_answer_is_told_as_the_late_one() {
    let mut device = Device::new();
    let rig = two_maps(&device, r#"{ line = "\r\n" }"#, "{ fixed = 2 }").await;
    let turn = call_of("turn");
    let (turned, braked, ()) = tokio::join!(rig.plugin.invoke(&turn), rig.make_safe(&turn, "brake"), async {
        device.expect("TT\r\n").await;
        device.expect("BB").await;
        device.say("OK\r\n").await;
    });
    assert_eq!((code(&turned), code(&braked)), ("timeout", "answer_unclear"), "{turned:?}, {braked:?}");
}

/// A byte of noise, where only a silence says that it is the beginning of nothing.
#[tokio::test]
async fn noise_before_it_does_not_hide_that_an_answer_may_be_the_late_one() {
    let mut device = Device::new();
    let rig = two_maps(&device, "{ fixed = 2 }", "{ fixed = 2 }").await;
    let turn = call_of("turn");
    let safe = async {
        turn.deadline.passed().await;
        turn.cancelled.cancel();
        // While the line is left alone.
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.call("brake", Value::Null, BUDGET).await
    };
    let (turned, braked, ()) = tokio::join!(rig.plugin.invoke(&turn), safe, async {
        device.expect("TT").await;
        turn.deadline.passed().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        device.say("x").await;
        device.expect("BB").await;
        device.say("OK").await;
    });
    assert_eq!((code(&turned), code(&braked)), ("timeout", "answer_unclear"), "{turned:?}, {braked:?}");
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
    // Longer than the device is ever silent.
    let config = PortConfig { gap: Some(Duration::from_millis(40)), ..PortConfig::new(device.path()) };
    let mut rig = Rig::load(&[("relay", config)], &[GATE]);
    rig.run();
    rig.wait_open("ring").await;
    let open = call_of("open");
    let (mut reader, mut writer) = tokio::io::split(device.master);
    let ended = CancellationToken::new();
    let seen = CancellationToken::new();
    let mut talk = pin!(async {
        // The call itself waits for the gap.
        seen.cancelled().await;
        while !ended.is_cancelled() {
            writer.write_all(&[b'x', 0xff, 0, b'\r', b'x'].repeat(20)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let hear = async {
        let mut heard = Vec::new();
        while !heard.ends_with(b"HALT\r\n") {
            let byte = tokio::select! {
                byte = reader.read_u8() => byte.unwrap(),
                () = tokio::time::sleep(PATIENCE) => panic!("waited {PATIENCE:?} in vain behind {heard:?}"),
            };
            heard.push(byte);
            if heard.ends_with(b"OPEN\r\n") {
                seen.cancel();
            }
        }
        ended.cancel();
        heard
    };
    let calls = async { tokio::join!(rig.plugin.invoke(&open), rig.make_safe(&open, "halt")) };
    let ((), heard, (_, halted)) = tokio::join!(&mut talk, hear, calls);
    assert_eq!(String::from_utf8(heard).unwrap(), "OPEN\r\nHALT\r\n");
    assert_eq!(code(&halted), "timeout");
}
