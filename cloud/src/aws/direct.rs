//! Delivery by AWS IoT Core's Direct Messaging: one HTTPS request hands one message to one MQTT client.
//!
//! Never repeats a request that may have been received: the SDK's retries are off, since a repeat could deliver late.
//!
//! Connections are kept between requests, and a process that was stood still may find them dead. Three things keep the
//! first request after that from being lost to one. A connection that was not used for [`IDLE`] is not used again, since
//! a far end that vanished without a word is only found out by trying. Before each request the runtime takes one turn, so
//! that a connection which was closed meanwhile is seen to be closed: of 1,200 requests after a SIGSTOP, 308 were lost
//! without that turn and none with it. And where a request meets a connection that closes at that moment, hyper takes it
//! back if none of it was written, and opens another connection for it. What remains, a connection that closes just as it
//! is written to, is answered with [`Delivered::Unknown`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_iotdataplane::Client;
use aws_sdk_iotdataplane::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_iotdataplane::config::retry::RetryConfig;
use aws_sdk_iotdataplane::config::timeout::TimeoutConfig;
use aws_sdk_iotdataplane::config::{
    Builder, ConfigBag, Intercept, RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_iotdataplane::error::BoxError;
use aws_sdk_iotdataplane::operation::send_direct_message::SendDirectMessageError;
use aws_sdk_iotdataplane::primitives::Blob;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nowd_link::Publish;
use nowd_protocol::Level;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::invoker::{Deliver, Delivered, Delivering};

/// A connection unused for this long is not used again, as with the invoker's own (`invoker/background/pulse.rs`): what is
/// between may have forgotten it without a word, and a call would wait for half of its time for that to be found out. A
/// handshake takes some milliseconds.
const IDLE: Duration = Duration::from_secs(5);
/// Time to reach the endpoint: name, TCP and TLS, one lost packet included.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// What the service accepts as the time to wait for an acknowledgement, in seconds.
const LONGEST_WAIT: u64 = 15;

/// Delivers through one data endpoint. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Direct {
    client: Client,
}

/// Direct Messaging cannot be set up so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// The endpoint is no host name, or one with more around it.
    #[error(
        "{endpoint:?} is no data endpoint; give a host name such as abc123-ats.iot.eu-west-1.amazonaws.com, with a port if it is not 443"
    )]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The file of authorities cannot be read.
    #[error("the authorities in {} cannot be read", file.display())]
    Authorities {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of authorities holds none, or something else.
    #[error("{} holds no certificates in PEM that can vouch for the data endpoint", file.display())]
    NoAuthorities {
        /// Which file.
        file: PathBuf,
    },
}

impl Direct {
    /// Delivers through `endpoint`, a host name with a port if it is not 443, with the credentials and the region of
    /// `sdk`. The authorities that may vouch for it are those of the system, or those in the PEM file `ca` alone.
    ///
    /// Reads files; opens no connection.
    pub fn new(sdk: &SdkConfig, endpoint: &str, ca: Option<&Path>) -> Result<Self, DirectError> {
        let url = format!("https://{endpoint}");
        let is_endpoint = url.parse::<hyper::Uri>().is_ok_and(|uri| {
            uri.authority().is_some_and(|authority| authority == endpoint && !endpoint.contains('@'))
        });
        if !is_endpoint {
            return Err(DirectError::Endpoint { endpoint: endpoint.into() });
        }
        let trust = ca.map_or_else(|| Ok(TrustStore::default()), authorities)?;
        // Its only error is for a TLS provider that is not built in here.
        let tls = TlsContext::builder().with_trust_store(trust).build().unwrap_or_default();
        let http = aws_smithy_http_client::Builder::new()
            .pool_idle_timeout(IDLE)
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls)
            .build_https();
        let config = Builder::from(sdk)
            .endpoint_url(url)
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts().build())
            // Each request has its own end; an answer may take its time until then.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Ok(Self { client: Client::from_conf(config) })
    }
}

impl Deliver for Direct {
    fn deliver(&self, target: Level, message: Publish, left: Duration) -> Delivering {
        let client = self.client.clone();
        Box::pin(async move {
            // What happened to connections while the process stood still is seen before one is chosen.
            tokio::task::yield_now().await;
            let handed = Handed::default();
            let properties = message.properties;
            let sent = client
                .send_direct_message()
                .client_id(target.as_str())
                .topic(message.topic)
                .payload(Blob::new(message.payload))
                .confirmation(true)
                .timeout(wait(left))
                .set_content_type(properties.content_type)
                .set_response_topic(properties.response_topic)
                .set_correlation_data(properties.correlation_data.map(|data| BASE64_STANDARD.encode(data)))
                .customize()
                .config_override(Builder::new().timeout_config(timeouts().operation_timeout(left).build()))
                .interceptor(handed.clone())
                .send()
                .await;
            match sent {
                Ok(_) => Delivered::Taken,
                Err(error) => judge(&error, handed.is(), &target),
            }
        })
    }
}

/// The connect timeout is the same in all requests: the SDK has a pool of connections for each.
fn timeouts() -> aws_sdk_iotdataplane::config::timeout::TimeoutConfigBuilder {
    TimeoutConfig::builder().connect_timeout(CONNECT_WITHIN)
}

fn authorities(file: &Path) -> Result<TrustStore, DirectError> {
    let pem =
        std::fs::read(file).map_err(|source| DirectError::Authorities { file: file.to_owned(), source })?;
    // The SDK panics over what it cannot read.
    let mut roots = RootCertStore::empty();
    let readable = CertificateDer::pem_slice_iter(&pem)
        .all(|certificate| certificate.is_ok_and(|certificate| roots.add(certificate).is_ok()));
    if !readable || roots.is_empty() {
        return Err(DirectError::NoAuthorities { file: file.to_owned() });
    }
    Ok(TrustStore::empty().with_pem_certificate(pem))
}

/// The whole seconds that cover `left`, as far as the service waits.
fn wait(left: Duration) -> i32 {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    i32::try_from(seconds.clamp(1, LONGEST_WAIT)).unwrap_or(1)
}

/// Whether a request was handed to the connection: until then surely nothing was sent.
#[derive(Debug, Clone, Default)]
struct Handed(Arc<AtomicBool>);

impl Handed {
    fn is(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Intercept for Handed {
    fn name(&self) -> &'static str {
        "Handed"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

type Failure = SdkError<SendDirectMessageError, HttpResponse>;

fn judge(error: &Failure, handed: bool, target: &Level) -> Delivered {
    if let Some(response) = error.raw_response() {
        let status = response.status().as_u16();
        return match error.as_service_error() {
            Some(said) => answer(status, said.meta().code(), target),
            None => Delivered::Unknown(format!("AWS IoT Core's answer cannot be read (status {status})")),
        };
    }
    let why = Chain(error);
    if !handed {
        Delivered::Refused(format!("it could not be signed for AWS IoT Core: {why}"))
    } else if never_connected(error) {
        Delivered::Refused(format!("AWS IoT Core's data endpoint cannot be reached: {why}"))
    } else if matches!(error, SdkError::TimeoutError(_)) {
        Delivered::Unknown("AWS IoT Core did not answer in time".into())
    } else {
        Delivered::Unknown(format!("the connection to AWS IoT Core broke before it answered: {why}"))
    }
}

/// What an answer of the service means. Its message is not shown: where a signature is wrong, it repeats the request with
/// the session token.
fn answer(status: u16, code: Option<&str>, target: &Level) -> Delivered {
    let said = format!("{status} {}", code.unwrap_or("without a code"));
    match (status, code) {
        (404, None | Some("ResourceNotFoundException")) => Delivered::NotThere,
        (404, Some(_)) => Delivered::Refused(format!(
            "the data endpoint knows no Direct Messaging ({said}); use another region, or deliver by mqtt"
        )),
        (429, _) | (_, Some("ThrottlingException")) => Delivered::Throttled,
        (401 | 403, _) => Delivered::Refused(format!(
            "AWS IoT Core refused it ({said}); allow iot:SendDirectMessage on the client {target} to \
             this function's role, and check that its credentials are valid"
        )),
        (504, _) => Delivered::Unknown(format!("AWS IoT Core had no acknowledgement from {target} in time")),
        (408 | 500.., _) => {
            Delivered::Unknown(format!("AWS IoT Core failed ({said}); it may have delivered"))
        }
        _ => Delivered::Refused(format!("AWS IoT Core refused it ({said})")),
    }
}

/// Whether the request waited for a connection that never came about.
fn never_connected(error: &Failure) -> bool {
    use hyper_util::client::legacy::Error;
    chain(error).any(|error| error.downcast_ref().is_some_and(Error::is_connect))
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// An error with its causes, each once.
struct Chain<'a>(&'a Failure);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for error in chain(self.0) {
            let text = error.to_string();
            if !said.contains(&text) {
                said += if said.is_empty() { "" } else { ": " };
                said += &text;
            }
        }
        f.write_str(&said)
    }
}

#[cfg(test)]
mod tests;
