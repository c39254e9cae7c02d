//! The test bed: broker, bus, vehicle, alarm panel, gateway process, cloud side, and somebody who hears everything.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nowd_cloud::{Answer, CallRequest, Config, Invoker};
use nowd_link::{Connection, DatePolicy, Event, Options, Publish, Qos, Sender, Tls, TlsFiles};
use nowd_plugin_simulator::alarm;
use nowd_plugin_simulator::vehicle::{self, Vehicle};
use nowd_protocol::{Level, RawValue};
use nowd_testkit::{Access, Bus, Ca, Identity, Listener, Mosquitto, Process, wait_for, within};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const TARGET: &str = "gw-1";

/// What the gateway is told of its vehicle, its panel and its simulated devices.
const WINDOW: &str = r#"
[dbus]
bus = "@BUS@"
destination = "com.example.Vehicle"
path = "/com/example/vehicle/window/left"
interface = "com.example.Window1"
[methods."window.set"]
call = "Set"
args = ["$percent"]
refused = ["com.example.Error.Interlock"]
params.percent = { type = "integer", minimum = 0, maximum = 100 }
[methods."window.move"]
call = "MoveTo"
args = ["$percent", "$call.id"]
done = { signal = "Moved", match = ["$call.id"] }
params.percent = { type = "integer", minimum = 0, maximum = 100 }
on_timeout = "window.halt"
[methods."window.halt"]
call = "Halt"
internal = true
[methods."window.lock"]
call = "SetChildLock"
args = ["$on"]
params.on = { type = "boolean" }
[methods."window.absent"]
call = "NoSuchMember"
signature = ""
"#;

const PANEL: &str = r#"
[serial]
port = "panel"
framing = { line = "\r\n" }
[methods."alarm.arm"]
send = "ARM $zone"
reply = '^OK (?<state>\w+)$'
refused = '^ERR (?<message>.+)$'
params.zone = { type = "integer", minimum = 1, maximum = 9 }
[methods."alarm.hang"]
send = "HANG"
reply = '^OK$'
"#;

const ECHO: &str = r#"
[simulator]
[lane]
concurrency = 256
depth = 256
[methods."echo"]
[methods."echo.slow"]
delay = "50ms"
[methods."echo.hold"]
delay = "15s"
[methods."echo.closed"]
allow = ["nobody"]
"#;

const ONE_AT_A_TIME: &str = r#"
[simulator]
[methods."one"]
delay = "400ms"
"#;

const LONG: &str = r#"
[simulator]
[methods."long"]
delay = "10s"
"#;

/// A broker with TLS, client certificates and the shipped access rules, and everything around one gateway.
pub(crate) struct Bed {
    pub(crate) broker: Mosquitto,
    pub(crate) bus: Bus,
    pub(crate) folder: TempDir,
    pub(crate) ca: Ca,
    _vehicle: Vehicle,
    tasks: JoinSet<()>,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let ca = Ca::new();
        let access = Access::GatewaysByCertificate { cloud: vec!["cloud".into()] };
        let broker = Mosquitto::with(&[Listener { tls: Some(ca.server()), access }]);
        let bus = Bus::start();
        let pace = Duration::from_millis(1);
        let vehicle = vehicle::serve(&bus.address(), "com.example.Vehicle", pace).await.unwrap();
        let (device, master) = alarm::on_pty().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            alarm::serve(master, CancellationToken::new()).await.unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let bed = Self { broker, bus, folder, ca, _vehicle: vehicle, tasks };
        bed.configure(&device);
        bed
    }

    fn configure(&self, device: &Path) {
        let Identity { ca, certificate, key } = self.ca.client(TARGET);
        let text = format!(
            "target = \"{TARGET}\"\nclock = \"untrusted\"\nstate_dir = \"{}\"\n\
             [link]\nendpoint = \"localhost:{}\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
             silence = \"2s\"\n\
             [access]\ndefault = [\"cloud-*\"]\n\
             [compat]\nclients = [\"cloud-old\"]\n\
             [bus]\naddress = \"{}\"\n\
             [ports.panel]\ndevice = \"{}\"\n\
             [log]\nformat = \"json\"\n",
            self.folder.path().join("state").display(),
            self.broker.port(),
            ca.display(),
            certificate.display(),
            key.display(),
            self.bus.address(),
            device.display(),
        );
        fs::create_dir(self.folder.path().join("methods.d")).unwrap();
        fs::write(self.config(), text).unwrap();
        let window = WINDOW.replace("@BUS@", &self.bus.address());
        for (name, map) in [
            ("window", window.as_str()),
            ("panel", PANEL),
            ("echo", ECHO),
            ("one", ONE_AT_A_TIME),
            ("long", LONG),
        ] {
            fs::write(self.folder.path().join(format!("methods.d/{name}.toml")), map).unwrap();
        }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("nowd.toml")
    }

    /// The program itself, connected.
    pub(crate) async fn gateway(&self) -> Process {
        self.gateway_with(&[]).await
    }

    /// The same with more arguments.
    pub(crate) async fn gateway_with(&self, more: &[&str]) -> Process {
        let config = self.config();
        let process = nowd(&[&["run", "--config", config.to_str().unwrap()], more].concat());
        process.wait_for_line(PATIENCE, "the link is up").await;
        process
    }

    /// A TLS connection's options with the certificate of `name`.
    pub(crate) fn options(&self, name: &str) -> Options {
        let Identity { ca, certificate, key } = self.ca.client(name);
        let mut options = Options::new(name, "localhost", self.broker.port());
        let files = TlsFiles { ca: Some(ca), certificate, key };
        options.tls = Some(Arc::new(Tls::load(&files, DatePolicy::Judge).unwrap()));
        options
    }

    /// A cloud side.
    pub(crate) async fn cloud(&mut self) -> Invoker {
        let client = Level::new("cloud").unwrap();
        let config = Config::new(self.options("cloud"), client);
        let (invoker, background) = Invoker::new(config).unwrap();
        self.tasks.spawn(background.run(CancellationToken::new()));
        within(PATIENCE, "the cloud side's connection", invoker.connected()).await;
        invoker
    }

    pub(crate) async fn observer(&mut self) -> Observer {
        Observer::new(&self.options("cloud"), &mut self.tasks).await
    }
}

/// Runs the program with these arguments.
pub(crate) fn nowd(args: &[&str]) -> Process {
    Process::spawn(env!("CARGO_BIN_EXE_nowd"), args, &[("RUST_BACKTRACE", "0")])
}

pub(crate) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

/// A call with time enough to live, however busy the machine is.
pub(crate) fn request(method: &str, json: &str) -> CallRequest {
    within_ms(method, json, 20_000)
}

pub(crate) fn within_ms(method: &str, json: &str, budget: u64) -> CallRequest {
    let level = |text: &str| Level::new(text).unwrap();
    CallRequest::new(level(TARGET), level(method), raw(json), Duration::from_millis(budget))
}

/// Status and response of an answer, in words.
pub(crate) fn words(answer: &Answer) -> String {
    format!("{} {} {}", answer.status.as_str(), answer.outcome.as_str(), answer.response.get())
}

/// Calls until the gateway answers: after a restart of something, it needs a moment.
pub(crate) async fn comes_back(cloud: &Invoker) {
    within(PATIENCE, "a good call", async {
        while cloud.invoke(within_ms("echo", "1", 1_000)).await.status.as_str() != "ok" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Calls until the gateway has found the bus as well, whose connection comes up beside that to the broker.
pub(crate) async fn finds_the_bus(cloud: &Invoker) {
    within(PATIENCE, "a call over the bus", async {
        while cloud.invoke(request("window.absent", "null")).await.status.as_str() != "refused" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Topic and payload.
type Heard = (String, Vec<u8>);

/// Hears everything, and can say anything.
pub(crate) struct Observer {
    pub(crate) sender: Sender,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Observer {
    async fn new(options: &Options, tasks: &mut JoinSet<()>) -> Self {
        let client_id = format!("observer-{}", nowd_protocol::Uuid::new_v4());
        // It may say what is too large for a gateway.
        let options = Options { client_id, max_packet_size: 256 * 1024, ..options.clone() };
        let mut connection = Connection::open(&options).await.unwrap();
        let sender = connection.sender();
        sender.subscribe(&["#"], Qos::AtLeastOnce).unwrap();
        while !matches!(connection.next().await.unwrap(), Event::Subscribed { .. }) {}
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let hears = Arc::clone(&heard);
        tasks.spawn(async move {
            while let Ok(event) = connection.next().await {
                if let Event::Message(message) = event {
                    hears.lock().unwrap().push((message.topic, message.payload.to_vec()));
                    if let Some(ack) = message.ack {
                        ack.send().unwrap();
                    }
                }
            }
        });
        Self { sender, heard }
    }

    pub(crate) fn say(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publish(topic, payload, false);
    }

    pub(crate) fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
        let payload: Vec<u8> = payload.into();
        let publish = Publish {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain,
            ..Publish::default()
        };
        self.sender.publish(publish).unwrap();
    }

    /// The payloads heard under a topic so far.
    pub(crate) fn heard(&self, topic: &str) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(t, _)| t == topic).map(|(_, payload)| payload.clone()).collect()
    }

    /// All topics heard so far.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|(topic, _)| topic.clone()).collect()
    }

    /// The topics of replies heard so far.
    pub(crate) fn replies(&self) -> Vec<String> {
        self.topics().into_iter().filter(|topic| topic.ends_with("/ack")).collect()
    }

    pub(crate) async fn hears(&self, topic: &str, text: &str) {
        let found =
            || self.heard(topic).iter().any(|payload| String::from_utf8_lossy(payload).contains(text));
        wait_for(PATIENCE, &format!("{text:?} under {topic}"), found).await;
    }
}
