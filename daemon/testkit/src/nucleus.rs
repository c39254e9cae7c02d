//! A stand-in for the Greengrass v2 nucleus, classic or lite: the documented protocol over a Unix socket, with framing of
//! its own.
//!
//! It does what the sources of the two do where that differs from what one would think, and what a test tells it to do wrong. It runs
//! on a thread of its own, so that a test which blocks does not stop it. It starts no processes: a test does, with
//! [`Nucleus::environment`].

mod bridge;
mod deployment;
mod faults;
mod frame;
mod operations;
mod server;
mod state;
mod store;
mod topics;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};

use crate::mosquitto::Mosquitto;
use deployment::Deployment;
use state::State;

/// Which nucleus it is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The one in Java: serves everything, says no in words.
    Classic,
    /// The one in C: serves less, takes and makes no frame beyond 10,000 bytes, hands on topic and payload only, loses what
    /// is longer than 5,000 bytes, closes where it refuses a token.
    Lite,
}

/// What goes wrong with one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is none.
    Silent,
    /// It is something else.
    Garbage,
    /// Its checksum is wrong.
    WrongSum,
    /// Half of it, and the end of the connection.
    CutOff,
    /// Half of it, and nothing more.
    Stuck,
    /// It says that it is 3 GiB long.
    Huge,
    /// The connection ends instead.
    Close,
    /// The nucleus says that the protocol was broken.
    ProtocolError,
    /// The operation is refused with this code, and not done.
    Refused(&'static str),
    /// A subscription is granted, and nothing ever comes of it.
    Deaf,
}

/// How a deployment has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployed {
    /// The configuration is merged.
    Succeeded,
    /// The component rejected it, with these words.
    Rejected(String),
    /// The nucleus could not do it, for this reason.
    Failed(&'static str),
    /// The component was asked to validate it and has not answered in time.
    Unanswered,
}

/// A component's wish that a deployment waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// Whose.
    pub component: String,
    /// Which deployment.
    pub deployment: String,
    /// When to ask again; zero lets it go on.
    pub recheck_after: Duration,
    /// Why.
    pub message: Option<String>,
}

/// A message that a component has published to AWS IoT Core, or that comes from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Whose; empty for one that comes from there.
    pub component: String,
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// 0 or 1.
    pub qos: u8,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// MQTT 5, as all that follows.
    pub user_properties: Vec<(String, String)>,
    /// Seconds.
    pub expiry: Option<u64>,
    /// What the answer is to repeat.
    pub correlation_data: Option<Vec<u8>>,
    /// Where the answer is to go.
    pub response_topic: Option<String>,
    /// A MIME type.
    pub content_type: Option<String>,
}

/// A running stand-in. Ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Nucleus {
    folder: TempDir,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Nothing is sent while this is true.
    held: watch::Sender<bool>,
}

/// From the handle to the thread.
#[derive(Debug)]
enum Command {
    Listen(UnixListener),
    Unlisten(PathBuf, oneshot::Sender<()>),
    Deploy(Deployment),
    Stop,
}

impl Nucleus {
    /// One whose AWS IoT Core is in memory: what components publish reaches those that have subscribed, and
    /// [`Self::published`].
    #[must_use]
    pub fn start(style: Style) -> Self {
        Self::with(style, None)
    }

    /// One whose AWS IoT Core is the first listener of `broker`, which must be a plain one; its client id is the thing name.
    #[must_use]
    pub fn bridged(style: Style, broker: &Mosquitto) -> Self {
        Self::with(style, Some(broker.port()))
    }

    fn with(style: Style, broker: Option<u16>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        // Components run as other users.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let state = State {
            style,
            thing: "core-1".to_owned(),
            components: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ever: 0,
            strangers: 0,
            refused: BTreeMap::new(),
            faults: BTreeMap::new(),
            delay: Duration::ZERO,
            taking_back: Duration::ZERO,
            taken_back: Vec::new(),
            validation: Duration::from_secs(20),
            notice: Duration::from_secs(60),
            reports: BTreeMap::new(),
            waiting: BTreeMap::new(),
            deferrals: Vec::new(),
            outcomes: BTreeMap::new(),
            published: Vec::new(),
            calls: BTreeMap::new(),
            bridge: None,
            online: false,
            mistakes: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), held: watch::Sender::new(false) });
        let (commands, queued) = mpsc::channel(256);
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(server::serve(theirs, queued, broker));
        });
        let nucleus = Self { folder, shared, commands, thread: Some(thread) };
        nucleus.listen();
        nucleus
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("ipc.socket")
    }

    /// The token of a component, which is made known if it is not.
    #[must_use]
    pub fn token(&self, component: &str) -> String {
        let mut state = self.state();
        let entry = state.components.entry(component.to_owned()).or_default();
        if entry.token.is_empty() {
            // Sixteen characters, as those of lite.
            entry.token = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
        }
        entry.token.clone()
    }

    /// The component's token is another one from now on, as after a start; open connections stay.
    pub fn rotate_token(&self, component: &str) {
        self.state().components.entry(component.to_owned()).or_default().token.clear();
        drop(self.token(component));
    }

    /// What the nucleus would start the component's process with.
    #[must_use]
    pub fn environment(&self, component: &str) -> Vec<(String, String)> {
        let socket = self.socket().to_str().expect("temporary directories have readable names").to_owned();
        let thing = self.state().thing.clone();
        [
            ("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", socket),
            ("SVCUID", self.token(component)),
            ("AWS_IOT_THING_NAME", thing),
            ("AWS_REGION", crate::iot_core::REGION.to_owned()),
            ("GGC_VERSION", "2.14.0".to_owned()),
            ("GG_ROOT_CA_PATH", String::new()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// The core's thing name: `core-1` unless set. A bridge keeps the one that it began with.
    pub fn set_thing_name(&self, thing: &str) {
        thing.clone_into(&mut self.state().thing);
    }

    /// Sets a component's whole configuration, and tells nobody: as it was before the component started. Also for
    /// `aws.greengrass.Nucleus` and for components of data only.
    pub fn set_configuration(&self, component: &str, configuration: Value) {
        self.state().components.entry(component.to_owned()).or_default().configuration = configuration;
    }

    /// A component's configuration.
    #[must_use]
    pub fn configuration(&self, component: &str) -> Value {
        self.state().components.get(component).map(|found| found.configuration.clone()).unwrap_or_default()
    }

    /// Merges into a component's configuration at once and tells those who have subscribed, one event for each leaf.
    pub fn merge(&self, component: &str, new: &Value) {
        self.state().merge(component, new);
    }

    /// A deployment with this merge: announced and validated where the nucleus and the component know how, then merged.
    /// Returns its id; how it ends is [`Self::deployed`].
    #[must_use]
    pub fn deploy(&self, component: &str, merge: Value) -> String {
        let id = format!("deployment-{:08x}", fastrand::u32(..));
        let deployment = Deployment { id: id.clone(), component: component.to_owned(), merge };
        self.command(Command::Deploy(deployment));
        id
    }

    /// How a deployment has ended; nothing until it has.
    #[must_use]
    pub fn deployed(&self, id: &str) -> Option<Deployed> {
        self.state().outcomes.get(id).cloned()
    }

    /// How long a deployment waits for a report before it fails: 20 s unless set.
    pub fn set_validation_bound(&self, bound: Duration) {
        self.state().validation = bound;
    }

    /// How long it waits for a deferral before it goes on: 60 s unless set.
    pub fn set_notice_bound(&self, bound: Duration) {
        self.state().notice = bound;
    }

    /// Every deferral that was taken, in order; also those of zero.
    #[must_use]
    pub fn deferrals(&self) -> Vec<Deferral> {
        self.state().deferrals.clone()
    }

    /// The states that a component has reported, in order.
    #[must_use]
    pub fn states(&self, component: &str) -> Vec<String> {
        self.state().components.get(component).map(|found| found.states.clone()).unwrap_or_default()
    }

    /// A message from the cloud to the components that have subscribed. Not for a bridged one: its broker has them.
    pub fn publish(&self, topic: &str, payload: &[u8]) {
        let message =
            Published { topic: topic.to_owned(), payload: payload.to_vec(), qos: 1, ..Published::default() };
        self.publish_message(&message);
    }

    /// The same with everything that a message may have.
    pub fn publish_message(&self, message: &Published) {
        self.state().deliver(message);
    }

    /// What components have published to AWS IoT Core, in order.
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        self.state().published.clone()
    }

    /// How often an operation was called: `GetConfiguration`; and `PingResponse`, for answers to pings.
    #[must_use]
    pub fn calls(&self, operation: &str) -> usize {
        self.state().calls.get(operation).copied().unwrap_or_default()
    }

    /// The operations' subscriptions that are open, of a component, in no order.
    #[must_use]
    pub fn subscriptions(&self, component: &str) -> usize {
        let state = self.state();
        let sessions = state.sessions.values().filter(|session| session.component == component);
        sessions.map(|session| session.subscriptions.len()).sum()
    }

    /// How many connections are open and accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state().sessions.len()
    }

    /// How many connections were ever accepted.
    #[must_use]
    pub fn ever_connected(&self) -> u64 {
        self.state().ever
    }

    /// How many connections were refused for their token.
    #[must_use]
    pub fn strangers(&self) -> usize {
        self.state().strangers
    }

    /// What clients did against the protocol.
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        self.state().mistakes.clone()
    }

    fn command(&self, command: Command) {
        assert!(self.commands.try_send(command).is_ok(), "the stand-in for the nucleus has ended");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.shared.state)
    }
}

impl Drop for Nucleus {
    fn drop(&mut self) {
        drop(self.commands.try_send(Command::Stop));
        if let Some(thread) = self.thread.take() {
            // What went wrong there was said by its panic.
            drop(thread.join());
        }
        if std::thread::panicking() {
            let calls = json!(self.state().calls);
            eprintln!("--- the stand-in for the nucleus: calls {calls}, mistakes {:?}", self.mistakes());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
