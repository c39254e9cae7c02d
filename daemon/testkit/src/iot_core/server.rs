//! The stand-in's two ports: TLS for the data endpoint, plain loopback HTTP for credentials.
//!
//! Everything from outside is bounded: connections, headers, bodies, the time for a handshake.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::sigv4::{Judge, Wrong};
use super::{Counted, HTTPS, REGION, Shared, WEBSOCKET, clock, credentials, direct, locked, websocket};

/// What is answered.
pub(crate) type Answer = Full<Bytes>;

/// How many connections there may be at once; more are closed.
const MOST_CONNECTIONS: usize = 512;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// A request line and its headers; signed URLs are long.
const LARGEST_HEAD: usize = 64 * 1024;
/// 128 KiB is what a message may hold; what is larger must still be read to be refused in words.
const LARGEST_BODY: usize = 256 * 1024;

/// Serves both ports until it is dropped.
pub(crate) async fn serve(data: TcpListener, tls: TlsAcceptor, vending: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (accepted, tls) = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = data.accept() => (accepted, Some(tls.clone())),
            accepted = vending.accept() => (accepted, None),
        };
        // A connection that went away before it was accepted is nobody's concern.
        let Ok((stream, _)) = accepted else { continue };
        if connections.len() < MOST_CONNECTIONS {
            connections.spawn(carry(stream, tls, Arc::clone(&shared)));
        }
    }
}

/// One connection, until it ends or all are closed.
async fn carry(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut epoch = shared.epoch.subscribe();
    let work = async {
        stream.set_nodelay(true)?;
        match tls {
            Some(tls) => data_endpoint(stream, &tls, &shared).await,
            None => credentials_endpoint(stream, &shared).await,
        }
    };
    tokio::select! {
        // How a connection ends is what its two ends make of it.
        ended = work => drop::<std::io::Result<()>>(ended),
        ended = epoch.changed() => drop(ended),
    }
}

async fn credentials_endpoint(stream: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let service = service_fn(|request| async move {
        Ok::<_, std::convert::Infallible>(credentials::give(&request, shared))
    });
    http().serve_connection(TokioIo::new(stream), service).await.map_err(std::io::Error::other)
}

async fn data_endpoint(stream: TcpStream, tls: &TlsAcceptor, shared: &Arc<Shared>) -> std::io::Result<()> {
    let stream = tokio::select! {
        stream = tls.accept(stream) => stream?,
        () = tokio::time::sleep(HANDSHAKE_WITHIN) => return Ok(()),
    };
    shared.handshakes.fetch_add(1, Ordering::SeqCst);
    let _connected = Counted::new(&shared.connected);
    if stream.get_ref().1.server_name().is_none() {
        locked(&shared.state).refuse("TLS without a server name (SNI)");
        return Ok(());
    }
    let upgrade = Mutex::new(None);
    let service = service_fn(|request| answer(request, shared, &upgrade));
    let connection = http().serve_connection(TokioIo::new(stream), service).with_upgrades();
    connection.await.map_err(std::io::Error::other)?;
    let upgrade = locked(&upgrade).take();
    match upgrade {
        Some(upgrade) => {
            let stream = upgrade.await.map_err(std::io::Error::other)?;
            websocket::pipe(TokioIo::new(stream), shared).await
        }
        None => Ok(()),
    }
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(LARGEST_HEAD);
    http
}

async fn answer(
    mut request: Request<Incoming>,
    shared: &Arc<Shared>,
    upgrade: &Mutex<Option<OnUpgrade>>,
) -> std::io::Result<Response<Answer>> {
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await.map(Collected::to_bytes) else {
        let code = "RequestEntityTooLargeException";
        return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, code, "the body is too large"));
    };
    if let Err(wrong) = admit(&parts, &body, shared) {
        locked(&shared.state).refuse(wrong.0);
        return Ok(forbidden());
    }
    if parts.uri.path() != "/mqtt" {
        return direct::answer(&parts, &body, shared).await;
    }
    let mut state = locked(&shared.state);
    if state.refuse_upgrades > 0 {
        state.refuse_upgrades -= 1;
        state.refuse("as the test said");
        return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", "not now"));
    }
    state.accepted += 1;
    *locked(upgrade) = Some(on_upgrade);
    Ok(websocket::switching(&parts))
}

/// Whether the request is signed well, and asks for what there is where it asks for a WebSocket.
fn admit(parts: &Parts, body: &[u8], shared: &Shared) -> Result<(), Wrong> {
    let state = locked(&shared.state);
    let credentials = &state.credentials;
    let judge = |service| Judge { region: REGION, service, credentials, now: clock::now() };
    if parts.uri.path() == "/mqtt" {
        judge(WEBSOCKET).presigned(parts)?;
        websocket::is_wanted(parts)
    } else {
        judge(HTTPS).in_headers(parts, body)
    }
}

/// As AWS IoT Core refuses.
pub(crate) fn forbidden() -> Response<Answer> {
    refusal(StatusCode::FORBIDDEN, "ForbiddenException", "Forbidden")
}

/// An error in AWS's form.
pub(crate) fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Answer> {
    let trace = format!("{:016x}-{:016x}", fastrand::u64(..), fastrand::u64(..));
    let mut response = json(status, &serde_json::json!({ "message": message, "traceId": trace }));
    let code = http::HeaderValue::from_str(code).expect("codes are words");
    response.headers_mut().insert("x-amzn-errortype", code);
    response
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Answer> {
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
