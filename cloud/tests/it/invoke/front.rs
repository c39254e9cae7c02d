//! A small HTTPS server that keeps what it was sent, and always gives the same answer.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops; this is not in a function marked as one"
)]

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use nowd_testkit::{Ca, Identity};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// An HTTP request as it came.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Until the connection ends, or something else than a request comes.
pub(super) fn read_request(stream: &mut impl Read) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n").map(str::to_owned);
    let line = lines.next().unwrap();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").unwrap();
    let mut body = vec![0; length.1.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(Received { line, headers, body: String::from_utf8(body).unwrap() })
}

/// An HTTPS server that gives the answer it was told, to every request on any number of connections.
pub(super) struct Front {
    address: SocketAddr,
    pub(super) ca: Ca,
    seen: Arc<Mutex<Vec<Received>>>,
    pub(super) connections: Arc<Mutex<usize>>,
}

impl Front {
    pub(super) fn start((head, body): Canned) -> Self {
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer: Arc<str> = answer.into();
        let ca = Ca::new();
        let tls = Arc::new(server_config(&ca.server()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::default(), Arc::default());
        let front = Self { address, ca, seen: Arc::clone(&seen), connections: Arc::clone(&connections) };
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                *connections.lock().unwrap() += 1;
                let (tls, seen, answer) = (Arc::clone(&tls), Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve_connection(stream, tls, &seen, &answer));
            }
        });
        front
    }

    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}/Prod", self.address.port())
    }

    pub(super) fn seen(&self) -> Vec<Received> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve_connection(stream: TcpStream, tls: Arc<ServerConfig>, seen: &Mutex<Vec<Received>>, answer: &str) {
    let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
    while let Some(request) = read_request(&mut stream) {
        seen.lock().unwrap().push(request);
        if stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

fn server_config(identity: &Identity) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(&identity.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// An HTTP answer, but for its length.
pub(super) type Canned = (&'static str, &'static str);
