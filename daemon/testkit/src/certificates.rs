//! A certificate authority of one's own: certificates for brokers and gateways, good ones and bad ones.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

use crate::process::require;

/// The files of one party, all PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Whom it trusts.
    pub ca: PathBuf,
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How a private key is written, and of what kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// EC P-256, PKCS#8: `BEGIN PRIVATE KEY`.
    Ec,
    /// EC P-256, SEC1: `BEGIN EC PRIVATE KEY`.
    EcSec1,
    /// RSA 2048, PKCS#8: `BEGIN PRIVATE KEY`.
    Rsa,
    /// RSA 2048, PKCS#1: `BEGIN RSA PRIVATE KEY`, as AWS IoT hands them out.
    RsaPkcs1,
}

/// A certificate authority; its files go when it is dropped.
#[derive(Debug)]
pub struct Ca {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

impl Ca {
    /// A new authority.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "nowd test authority");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("an authority can sign itself");
        write(&folder.path().join("ca.crt"), &certificate.pem());
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A broker's certificate for `localhost` and `127.0.0.1`.
    #[must_use]
    pub fn server(&self) -> Identity {
        self.server_valid("server", 2020, 2200)
    }

    /// A broker's certificate that expired in 2021.
    #[must_use]
    pub fn expired_server(&self) -> Identity {
        self.server_valid("expired", 2020, 2021)
    }

    /// A broker's certificate that is not valid before 2199.
    #[must_use]
    pub fn future_server(&self) -> Identity {
        self.server_valid("future", 2199, 2200)
    }

    /// A gateway's certificate: EC, its common name `name`.
    #[must_use]
    pub fn client(&self, name: &str) -> Identity {
        self.client_with(name, KeyForm::Ec)
    }

    /// A gateway's certificate with a key of this form; all forms but the first need the command `openssl`.
    #[must_use]
    pub fn client_with(&self, name: &str, form: KeyForm) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = match form {
            KeyForm::Ec | KeyForm::EcSec1 => KeyPair::generate().expect("a key can be made"),
            KeyForm::Rsa | KeyForm::RsaPkcs1 => {
                let pem = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
                KeyPair::from_pem(&pem).expect("openssl writes keys that can be read")
            }
        };
        let files = self.issue_own(&format!("{name}-{form:?}"), &params, &key);
        let file = files.key.to_str().expect("a temporary directory has a plain name");
        match form {
            KeyForm::Ec | KeyForm::Rsa => {}
            KeyForm::EcSec1 => write(&files.key, &openssl(&["ec", "-in", file])),
            KeyForm::RsaPkcs1 => write(&files.key, &openssl(&["rsa", "-traditional", "-in", file])),
        }
        files
    }

    /// A gateway's certificate with these dates, in seconds since the epoch, written to files of its own.
    #[must_use]
    pub fn client_valid(&self, name: &str, from: i64, to: i64) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let moment = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        params.not_before = moment(u64::try_from(from).expect("a date after 1970"));
        params.not_after = moment(u64::try_from(to).expect("a date after 1970"));
        let key = KeyPair::generate().expect("a key can be made");
        self.issue_own(&format!("{name}-{}", fastrand::u64(..)), &params, &key)
    }

    /// Signs a request for a certificate, in PEM, as a service would that keeps its subject; PEM, or what is wrong with the
    /// request.
    pub fn sign(&self, request: &str) -> Result<String, String> {
        let request = CertificateSigningRequestParams::from_pem(request).map_err(|e| e.to_string())?;
        let certificate = request.signed_by(&self.issuer).map_err(|e| e.to_string())?;
        Ok(certificate.pem())
    }

    fn server_valid(&self, name: &str, from: i32, to: i32) -> Identity {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("these are names");
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        self.issue(name, &params, &KeyPair::generate().expect("a key can be made"))
    }

    /// The key is for its owner alone, as a gateway wants its own; a broker may run as another user than who started it.
    fn issue_own(&self, name: &str, params: &CertificateParams, key: &KeyPair) -> Identity {
        let files = self.issue(name, params, key);
        fs::set_permissions(&files.key, Permissions::from_mode(0o600)).expect("it has just been written");
        files
    }

    fn issue(&self, name: &str, params: &CertificateParams, key: &KeyPair) -> Identity {
        let path = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        let files = Identity { ca: self.file(), certificate: path("crt"), key: path("key") };
        let certificate = params.signed_by(key, &self.issuer).expect("the authority can sign");
        write(&files.certificate, &certificate.pem());
        write(&files.key, &key.serialize_pem());
        files
    }
}

fn write(file: &Path, content: &str) {
    fs::write(file, content).expect("a temporary file can be written");
}

fn openssl(args: &[&str]) -> String {
    require("openssl");
    let output = Command::new("openssl").args(args).output().expect("openssl can be started");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("openssl writes PEM")
}
