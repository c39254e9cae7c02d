//! From a host and a port to a byte stream: name, TCP with its options set, TLS. Knows nothing of MQTT.

use std::net::SocketAddr;
use std::time::Duration;

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::error::LinkError;
use crate::options::Options;

/// What MQTT can be spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is spoken over the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT; said by ALPN on port 443.
    Mqtt,
    /// HTTP, for a WebSocket; nothing is said by ALPN.
    Http,
}

/// Dials `host` and `port` of the options, by TLS where they have it. Bounded by `connect_timeout` only in so far as
/// several addresses share it: whoever calls this bounds the whole.
pub async fn dial(options: &Options, protocol: Protocol) -> Result<Box<dyn Stream>, LinkError> {
    let host = &options.host;
    let unresolved = |source| LinkError::Resolve { host: host.clone(), source };
    let addresses: Vec<_> = lookup_host((host.as_str(), options.port))
        .await
        .map_err(|source| unresolved(Some(source)))?
        .collect();
    if options.tls.is_none() && !options.allow_plain && !addresses.iter().all(|a| a.ip().is_loopback()) {
        return Err(LinkError::PlainNotLoopback { host: host.clone() });
    }
    let tcp = connect(&addresses, options).await?.ok_or_else(|| unresolved(None))?;
    let Some(tls) = &options.tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(host.clone())
        .map_err(|_| LinkError::Options { what: "the broker's host is no host name and no address" })?;
    let connector = TlsConnector::from(tls.config(protocol, options.port));
    match connector.connect(name, tcp).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(LinkError::from_handshake(error, host)),
    }
}

/// The first address that answers; nothing if there are no addresses.
async fn connect(addresses: &[SocketAddr], options: &Options) -> Result<Option<TcpStream>, LinkError> {
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let share = options.connect_timeout / count;
    let mut failed = None;
    for &address in addresses {
        let attempt = async {
            tokio::select! {
                connected = connect_one(address, options.user_timeout) => connected,
                () = tokio::time::sleep(share) => Err(std::io::ErrorKind::TimedOut.into()),
            }
        };
        match attempt.await {
            Ok(stream) => return Ok(Some(stream)),
            Err(source) => failed = Some(LinkError::Dial { address, source }),
        }
    }
    failed.map_or(Ok(None), Err)
}

async fn connect_one(address: SocketAddr, user_timeout: Duration) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without this a QoS 1 round trip takes 40 ms instead of a fraction of one: Nagle waits for a delayed ACK.
    socket.set_nodelay(true)?;
    let options = SockRef::from(&socket);
    // Idle, a dead peer is found by probes; busy, by unacknowledged data. The kernel counts whole seconds.
    let idle = user_timeout.max(Duration::from_secs(1));
    let probe = (idle / 3).max(Duration::from_secs(1));
    options.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(probe).with_retries(3))?;
    options.set_tcp_user_timeout(Some(user_timeout))?;
    socket.connect(address).await
}
