//! A private bus and a service on it that counts what reaches it.

#![expect(
    clippy::many_single_char_names,
    clippy::type_complexity,
    clippy::unused_self,
    reason = "D-Bus dictates the form of the service's methods"
)]

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nowd_plugin::map::MapSource;
use nowd_plugin::{Call, CancellationToken, Completion, Deadline, Plugin};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use uuid::Uuid;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedVariant, Signature, fdo, interface};

use crate::DbusPlugin;

pub(crate) const NAME: &str = "com.example.Window1";
pub(crate) const PATH: &str = "/com/example/window/left";

/// Long enough for a busy machine: no test waits that long unless it fails.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A `dbus-daemon` of one's own, ended with the value.
pub(crate) struct PrivateBus {
    dir: TempDir,
    daemon: Option<Child>,
}

impl PrivateBus {
    pub(crate) async fn start() -> Self {
        let mut bus = Self::absent();
        bus.restart().await;
        bus
    }

    /// A bus that is not there yet.
    pub(crate) fn absent() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), daemon: None }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.dir.path().join("bus").display())
    }

    pub(crate) async fn restart(&mut self) {
        let config = self.dir.path().join("bus.conf");
        let text = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
            "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
            <busconfig><listen>{}</listen><policy context="default">
            <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
            <deny send_destination="{NAME}" send_interface="{NAME}" send_member="Forbidden"/>
            </policy></busconfig>"#,
            self.address()
        );
        std::fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut first_line = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut first_line).await.unwrap();
        assert!(first_line.starts_with("unix:"), "{first_line:?}");
        self.daemon = Some(daemon);
    }

    pub(crate) async fn kill(&mut self) {
        self.daemon.take().unwrap().kill().await.unwrap();
        std::fs::remove_file(self.dir.path().join("bus")).unwrap();
    }

    /// Stops the daemon from reading anything, or lets it go on.
    pub(crate) async fn freeze(&self, frozen: bool) {
        let pid = self.daemon.as_ref().and_then(Child::id).unwrap();
        let command = format!("kill -{} {pid}", if frozen { "STOP" } else { "CONT" });
        assert!(Command::new("sh").args(["-c", &command]).status().await.unwrap().success());
    }

    pub(crate) fn map(&self, methods: &str) -> MapSource {
        let address = self.address();
        let text = format!(
            "[dbus]\nbus = {address:?}\ndestination = \"{NAME}\"\npath = \"{PATH}\"\ninterface = \"{NAME}\"\n{methods}"
        );
        MapSource { file: "window.toml".into(), text }
    }
}

/// The plugin, with its connection kept up by a task.
pub(crate) struct Rig {
    pub(crate) plugin: Arc<DbusPlugin>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Rig {
    pub(crate) fn start(map: &MapSource) -> Self {
        Self::of(std::slice::from_ref(map))
    }

    pub(crate) fn of(maps: &[MapSource]) -> Self {
        let plugin = DbusPlugin::load(maps).unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&plugin).run(stop.clone()));
        Self { plugin, stop, tasks }
    }

    /// Waits until the bus is or is not there.
    pub(crate) async fn up(&self, wanted: bool) {
        until("the connection", || self.plugin.buses[0].is_up() == wanted).await;
    }

    pub(crate) async fn call(&self, method: &str, params: Value) -> Completion {
        self.invoke(&Call::new(Uuid::new_v4(), method, params, Deadline::after(LONG))).await
    }

    /// Waits until every object has been asked what it is, and what is wrong has been told.
    pub(crate) async fn told(&self, count: usize) -> Vec<String> {
        until("what is wrong", || self.plugin.buses[0].told().len() >= count).await;
        self.plugin.buses[0].told()
    }

    pub(crate) async fn invoke(&self, call: &Call) -> Completion {
        within(self.plugin.invoke(call)).await
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        within(self.tasks.join_next()).await.unwrap().unwrap();
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Deadline::after(LONG);
    while !condition() {
        assert!(deadline.check().is_ok(), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits for a future that must end.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::select! {
        result = future => result,
        () = tokio::time::sleep(LONG) => panic!("it did not end"),
    }
}

/// What a service was asked.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: AtomicU32,
    pub(crate) hanging: AtomicU32,
}

impl Seen {
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

/// A window.
pub(crate) struct Window {
    seen: Arc<Seen>,
    position: u32,
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "com.example.Error")]
enum WindowError {
    #[zbus(error)]
    ZBus(zbus::Error),
    Interlock(String),
    Jammed(String),
}

#[interface(name = "com.example.Window1")]
impl Window {
    #[expect(clippy::too_many_arguments, reason = "one of each basic type")]
    fn basics(
        &self,
        y: u8,
        b: bool,
        n: i16,
        q: u16,
        i: i32,
        u: u32,
        x: i64,
        t: u64,
        d: f64,
        s: String,
        o: ObjectPath<'_>,
        g: Signature,
    ) -> (u8, bool, i16, u16, i32, u32, i64, u64, f64, String, ObjectPath<'static>, Signature) {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        (y, b, n, q, i, u, x, t, d, s, o.into_owned(), g)
    }

    fn containers(
        &self,
        bytes: Vec<u8>,
        pairs: Vec<(String, u32)>,
        dict: HashMap<String, OwnedVariant>,
        variant: OwnedVariant,
    ) -> (Vec<u8>, Vec<(String, u32)>, HashMap<String, OwnedVariant>, OwnedVariant) {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        (bytes, pairs, dict, variant)
    }

    fn move_to(&mut self, percent: u32) -> u32 {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        self.position = percent;
        percent
    }

    /// Starts a job; its end is told before the reply, among others'.
    async fn job(
        &self,
        how: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> fdo::Result<(u32, ObjectPath<'static>)> {
        let job = |id: u32| ObjectPath::try_from(format!("/job/{id}")).unwrap();
        let others = if how == "flood" { 600 } else { 3 };
        for id in 1..others {
            Self::job_ended(&emitter, id, job(id), "done").await?;
        }
        let mine = SignalEmitter::new(emitter.connection(), job(7_000)).unwrap();
        if how == "elsewhere" {
            Self::job_ended(&mine, 7_000, job(7_000), "done").await?;
        } else if how != "never" {
            Self::job_ended(&emitter, 7_000, job(7_000), "running").await?;
            Self::job_ended(&emitter, 7_000, job(7_000), &how).await?;
        }
        Ok((7_000, job(7_000)))
    }

    #[zbus(signal)]
    async fn job_ended(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        result: &str,
    ) -> zbus::Result<()>;

    fn take_file(&self, file: zbus::OwnedFd) {
        drop(file);
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
    }

    fn big(&self, length: u32) -> String {
        "x".repeat(length.try_into().unwrap())
    }

    fn nothing(&self) {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
    }

    fn forbidden(&self) {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
    }

    fn interlock(&self) -> Result<(), WindowError> {
        Err(WindowError::Interlock("a hand\nis in the way".into()))
    }

    fn jam(&self) -> Result<(), WindowError> {
        Err(WindowError::Jammed("x".repeat(1_000)))
    }

    async fn hang(&self) {
        self.seen.hanging.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }

    /// Starts the work; "before" and "after" say when the signal is sent, "other" sends another one's first.
    async fn start(
        &self,
        when: String,
        id: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> fdo::Result<()> {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        if when == "before" {
            Self::moved(&emitter, "somebody else", 1).await?;
            Self::moved(&emitter, &id, 40).await?;
        } else if when == "after" {
            let emitter = emitter.to_owned();
            let work = async move {
                // Long after the reply has been sent.
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(Self::moved(&emitter, &id, 41).await);
            };
            let mut later = JoinSet::new();
            later.spawn(work);
            later.detach_all();
        }
        Ok(())
    }

    #[zbus(signal)]
    async fn moved(emitter: &SignalEmitter<'_>, id: &str, percent: u32) -> zbus::Result<()>;

    #[zbus(property)]
    fn position(&self) -> u32 {
        self.position
    }

    #[zbus(property)]
    fn set_position(&mut self, percent: u32) {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        self.position = percent;
    }

    #[zbus(property)]
    fn serial_number(&self) -> String {
        "w-1".into()
    }
}

/// Puts the window on a bus.
pub(crate) async fn serve(bus: &PrivateBus) -> (Connection, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    (window(bus, Arc::clone(&seen)).build().await.unwrap(), seen)
}

/// A window that is about to be put on a bus.
pub(crate) fn window(bus: &PrivateBus, seen: Arc<Seen>) -> zbus::connection::Builder<'static> {
    let builder = zbus::connection::Builder::address(bus.address().as_str());
    builder.serve_at(PATH, Window { seen, position: 7 }).name(NAME)
}

/// A service without the window.
pub(crate) async fn elsewhere(bus: &PrivateBus) -> Connection {
    let window = Window { seen: Arc::default(), position: 7 };
    let builder = zbus::connection::Builder::address(bus.address().as_str());
    builder.serve_at("/com/example/door", window).name(NAME).build().await.unwrap()
}

/// Puts the window on a connection that is there.
pub(crate) async fn export(service: &Connection) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    let window = Window { seen: Arc::clone(&seen), position: 7 };
    assert!(service.object_server().at(PATH, window).await.unwrap().is_none());
    seen
}
