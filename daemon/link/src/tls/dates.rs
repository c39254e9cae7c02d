//! Certificate dates while the wall clock is not set.
//!
//! A board without a battery boots in 1970 and gets its time over the network, sometimes later than its commands. The
//! dates of the broker's certificates then say nothing. Name, chain and signatures are verified all the same.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// How many other times are tried: one for each certificate of a chain, and some.
const ATTEMPTS: usize = 4;

/// When the dates of the broker's certificates are judged.
#[derive(Clone, Default)]
pub enum DatePolicy {
    /// Always, against the wall clock.
    #[default]
    Judge,
    /// Only while this says that the wall clock is set. It is asked at each handshake and must not block.
    WhileClockIsSet(Arc<dyn Fn() -> bool + Send + Sync>),
}

impl DatePolicy {
    fn judges(&self) -> bool {
        match self {
            Self::Judge => true,
            Self::WhileClockIsSet(is_set) => is_set(),
        }
    }
}

impl fmt::Debug for DatePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Judge => "Judge",
            Self::WhileClockIsSet(_) => "WhileClockIsSet",
        })
    }
}

#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    dates: DatePolicy,
}

impl Verifier {
    pub(super) const fn new(inner: Arc<WebPkiServerVerifier>, dates: DatePolicy) -> Self {
        Self { inner, dates }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify =
            |at| self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at);
        let mut verdict = verify(now);
        if self.dates.judges() {
            return verdict;
        }
        for _ in 0..ATTEMPTS {
            let at = match verdict {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before, ..
                })) => not_before,
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                    not_after
                }
                other => return other,
            };
            verdict = verify(at);
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
