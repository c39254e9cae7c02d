//! A stand-in for AWS IoT Core's data endpoint: one TLS port before a real mosquitto, for MQTT over WebSocket and for
//! Direct Messaging, and a loopback server that gives out the credentials to sign with.
//!
//! It believes no signature that AWS would not believe, and computes each by itself. It runs on a thread of its own, so
//! that a test which blocks does not stop it.

mod clock;
mod credentials;
mod direct;
mod mqtt;
mod server;
mod sigv4;
mod websocket;

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use credentials::Credentials;
pub use direct::{DirectAnswer, DirectMessage};

use crate::certificates::Ca;
use crate::mosquitto::{Mosquitto, SharedLog};

/// The region that requests must be signed for.
pub const REGION: &str = "eu-west-1";
/// The service that a WebSocket must be signed for.
const WEBSOCKET: &str = "iotdevicegateway";
/// The service that an HTTPS request must be signed for: what AWS's own SDKs put there, although their documentation names
/// the other.
const HTTPS: &str = "iotdata";
/// Credentials last this long unless the test says otherwise.
const LIFETIME: i64 = 3_600;
/// How many of each kind of thing are kept for the test to look at.
const MOST_KEPT: usize = 10_000;

/// A running stand-in. Ends, with all its connections, when dropped.
///
/// Clients reach it as `localhost`: it asks for a server name in TLS, as AWS does.
#[derive(Debug)]
pub struct IotCore {
    port: u16,
    vending: u16,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Raised by [`IotCore::close_all`].
    pub(crate) epoch: watch::Sender<u64>,
    /// TLS connections, ever and now, and those that are a WebSocket.
    pub(crate) handshakes: AtomicUsize,
    pub(crate) connected: AtomicUsize,
    pub(crate) open: AtomicUsize,
    pub(crate) broker: u16,
    /// The broker's.
    pub(crate) log: SharedLog,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) credentials: Credentials,
    /// Seconds.
    pub(crate) lifetime: i64,
    pub(crate) asked_for_credentials: usize,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    pub(crate) reasons: Vec<&'static str>,
    pub(crate) refuse_upgrades: usize,
    pub(crate) client_ids: Vec<String>,
    pub(crate) direct_messages: Vec<DirectMessage>,
    pub(crate) direct_answers: VecDeque<DirectAnswer>,
}

impl State {
    pub(crate) fn refuse(&mut self, why: &'static str) {
        self.refused += 1;
        keep(&mut self.reasons, why);
    }

    pub(crate) fn came(&mut self, client_id: String) {
        keep(&mut self.client_ids, client_id);
    }
}

impl IotCore {
    /// Starts before the first listener of `broker`, which must be a plain one; its certificate is of `ca`.
    #[must_use]
    pub fn start(ca: &Ca, broker: &Mosquitto) -> Self {
        let tls = acceptor(ca);
        let (data, port) = listen();
        let (credentials, vending) = listen();
        let state = State {
            credentials: Credentials::random(),
            lifetime: LIFETIME,
            asked_for_credentials: 0,
            accepted: 0,
            refused: 0,
            reasons: Vec::new(),
            refuse_upgrades: 0,
            client_ids: Vec::new(),
            direct_messages: Vec::new(),
            direct_answers: VecDeque::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            epoch: watch::Sender::new(0),
            handshakes: AtomicUsize::new(0),
            connected: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            broker: broker.port(),
            log: broker.shared_log(),
        });
        let (stop, mut stopped) = watch::channel(false);
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(async {
                let data = tokio::net::TcpListener::from_std(data).expect("a listener fits the runtime");
                let credentials =
                    tokio::net::TcpListener::from_std(credentials).expect("a listener fits the runtime");
                tokio::select! {
                    () = server::serve(data, tls, credentials, theirs) => {}
                    ended = stopped.wait_for(|stop| *stop) => drop(ended),
                }
            });
        });
        Self { port, vending, shared, stop, thread: Some(thread) }
    }

    /// The data endpoint as AWS states one, without a scheme: `localhost:40123`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The data endpoint's port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The value for `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    #[must_use]
    pub fn credentials_uri(&self) -> String {
        format!("http://127.0.0.1:{}/credentials", self.vending)
    }

    /// The credentials that are valid now.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.state().credentials.clone()
    }

    /// New credentials: the old ones open nothing any more. Connections stay. Who keeps credentials until they expire asks
    /// for new ones only then: see [`Self::set_lifetime`].
    pub fn rotate(&self) {
        self.state().credentials = Credentials::random();
    }

    /// Credentials given out from now on say that they expire after this; an hour, unless set.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.state().lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(LIFETIME);
    }

    /// How often somebody asked for credentials.
    #[must_use]
    pub fn asked_for_credentials(&self) -> usize {
        self.state().asked_for_credentials
    }

    /// Cuts every connection, as a broker does with a client that was silent. New ones are welcome.
    pub fn close_all(&self) {
        self.shared.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// How many connections are an open WebSocket.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many TLS connections there are, whatever they are used for.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::SeqCst)
    }

    /// How many TLS connections there have been.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.shared.handshakes.load(Ordering::SeqCst)
    }

    /// How many upgrades to WebSocket were accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.state().accepted
    }

    /// How many requests were refused for what they said of themselves, or by [`Self::refuse_upgrades`].
    #[must_use]
    pub fn refused(&self) -> usize {
        self.state().refused
    }

    /// Why; the client hears only that it is forbidden.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        self.state().reasons.clone()
    }

    /// The next `count` upgrades that are signed well are answered with 503.
    pub fn refuse_upgrades(&self, count: usize) {
        self.state().refuse_upgrades = count;
    }

    /// The MQTT client ids that came over WebSocket, one for each connection, in order.
    #[must_use]
    pub fn client_ids(&self) -> Vec<String> {
        self.state().client_ids.clone()
    }

    /// The direct messages that were signed well and well formed, in order.
    #[must_use]
    pub fn direct_messages(&self) -> Vec<DirectMessage> {
        self.state().direct_messages.clone()
    }

    /// Answers one of the next direct messages so, in the order of these calls, and not as the broker's log says.
    pub fn answer_direct(&self, answer: DirectAnswer) {
        self.state().direct_answers.push_back(answer);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.shared.state)
    }
}

impl Drop for IotCore {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // What went wrong there was said by its panic.
            drop(thread.join());
        }
        if std::thread::panicking() {
            eprintln!("--- refused by the stand-in for IoT Core: {:?}", self.reasons());
        }
    }
}

/// Counts something for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn keep<T>(kept: &mut Vec<T>, new: T) {
    if kept.len() < MOST_KEPT {
        kept.push(new);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    listener.set_nonblocking(true).expect("a listener need not block");
    let port = listener.local_addr().expect("a listener has an address").port();
    (listener, port)
}

fn acceptor(ca: &Ca) -> TlsAcceptor {
    let files = ca.server();
    let pem = fs::read(&files.certificate).expect("a certificate just written can be read");
    let chain =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().expect("this is a certificate");
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("this is a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the usual versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key is the certificate's");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
