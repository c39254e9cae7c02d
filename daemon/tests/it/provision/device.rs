//! A device that is provisioned, by the real program.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nowd_cloud::{CallRequest, Config, Invoker};
use nowd_protocol::Level;
use nowd_testkit::{Access, Identity, Process, within};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::service::Service;
use crate::bed::{PATIENCE, nowd, raw};

pub(super) const THING: &str = "gw-0815";

/// A device fresh from the factory, but for its claim.
pub(super) struct Device {
    pub(super) service: Service,
    pub(super) folder: TempDir,
}

impl Device {
    pub(super) async fn new() -> Self {
        Self::at(Service::start(Access::Everything).await)
    }

    pub(super) fn at(service: Service) -> Self {
        let device = Self { service, folder: tempfile::tempdir().unwrap() };
        // As a device tree has it.
        fs::write(device.folder.path().join("serial-number"), "0815\0").unwrap();
        fs::create_dir(device.folder.path().join("methods.d")).unwrap();
        let echo = "[simulator]\n[methods.\"echo\"]\n";
        fs::write(device.folder.path().join("methods.d/echo.toml"), echo).unwrap();
        device.configure("");
        device
    }

    /// Writes the configuration, with more lines at its beginning.
    pub(super) fn configure(&self, more: &str) {
        let Identity { ca, certificate, key } = self.service.ca.client("claim");
        let folder = self.folder.path();
        let text = format!(
            "{more}\nclock = \"untrusted\"\nstate_dir = \"{}\"\n\
             [link]\nca = \"{}\"\nsilence = \"2s\"\n\
             [access]\ndefault = [\"cloud-*\"]\n\
             [bus]\nserve = false\n\
             [provisioning]\nendpoint = \"localhost:{}\"\ntemplate = \"fleet\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
             parameters.SerialNumber = {{ file = \"{}\" }}\n\
             parameters.Site = \"north\"\n",
            folder.join("state").display(),
            ca.display(),
            self.service.broker.port(),
            certificate.display(),
            key.display(),
            folder.join("serial-number").display(),
        );
        fs::write(self.config(), text).unwrap();
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("nowd.toml")
    }

    pub(super) fn identity(&self, file: &str) -> PathBuf {
        self.folder.path().join("state/identity").join(file)
    }

    pub(super) fn start(&self, args: &[&str]) -> Process {
        nowd(&[args, &["--config", self.config().to_str().unwrap()]].concat())
    }

    pub(super) async fn run(&self, args: &[&str]) -> (i32, String) {
        let mut process = self.start(args);
        let code = process.exit(PATIENCE).await.code().unwrap();
        (code, process.lines().join("\n"))
    }

    /// The certificate that counts.
    pub(super) fn certificate(&self) -> Option<String> {
        let text = fs::read_to_string(self.identity("identity.toml")).ok()?;
        let table: toml::Table = toml::from_str(&text).unwrap();
        Some(table.get("certificate_id").unwrap().as_str().unwrap().to_owned())
    }

    pub(super) async fn provisioned(&self) {
        let (code, text) = self.run(&["provision"]).await;
        assert!(code == 0 && text.contains(&format!("done: this gateway is {THING}")), "{code}: {text}");
    }

    /// The daemon starts with what is there, and answers.
    pub(super) async fn serves(&self) -> Process {
        let gateway = self.start(&["run"]);
        gateway.wait_for_line(PATIENCE, "the link is up").await;
        self.answers().await;
        gateway
    }

    pub(super) async fn answers(&self) {
        let level = |text: &str| Level::new(text).unwrap();
        let (invoker, background) =
            Invoker::new(Config::new(self.service.options("cloud"), level("cloud"))).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(background.run(CancellationToken::new()));
        within(PATIENCE, "an answer", async {
            loop {
                let request =
                    CallRequest::new(level(THING), level("echo"), raw("\"there?\""), Duration::from_secs(1));
                if invoker.invoke(request).await.status.as_str() == "ok" {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}
