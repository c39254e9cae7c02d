//! The HTTP client: one connection, kept for the next call, and an answer or what is known without one.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use nowd_cloud::BootInstant;
use nowd_link::SYSTEM_CA;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::answer::Answer;
use super::place::Place;
use super::signer::Signer;
use crate::cli::{Exit, Failure};

/// A server that takes longer to be connected to is not there.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long past the timeout an answer is waited for: connecting, a cold start, and the way back.
const MARGIN: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is not used again: whoever is between may have forgotten it.
const IDLE: Duration = Duration::from_secs(20);
/// The largest answer, in bytes; nowd's are below 200 KiB.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// No bundle of authorities is larger than this, in bytes.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// Makes one call as often as it is told to.
pub(super) struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Once>,
    template: Request<Bytes>,
    signer: Option<Signer>,
    wait: Duration,
}

/// What became of a request.
pub(super) struct Heard {
    /// From the first look for a connection to the last byte.
    pub(super) took: Duration,
    pub(super) result: Result<Answer, Lost>,
}

/// There is no answer.
pub(super) struct Lost {
    /// Whether the server may have all of the request.
    pub(super) sent: bool,
    pub(super) why: String,
}

impl Client {
    pub(super) fn new(
        place: &Place,
        timeout_ms: u64,
        body: Bytes,
        key: Option<HeaderValue>,
        tls: ClientConfig,
        signer: Option<Signer>,
    ) -> anyhow::Result<Self> {
        let mut template =
            Request::post(place.call(timeout_ms)).body(body).context("the URL cannot be used")?;
        let headers = template.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("nowd-cloud/", env!("CARGO_PKG_VERSION"))));
        if let Some(key) = key {
            headers.insert("idempotency-key", key);
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECTING));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            // Only what no connection has begun to send: a kept connection may turn out to be gone.
            .retry_canceled_requests(true)
            .build(connector);
        let wait = Duration::from_millis(timeout_ms) + MARGIN;
        Ok(Self { pool, template, signer, wait })
    }

    /// A request of its own, signed now.
    pub(super) async fn request(&mut self) -> Result<Request<Bytes>, Failure> {
        let mut request = self.template.clone();
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut request).await?;
        }
        Ok(request)
    }

    /// Sends it, and waits for its answer for as long as there may be one.
    pub(super) fn send(&self, request: Request<Bytes>) -> impl Future<Output = Heard> + use<> {
        let (pool, wait) = (self.pool.clone(), self.wait);
        let sent = Arc::new(AtomicBool::new(false));
        let request = request.map(|bytes| Once { bytes: Some(bytes), taken: Arc::clone(&sent) });
        async move {
            let begun = BootInstant::now();
            let result = tokio::select! {
                result = exchange(&pool, request) => result,
                () = tokio::time::sleep(wait) => Err(format!("no answer came within {} ms", wait.as_millis())),
            };
            let lost = |why| Lost { sent: sent.load(Ordering::Relaxed), why };
            Heard { took: BootInstant::now().saturating_since(begun), result: result.map_err(lost) }
        }
    }
}

async fn exchange(
    pool: &Pool<HttpsConnector<HttpConnector>, Once>,
    request: Request<Once>,
) -> Result<Answer, String> {
    let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let response = pool.request(request).await.map_err(|error| {
        let reason = reason(&error);
        if error.is_connect() {
            format!("{host} cannot be reached: {reason}")
        } else {
            format!("the connection to {host} broke: {reason}")
        }
    })?;
    read(response).await.map_err(|error| format!("the answer of {host} cannot be read: {}", reason(&*error)))
}

async fn read(response: Response<Incoming>) -> Result<Answer, Box<dyn Error + Send + Sync>> {
    let (parts, body) = response.into_parts();
    let bytes = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
    Ok(Answer::read(&parts, &bytes))
}

/// What lies at the bottom of it.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// A body that knows whether it was taken for sending. It is never empty, so a server that did not get it cannot act.
struct Once {
    bytes: Option<Bytes>,
    taken: Arc<AtomicBool>,
}

impl Body for Once {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.store(true, Ordering::Relaxed);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

/// TLS with these authorities, or the system's, which must be there if it is needed.
pub(super) fn tls(ca: Option<&Path>, needed: bool) -> anyhow::Result<ClientConfig> {
    let file = ca.unwrap_or_else(|| Path::new(SYSTEM_CA));
    let roots = if needed || ca.is_some() {
        roots(file)
            .with_context(|| format!("{}: the file holds no authorities that can be used", file.display()))?
    } else {
        RootCertStore::empty()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut pem = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(file)?, LARGEST_FILE), &mut pem)?;
    let certificates =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().context("it is no valid PEM")?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    anyhow::ensure!(usable > 0, "there is none in it");
    Ok(roots)
}

impl Heard {
    /// Of a call that nobody waited for to the end.
    pub(super) fn abandoned() -> Self {
        let why = "it was not waited for".to_owned();
        Self { took: Duration::ZERO, result: Err(Lost { sent: true, why }) }
    }

    pub(super) fn exit(&self) -> Exit {
        match &self.result {
            Ok(answer) => answer.exit(),
            Err(Lost { sent: true, .. }) => Exit::Unknown,
            Err(Lost { sent: false, .. }) => Exit::Unreachable,
        }
    }

    /// The answer as it came, or one in its place.
    pub(super) fn json(&self) -> String {
        match &self.result {
            Ok(answer) => answer.body.trim_end().to_owned(),
            Err(lost) => {
                let error = serde_json::json!({ "code": "no_reply", "message": lost.why });
                serde_json::json!({ "id": null, "status": "no_reply", "outcome": "unknown", "response": null, "error": error })
                    .to_string()
            }
        }
    }
}
