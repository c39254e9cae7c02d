//! A core device: a stand-in for the nucleus, a broker with client certificates, and the component as the recipe starts it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nowd_cloud::{Answer, CallRequest, Config, Invoker};
use nowd_link::{Connection, DatePolicy, Event, Options, Qos, Tls, TlsFiles};
use nowd_protocol::Level;
use nowd_testkit::{Access, Ca, Identity, Listener, Mosquitto, Nucleus, Process, Style, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bed::{PATIENCE, raw};

/// Our component.
pub(super) const COMPONENT: &str = "io.nowd.Gateway";
/// What the gateway is called where nothing says otherwise.
pub(super) const TARGET: &str = "core-1-nowd";
/// Somebody who owns nothing.
const NOBODY: u32 = 65_534;

pub(super) const ECHO: &str =
    "[simulator]\n[lane]\nconcurrency = 8\n[methods.\"echo\"]\n[methods.\"slow\"]\ndelay = \"1500ms\"\n";

pub(super) struct Core {
    pub(super) nucleus: Nucleus,
    pub(super) broker: Mosquitto,
    pub(super) ca: Ca,
    folder: TempDir,
    tasks: JoinSet<()>,
}

/// A broker with the shipped access rules.
pub(super) fn broker(ca: &Ca) -> Mosquitto {
    let access = Access::GatewaysByCertificate { cloud: vec!["cloud".into()] };
    Mosquitto::with(&[Listener { tls: Some(ca.server()), access }])
}

impl Core {
    pub(super) fn new(style: Style) -> Self {
        let ca = Ca::new();
        let broker = broker(&ca);
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let core = Self { nucleus: Nucleus::start(style), broker, ca, folder, tasks: JoinSet::new() };
        fs::create_dir(core.work()).unwrap();
        give(&core.work());
        core.set_endpoint(core.broker.port());
        core
    }

    /// What the nucleus says of the endpoint, before anybody asks.
    pub(super) fn set_endpoint(&self, port: u16) {
        let endpoint = json!({"iotDataEndpoint": format!("localhost:{port}")});
        self.nucleus.set_configuration("aws.greengrass.Nucleus", endpoint);
    }

    /// The component's work folder.
    pub(super) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that the component may read.
    pub(super) fn copy(&self, file: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        fs::copy(file, &to).unwrap();
        give(&to);
        to
    }

    /// `link` with the gateway's own certificate.
    pub(super) fn link(&self, name: &str) -> Value {
        let Identity { ca, certificate, key } = self.ca.client(name);
        json!({
            "ca": self.copy(&ca, "ca.pem"),
            "certificate": self.copy(&certificate, &format!("{name}.pem")),
            "key": self.copy(&key, &format!("{name}.key")),
            "silence": "2s",
        })
    }

    /// A component configuration that is right.
    pub(super) fn good(&self) -> Value {
        json!({
            "accessControl": {"aws.greengrass.ipc.mqttproxy": {}},
            "nowd": {
                "clock": "untrusted",
                "link": self.link(TARGET),
                "access": {"default": "cloud-*"},
                "bus": {"serve": "false"},
                "log": {"format": "json"},
            },
            "methods.d": {"echo.toml": ECHO},
        })
    }

    /// As the recipe's script does it: another user, and nothing in the environment but what the nucleus puts there.
    pub(super) fn start(&self) -> Process {
        self.start_with(&self.nucleus.environment(COMPONENT))
    }

    /// The same as the user of this test, who may ask it on a bus of his own.
    pub(super) fn start_as_this_user(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nowd"));
        command.arg("run").arg("--state-dir").arg(self.work()).env_clear();
        command.envs(self.nucleus.environment(COMPONENT));
        Process::start(command)
    }

    fn start_with(&self, environment: &[(String, String)]) -> Process {
        let program = self.path("nowd");
        if !program.exists() {
            // By a process of its own: a program that is open for writing, here or in a child of another test, cannot be run.
            let mut install = Command::new("install");
            install.args(["-m", "755", env!("CARGO_BIN_EXE_nowd")]).arg(&program);
            assert!(install.status().unwrap().success());
        }
        let script = format!("exec {} run --state-dir {}", program.display(), self.work().display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).current_dir(self.work()).env_clear();
        command.env("PATH", "/usr/bin:/bin").envs(environment.iter().cloned());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Process::start(command)
    }

    /// The program with these arguments, as this test's own user.
    pub(super) async fn nowd(&self, args: &[&str]) -> (i32, String) {
        let mut process = Process::spawn(env!("CARGO_BIN_EXE_nowd"), args, &[]);
        let code = process.exit(PATIENCE).await.code().unwrap();
        (code, process.lines().join("\n"))
    }

    pub(super) async fn cloud(&mut self) -> Cloud {
        Cloud::at(&self.ca, self.broker.port(), &mut self.tasks).await
    }

    pub(super) async fn cloud_at(&mut self, port: u16) -> Cloud {
        Cloud::at(&self.ca, port, &mut self.tasks).await
    }

    /// What the gateway says of itself at a broker.
    pub(super) async fn presence(&self, port: u16) -> Value {
        let mut options = options(&self.ca, port);
        options.client_id = format!("observer-{port}");
        let mut connection = Connection::open(&options).await.unwrap();
        connection.sender().subscribe(&[&format!("nowd/presence/{TARGET}")], Qos::AtLeastOnce).unwrap();
        within(PATIENCE, "the presence", async {
            loop {
                if let Event::Message(message) = connection.next().await.unwrap() {
                    return serde_json::from_slice(&message.payload).unwrap();
                }
            }
        })
        .await
    }

    /// The deployment that was kept.
    pub(super) fn kept(&self) -> Value {
        fs::read_to_string(self.work().join("greengrass.json"))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }
}

/// To the user that the component runs as.
fn give(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub(super) fn options(ca: &Ca, port: u16) -> Options {
    let Identity { ca, certificate, key } = ca.client("cloud");
    let mut options = Options::new("cloud", "localhost", port);
    let files = TlsFiles { ca: Some(ca), certificate, key };
    options.tls = Some(Arc::new(Tls::load(&files, DatePolicy::Judge).unwrap()));
    options
}

/// The cloud side.
#[derive(Clone)]
pub(super) struct Cloud(Arc<Invoker>);

impl Cloud {
    async fn at(ca: &Ca, port: u16, tasks: &mut JoinSet<()>) -> Self {
        let config = Config::new(options(ca, port), Level::new("cloud").unwrap());
        let (invoker, background) = Invoker::new(config).unwrap();
        tasks.spawn(background.run(CancellationToken::new()));
        within(PATIENCE, "the cloud side's connection", invoker.connected()).await;
        Self(Arc::new(invoker))
    }

    pub(super) async fn call(&self, target: &str, method: &str) -> Answer {
        let level = |text: &str| Level::new(text).unwrap();
        let request =
            CallRequest::new(level(target), level(method), raw("\"there?\""), Duration::from_secs(20));
        self.0.invoke(request).await
    }

    pub(super) async fn status(&self, target: &str, method: &str) -> String {
        self.call(target, method).await.status.as_str().to_owned()
    }

    /// Until it answers so.
    pub(super) async fn hears(&self, target: &str, method: &str, status: &str) {
        within(PATIENCE, &format!("{status} from {method}"), async {
            while self.status(target, method).await != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}
