//! TLS towards the broker: the gateway's certificate and key, whom to trust, and what to do while the clock is not set.
//!
//! Never logs or shows a key.

mod dates;
mod facts;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use dates::DatePolicy;
pub use facts::CertificateFacts;

use crate::dial::Protocol;
use crate::options::HTTPS_PORT;

/// Where most Linux systems keep the authorities they trust.
pub const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// No certificate, key or bundle is larger than this, in bytes.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;
/// What AWS IoT Core wants to hear on port 443.
const ALPN: &[u8] = b"x-amzn-mqtt-ca";

/// The files that TLS needs, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that may vouch for the broker; [`SYSTEM_CA`] if none.
    pub ca: Option<PathBuf>,
    /// The gateway's certificate, its chain after it.
    pub certificate: PathBuf,
    /// The gateway's private key: EC or RSA, as PKCS#8, SEC1 or PKCS#1, not encrypted.
    pub key: PathBuf,
}

/// What is wrong with one of the files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file is not there.
    #[error("{}: there is no such file", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// The file may not be read.
    #[error("{}: this user may not read the file; check its owner and mode", .file.display())]
    Permission {
        /// The file.
        file: PathBuf,
    },
    /// The file cannot be read for another reason.
    #[error("{}: the file cannot be read", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file is not a PEM file, or is a broken one.
    #[error("{}: the file is no valid PEM file or is above 4 MiB", .file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
    },
    /// No certificate in it.
    #[error("{}: there is no certificate in the file", .file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// No usable certificate in it.
    #[error("{}: a certificate in the file cannot be used: {reason}", .file.display())]
    BadCertificate {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// No key in it.
    #[error("{}: there is no private key in the file; encrypted keys cannot be used", .file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// A key of a kind that cannot be used.
    #[error("{}: the private key cannot be used; EC P-256, P-384 and RSA of 2048 bits or more can", .file.display())]
    BadKey {
        /// The file.
        file: PathBuf,
    },
    /// The two do not belong together.
    #[error("{}: the private key does not fit the certificate in {}", .key.display(), .certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A bug.
    #[error("TLS cannot be set up")]
    Setup {
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
}

/// TLS, ready for any number of connections, which resume each other's sessions.
#[derive(Clone)]
pub struct Tls {
    usual: Arc<ClientConfig>,
    https_port: Arc<ClientConfig>,
    facts: Option<CertificateFacts>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files and checks that they fit. Blocks while it reads.
    pub fn load(files: &TlsFiles, dates: DatePolicy) -> Result<Self, TlsError> {
        let certificates = certificates(&files.certificate)?;
        let own = certificates.first();
        if let Some(version) = own.and_then(|own| facts::outdated(own)) {
            let reason = format!(
                "it is an X.509 certificate of version {version}, and TLS here takes version 3 only; have it made anew as version 3 \
                 (`openssl x509 -req` makes one when it is given an `-extfile`)"
            );
            return Err(TlsError::BadCertificate { file: files.certificate.clone(), reason });
        }
        let facts = own.and_then(|own| CertificateFacts::parse(own));
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| {
            let file = files.key.clone();
            if matches!(error, PemError::NoItemsFound) {
                TlsError::NoKey { file }
            } else {
                TlsError::NotPem { file }
            }
        })?;
        let tls = Self::build(files.ca.as_deref(), dates, |config| {
            config.with_client_auth_cert(certificates, key).map_err(|error| misfit(error, files))
        })?;
        Ok(Self { facts, ..tls })
    }

    /// TLS without a certificate of our own, for a broker that asks for none.
    pub fn anonymous(ca: Option<&Path>, dates: DatePolicy) -> Result<Self, TlsError> {
        Self::build(ca, dates, |config| Ok(config.with_no_client_auth()))
    }

    fn build(
        ca: Option<&Path>,
        dates: DatePolicy,
        identify: impl FnOnce(
            rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
        ) -> Result<ClientConfig, TlsError>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots(ca.unwrap_or_else(|| Path::new(SYSTEM_CA)))?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError::Setup { source: rustls::Error::General(error.to_string()) })?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Setup { source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(dates::Verifier::new(verifier, dates)));
        let usual = identify(builder)?;
        let mut https_port = usual.clone();
        https_port.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { usual: Arc::new(usual), https_port: Arc::new(https_port), facts: None })
    }

    /// What our certificate says of itself; nothing without one, or where it cannot be read so far.
    #[must_use]
    pub const fn certificate(&self) -> Option<&CertificateFacts> {
        self.facts.as_ref()
    }

    pub(crate) fn config(&self, protocol: Protocol, port: u16) -> Arc<ClientConfig> {
        let by_alpn = protocol == Protocol::Mqtt && port == HTTPS_PORT;
        Arc::clone(if by_alpn { &self.https_port } else { &self.usual })
    }
}

/// One sentence for what rustls has against a broker.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other errors follow as the source")]
pub(crate) const fn problem(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            // An authority that was made anew under its old name shows as a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate comes from an authority that is not trusted here; check the CA file"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name; check the broker's host"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired; renew it, or set this machine's clock"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; set this machine's clock"
            }
            _ => "its certificate cannot be used",
        },
        rustls::Error::InvalidMessage(_) => "what answers there does not speak TLS; check the port",
        rustls::Error::AlertReceived(_) => "the broker ended the handshake",
        _ => "the handshake did not succeed",
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source: io::Error| {
        let (kind, file) = (source.kind(), file.to_owned());
        if kind == io::ErrorKind::NotFound {
            TlsError::Missing { file }
        } else if kind == io::ErrorKind::PermissionDenied {
            TlsError::Permission { file }
        } else {
            TlsError::Read { file, source }
        }
    };
    // Opening a pipe waits until somebody writes, which may be never.
    if !fs::metadata(file).map_err(failed)?.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let mut content = Vec::new();
    File::open(file).map_err(failed)?.take(LARGEST_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if u64::try_from(content.len()).is_ok_and(|size| size <= LARGEST_FILE) {
        Ok(content)
    } else {
        Err(TlsError::NotPem { file: file.to_owned() })
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::NotPem { file: file.to_owned() })?;
    if found.is_empty() { Err(TlsError::NoCertificate { file: file.to_owned() }) } else { Ok(found) }
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // A system's bundle may hold an old authority that rustls cannot read: the others count.
    if let (0, _) = roots.add_parsable_certificates(certificates(file)?) {
        let reason = "none of them is a certificate authority that can be read".to_owned();
        return Err(TlsError::BadCertificate { file: file.to_owned(), reason });
    }
    Ok(roots)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls has many errors, of which these are foreseen")]
fn misfit(error: rustls::Error, files: &TlsFiles) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { key: files.key.clone(), certificate: files.certificate.clone() }
        }
        rustls::Error::InvalidCertificate(error) => {
            TlsError::BadCertificate { file: files.certificate.clone(), reason: error.to_string() }
        }
        rustls::Error::General(_) => TlsError::BadKey { file: files.key.clone() },
        source => TlsError::Setup { source },
    }
}
