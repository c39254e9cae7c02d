//! The whole plugin on real pseudo-terminals, with the test as the device.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nowd_plugin::{Deadline, Outcome};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_serial::{SerialPort, SerialStream};
use uuid::Uuid;

use super::*;

mod corpus;
mod echo;
mod framings;
mod hears;
mod missed;
mod panics;
mod ports;
mod pulses;
mod ready_made;
mod reload;
mod safe;

const MAP: &str = r#"
[serial]
port = "relay"
framing = { line = "\r\n" }
[methods."state"]
send = "STATE $ch"
reply = '^OK (?<state>\w+)( (?<rest>\w+))?$'
refused = '^NO (?<message>.+)$'
failed = '^ERR (?<code>\d+)'
params.ch = { type = "string" }
[methods."pulse"]
steps = [
  { send = "ON", reply = '^OK (?<on>\w+)$' },
  { wait = "30ms" },
  { send = "OFF", reply = '^OK$' },
]
refused = '^NO'
[methods."ring"]
send = "RING"
"#;

/// How long the device waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

/// One end of a pty in the hand of the test; dropping it unplugs the device.
struct Device {
    master: SerialStream,
    slave: SerialStream,
}

impl Device {
    fn new() -> Self {
        let (master, slave) = SerialStream::pair().unwrap();
        Self { master, slave }
    }

    fn path(&self) -> PathBuf {
        self.slave.name().unwrap().into()
    }

    async fn expect(&mut self, expected: &str) {
        let mut heard = vec![0; expected.len()];
        tokio::select! {
            read = self.master.read_exact(&mut heard) => drop(read.unwrap()),
            () = tokio::time::sleep(PATIENCE) => panic!("waited {PATIENCE:?} in vain for {expected:?}"),
        }
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }

    async fn say(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).await.unwrap();
    }
}

struct Rig {
    plugin: Arc<SerialPlugin>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Rig {
    fn load(ports: &[(&str, PortConfig)], maps: &[&str]) -> Self {
        let ports = ports.iter().map(|(name, config)| ((*name).to_owned(), config.clone())).collect();
        let maps: Vec<MapSource> = maps
            .iter()
            .enumerate()
            .map(|(i, text)| MapSource { file: format!("{i}.toml"), text: (*text).to_owned() })
            .collect();
        let plugin = SerialPlugin::load(&ports, &maps, None).unwrap();
        Self { plugin, stop: CancellationToken::new(), tasks: JoinSet::new() }
    }

    async fn start(config: PortConfig) -> Self {
        let mut rig = Self::load(&[("relay", config)], &[MAP]);
        rig.run();
        rig.wait_open("ring").await;
        rig
    }

    fn run(&mut self) {
        self.tasks.spawn(Arc::clone(&self.plugin).run(self.stop.clone()));
    }

    /// A call that is too late is `expired` on an open port and `unavailable` on another.
    async fn probe(&self, method: &str) -> Completion {
        self.plugin.invoke(&call(method, Value::Null, Duration::ZERO)).await
    }

    async fn wait_open(&self, method: &str) {
        self.wait(method, |completion| matches!(completion, Completion::Expired(_))).await;
    }

    async fn wait(&self, method: &str, wanted: impl Fn(&Completion) -> bool) -> Completion {
        let bound = Deadline::after(LONG);
        loop {
            let completion = self.probe(method).await;
            if wanted(&completion) {
                return completion;
            }
            assert!(bound.check().is_ok(), "still {completion:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn call(&self, method: &str, params: Value, budget: Duration) -> Completion {
        self.plugin.invoke(&call(method, params, budget)).await
    }

    /// The port still works: the device hears this call and nothing before it.
    async fn works(&self, device: &mut Device) {
        let (completion, ()) = tokio::join!(self.call("state", json!({"ch": "9"}), LONG), async {
            device.expect("STATE 9\r\n").await;
            device.say("OK fine\r\n").await;
        });
        assert_eq!(completion, Completion::Ok(json!({"state": "fine", "rest": null})));
    }
}

fn call(method: &str, params: Value, budget: Duration) -> Call {
    Call::new(Uuid::new_v4(), method, params, Deadline::after(budget))
}

fn gone(completion: &Completion) -> bool {
    matches!(completion, Completion::Unavailable(e) if e.code == "port_gone")
}

#[tokio::test]
async fn answers_mean_what_the_map_says() {
    let mut device = Device::new();
    let rig = Rig::start(PortConfig::new(device.path())).await;
    let failed = |code: &str, message: &str| Completion::Failed {
        outcome: Outcome::Unknown,
        error: CallError::new(code, message),
    };
    for (said, expected) in [
        ("OK on\r\n", Completion::Ok(json!({"state": "on", "rest": null}))),
        ("OK on now\r\n", Completion::Ok(json!({"state": "on", "rest": "now"}))),
        (
            "EVENT 3\r\nSTATE 3\r\n\r\n\u{1b}\r\nOK on\r\nOK off\r\n",
            Completion::Ok(json!({"state": "on", "rest": null})),
        ),
        ("NO child lock\r\n", Completion::Refused(CallError::new("refused", "child lock"))),
        ("ERR 17 motor\r\n", failed("17", "ERR 17 motor")),
    ] {
        let (completion, ()) = tokio::join!(rig.call("state", json!({"ch": "3"}), LONG), async {
            device.expect("STATE 3\r\n").await;
            device.say(said).await;
        });
        assert_eq!(completion, expected, "{said:?}");
    }
    assert_eq!(rig.call("ring", Value::Null, LONG).await, Completion::Sent(Value::Null));
    device.expect("RING\r\n").await;
    rig.works(&mut device).await;
}

#[tokio::test]
async fn steps_run_in_order_and_wait() {
    let mut device = Device::new();
    let rig =
        Rig::start(PortConfig { gap: Some(Duration::from_millis(5)), ..PortConfig::new(device.path()) })
            .await;
    let (completion, waited) = tokio::join!(rig.call("pulse", Value::Null, LONG), async {
        device.expect("ON\r\n").await;
        let since = nowd_plugin::BootInstant::now();
        device.say("OK a\r\n").await;
        device.expect("OFF\r\n").await;
        device.say("OK\r\n").await;
        nowd_plugin::BootInstant::now().saturating_since(since)
    });
    assert_eq!(completion, Completion::Ok(json!({"on": "a"})));
    assert!(waited >= Duration::from_millis(30), "{waited:?}");

    // The second step is refused, but the first was done: nothing safe can be said of the whole.
    let (completion, ()) = tokio::join!(rig.call("pulse", Value::Null, LONG), async {
        device.expect("ON\r\n").await;
        device.say("OK a\r\n").await;
        device.expect("OFF\r\n").await;
        device.say("NO\r\n").await;
    });
    assert_eq!(completion.outcome(), Outcome::Unknown);
    let (completion, ()) = tokio::join!(rig.call("pulse", Value::Null, LONG), async {
        device.expect("ON\r\n").await;
        device.say("NO\r\n").await;
    });
    assert_eq!(completion, Completion::Refused(CallError::new("refused", "NO")));
    rig.works(&mut device).await;
}

#[tokio::test]
async fn what_is_too_late_is_not_written() {
    let mut device = Device::new();
    let rig = Rig::start(PortConfig::new(device.path())).await;
    assert!(matches!(rig.probe("state").await, Completion::Expired(_)));
    assert!(matches!(rig.probe("pulse").await, Completion::Expired(_)));
    rig.works(&mut device).await;

    // The second frame of a call that has become late is not written either.
    let late = call("pulse", Value::Null, SHORT);
    let (completion, ()) = tokio::join!(rig.plugin.invoke(&late), async {
        device.expect("ON\r\n").await;
        late.deadline.passed().await;
        device.say("OK a\r\n").await;
    });
    assert!(matches!(&completion, Completion::Timeout(e) if e.code == "timeout"), "{completion:?}");
    rig.works(&mut device).await;
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_the_next_calls() {
    let mut device = Device::new();
    let silence = Duration::from_secs(2);
    let rig = Rig::start(PortConfig { silence: Some(silence), ..PortConfig::new(device.path()) }).await;
    let late = call("state", json!({"ch": "1"}), SHORT);
    let (completion, ()) = tokio::join!(rig.plugin.invoke(&late), async {
        device.expect("STATE 1\r\n").await;
        late.deadline.passed().await;
        device.say("OK late\r\n").await;
    });
    // Nobody waits for it any more, but it is the truth about the device.
    assert_eq!(completion, Completion::Ok(json!({"state": "late", "rest": null})));
    rig.works(&mut device).await;

    let never = call("state", json!({"ch": "1"}), SHORT);
    let (completion, ()) = tokio::join!(rig.plugin.invoke(&never), device.expect("STATE 1\r\n"));
    let now = nowd_plugin::BootInstant::now();
    assert!(matches!(&completion, Completion::Timeout(e) if e.code == "timeout"), "{completion:?}");
    assert!(
        now >= never.deadline.at().saturating_add(silence),
        "the port was given back before it was silent"
    );
    rig.works(&mut device).await;
}

#[tokio::test]
async fn a_cancelled_call_gives_the_port_back() {
    let mut device = Device::new();
    let rig = Rig::start(PortConfig::new(device.path())).await;
    let cancelled = call("state", json!({"ch": "1"}), LONG);
    let (completion, ()) = tokio::join!(rig.plugin.invoke(&cancelled), async {
        device.expect("STATE 1\r\n").await;
        cancelled.cancelled.cancel();
    });
    assert!(matches!(&completion, Completion::Timeout(e) if e.code == "cancelled"), "{completion:?}");
    let before = call("state", json!({"ch": "1"}), LONG);
    before.cancelled.cancel();
    let completion = rig.plugin.invoke(&before).await;
    assert!(matches!(&completion, Completion::Unavailable(e) if e.code == "cancelled"), "{completion:?}");
    rig.works(&mut device).await;
}

#[tokio::test]
async fn a_parameter_cannot_make_a_second_frame() {
    let mut device = Device::new();
    let rig = Rig::start(PortConfig::new(device.path())).await;
    let completion = rig.call("state", json!({"ch": "1\r\nOPEN"}), LONG).await;
    assert!(
        matches!(&completion, Completion::InvalidRequest(e) if e.message.contains("request.ch")),
        "{completion:?}"
    );
    rig.works(&mut device).await;
}

#[tokio::test]
async fn an_unplugged_device_is_told_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("by-id");
    let plug = |device: &Device| {
        let fresh = folder.path().join("fresh");
        std::os::unix::fs::symlink(device.path(), &fresh).unwrap();
        std::fs::rename(&fresh, &link).unwrap();
    };
    let mut rig = Rig::load(&[("relay", PortConfig::new(&link))], &[MAP]);
    assert!(gone(&rig.probe("ring").await), "before `run`");
    rig.run();
    let never_there = rig
        .wait("ring", |c| matches!(c, Completion::Unavailable(e) if !e.message.contains("opened yet")))
        .await;
    let Completion::Unavailable(e) = &never_there else { panic!("{never_there:?}") };
    assert!(e.message.contains("\"relay\"") && e.message.contains("by-id"), "{}", e.message);

    for mid_call in [true, false] {
        let mut device = Device::new();
        plug(&device);
        rig.wait_open("ring").await;
        rig.works(&mut device).await;
        if mid_call {
            let (completion, ()) = tokio::join!(rig.call("state", json!({"ch": "1"}), LONG), async {
                device.expect("STATE 1\r\n").await;
                drop(device);
            });
            let Completion::Failed { outcome: Outcome::Unknown, error } = &completion else {
                panic!("{completion:?}")
            };
            assert_eq!(error.code, "port_gone");
        } else {
            drop(device);
        }
        rig.wait("ring", gone).await;
    }
    rig.stop.cancel();
    while rig.tasks.join_next().await.is_some() {}
    assert!(gone(&rig.probe("ring").await), "after `run`");
}

#[tokio::test]
async fn noise_without_an_end_is_survived() {
    let mut device = Device::new();
    let rig = Rig::start(PortConfig::new(device.path())).await;
    let noisy = call("state", json!({"ch": "1"}), SHORT);
    let (completion, ()) = tokio::join!(rig.plugin.invoke(&noisy), async {
        device.expect("STATE 1\r\n").await;
        while noisy.deadline.check().is_ok() {
            device.master.write_all(&[b'x', 0xff, 0, b'\r', b'x'].repeat(100)).await.unwrap();
        }
    });
    assert!(matches!(completion, Completion::Timeout(_)), "{completion:?}");
    rig.works(&mut device).await;
}

#[tokio::test]
async fn a_port_that_hangs_delays_no_other() {
    let (mut device, mut hung) = (Device::new(), Device::new());
    let other = MAP.replace("\"relay\"", "\"hung\"").replace("[methods.\"", "[methods.\"hung.");
    let ports = [("relay", PortConfig::new(device.path())), ("hung", PortConfig::new(hung.path()))];
    let mut rig = Rig::load(&ports, &[MAP, &other]);
    rig.run();
    rig.wait_open("ring").await;
    rig.wait_open("hung.ring").await;
    let hanging = call("hung.state", json!({"ch": "1"}), LONG);
    let (completion, ()) = tokio::join!(rig.plugin.invoke(&hanging), async {
        hung.expect("STATE 1\r\n").await;
        for _ in 0..20 {
            rig.works(&mut device).await;
        }
        assert!(hanging.deadline.check().is_ok());
        hanging.cancelled.cancel();
    });
    assert!(matches!(completion, Completion::Timeout(_)), "{completion:?}");
}

#[tokio::test]
async fn what_the_device_did_not_take_in_time_is_never_sent() {
    let mut device = Device::new();
    let rig = Rig::start(PortConfig { flow: Flow::Software, ..PortConfig::new(device.path()) }).await;
    let bound = Deadline::after(LONG);
    loop {
        device.say("\u{13}").await;
        let completion = rig.call("ring", Value::Null, SHORT).await;
        if matches!(completion, Completion::Expired(_)) {
            break;
        }
        // The kernel has not seen the device's stop sign yet.
        assert_eq!(completion, Completion::Sent(Value::Null));
        device.expect("RING\r\n").await;
        assert!(bound.check().is_ok());
    }
    device.say("\u{11}").await;
    rig.works(&mut device).await;
}

/// What the device said after its call had ended, and after the line was given back, is nobody's answer.
#[tokio::test]
async fn an_answer_after_its_calls_end_is_not_taken_for_the_next_calls() {
    let mut device = Device::new();
    let silence = Duration::from_millis(50);
    let rig = Rig::start(PortConfig { silence: Some(silence), ..PortConfig::new(device.path()) }).await;
    for late in ["OK late\r\n", "OK la", "te\r\n", "NO\r\nERR 3\r\nOK late late\r\n"] {
        let given_up = call("state", json!({"ch": "1"}), SHORT);
        let (completion, ()) = tokio::join!(rig.plugin.invoke(&given_up), device.expect("STATE 1\r\n"));
        assert!(matches!(&completion, Completion::Timeout(e) if e.code == "timeout"), "{completion:?}");
        device.say(late).await;
        // The next call comes at once: reading what is there before it writes brings in what is still on its way.
        rig.works(&mut device).await;
    }
}
