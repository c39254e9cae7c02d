//! Lines that repeat what is sent, and devices that answer with it.

use std::sync::Mutex;

use super::*;

const METHODS: &str = r#"
[methods."open"]
send = "OPEN"
reply = '^OPEN( (?<n>\d))?$'
refused = 'O.*NOT'
[methods."odd"]
send = "OPEN NOT"
reply = '^OPEN$'
refused = 'NOT'
[methods."twice"]
steps = [{ send = "A" }, { send = "B", reply = '^(?<what>[ABC])$' }]
[methods."heard"]
hears = '^(?<frame>.*)$'
[methods."ring"]
send = "RING"
"#;

async fn rig(device: &Device, echo: &str) -> Rig {
    let table = format!("[serial]\nport = \"relay\"\nframing = {{ line = \"\\r\" }}\n{echo}");
    let mut rig = Rig::load(&[("relay", PortConfig::new(device.path()))], &[&(table + METHODS)]);
    rig.run();
    rig.wait_open("ring").await;
    rig
}

/// Calls `method` with a device that hears `heard` and says `said`.
async fn exchange(rig: &Rig, device: &mut Device, method: &str, heard: &str, said: &str) -> Completion {
    let budget = if said.ends_with('#') { SHORT } else { LONG };
    let (completion, ()) = tokio::join!(rig.call(method, Value::Null, budget), async {
        device.expect(heard).await;
        device.say(said.trim_end_matches('#')).await;
    });
    completion
}

fn timed_out(completion: &Completion) -> &str {
    let Completion::Timeout(error) = completion else { panic!("{completion:?}") };
    &error.message
}

#[tokio::test]
async fn what_the_line_repeats_is_dropped_and_nothing_else() {
    let mut device = Device::new();
    let rig = rig(&device, "echo = true").await;
    let nothing = |completion: Completion| matches!(&completion, Completion::Unavailable(e) if e.code == "nothing_heard");
    let (none, one) = (Completion::Ok(json!({"n": null})), Completion::Ok(json!({"n": "1"})));

    // Only the echo: no answer. After it, an answer may be the same.
    assert!(
        timed_out(&exchange(&rig, &mut device, "open", "OPEN\r", "OPEN\r#").await)
            .contains("the deadline passed")
    );
    assert_eq!(exchange(&rig, &mut device, "open", "OPEN\r", "OPEN\rOPEN\r").await, none);
    assert_eq!(exchange(&rig, &mut device, "open", "OPEN\r", "OPEN\rOPEN 1\r").await, one);
    let refused = exchange(&rig, &mut device, "odd", "OPEN NOT\r", "OPEN NOT\rNOT\r").await;
    assert!(matches!(refused, Completion::Refused(_)), "{refused:?}");
    // In pieces, which are held back until it is known what they are.
    let (completion, ()) = tokio::join!(rig.call("open", Value::Null, LONG), async {
        device.expect("OPEN\r").await;
        for piece in ["OP", "EN", "\rOPE", "N 1\r"] {
            device.say(piece).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert_eq!(completion, one);
    // A frame without answer: its echo is waited for, so that the next one's is not taken for it.
    let (completion, ()) = tokio::join!(rig.call("twice", Value::Null, LONG), async {
        device.expect("A\r").await;
        device.say("A\r").await;
        device.expect("B\r").await;
        device.say("B\rC\r").await;
    });
    assert_eq!(completion, Completion::Sent(json!({"what": "C"})));
    assert_eq!(exchange(&rig, &mut device, "ring", "RING\r", "RING\r").await, Completion::Sent(Value::Null));
    assert!(nothing(rig.call("heard", Value::Null, LONG).await), "an echo was heard");

    // A line that does not repeat what is sent after all.
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let completion = exchange(&rig, &mut device, "twice", "A\rB\r", "C\r").await;
    drop(guard);
    assert_eq!(completion, Completion::Sent(json!({"what": "C"})));
    let told = log.0.lock().unwrap().iter().filter(|line| line.contains("did not repeat")).count();
    assert_eq!(told, 1, "{:?}", log.0);
    assert_eq!(exchange(&rig, &mut device, "open", "OPEN\r", "OPEN 1\r").await, one);
    assert_eq!(exchange(&rig, &mut device, "open", "OPEN\r", "OOPEN\rOPEN 1\r").await, one);
    assert_eq!(rig.call("ring", Value::Null, LONG).await, Completion::Sent(Value::Null));
    device.expect("RING\r").await;
    device.say("RI\rEVENT\r").await;
    let bound = Deadline::after(LONG);
    while rig.call("heard", Value::Null, LONG).await.outcome() == Outcome::NotExecuted
        || !format!("{:?}", rig.call("heard", Value::Null, LONG).await).contains("EVENT")
    {
        assert!(bound.check().is_ok());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_may_be_an_echo_is_no_answer_unless_the_map_says_so() {
    let mut device = Device::new();
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let rig = rig(&device, "").await;
    for method in ["open", "odd"] {
        let sent = if method == "odd" { "OPEN NOT\r" } else { "OPEN\r" };
        let completion = exchange(&rig, &mut device, method, sent, &format!("{sent}#")).await;
        let message = timed_out(&completion);
        assert!(message.contains("set `echo = true` if the line repeats"), "{message}");
    }
    let answer = exchange(&rig, &mut device, "open", "OPEN\r", "OPEN\rOPEN 1\r").await;
    assert_eq!(answer, Completion::Ok(json!({"n": "1"})));
    let after_noise = exchange(&rig, &mut device, "open", "OPEN\r", "x\rOPEN\r").await;
    assert_eq!(after_noise, Completion::Ok(json!({"n": null})), "it was not what came first");
    drop(guard);
    let warned = log.0.lock().unwrap().iter().filter(|line| line.contains("may repeat")).count();
    assert_eq!(warned, 1, "{:?}", log.0);

    let mut device = Device::new();
    let rig = self::rig(&device, "echo = false").await;
    let same = exchange(&rig, &mut device, "open", "OPEN\r", "OPEN\r").await;
    assert_eq!(same, Completion::Ok(json!({"n": null})));
}

/// The messages of the log.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push(format!("{value:?}"));
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
