//! Who this gateway is to the broker: its certificate and key, where they come from, how long they hold, and what is done
//! when they are renewed.
//!
//! Never waits on the thread of the calls: files are read beside it.

mod expiry;
mod store;
mod watch;

use std::path::{Path, PathBuf};

use nowd_link::{TlsError, TlsFiles};
use nowd_protocol::Level;

pub(crate) use expiry::{Standing, date};
pub(crate) use store::{Identity, Pending, Stage, Store};
pub(crate) use watch::{CertificateReport, Certificates, Which};

use crate::config::{Config, Via};

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// In the files that the configuration names.
    Files(TlsFiles),
    /// Where `nowd provision` has put them.
    Identity {
        /// The folder.
        store: Store,
        /// The configuration's `link.ca`.
        ca: Option<PathBuf>,
        /// The gateway's name, which a running gateway does not change.
        target: Level,
    },
}

/// What is wrong with the identity that `nowd provision` made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{}: cannot be {what}: {source}", .file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// Which was tried.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file is there, and is not what it should be.
    #[error("{}: this gateway's identity is damaged: {why}; run `nowd provision` again", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The configuration gives this gateway another name.
    #[error(
        "{}: the identity is that of {found}, and `target` in the configuration says {target}; leave `target` out, or have an identity of that name \
         made with `nowd provision --renew`", .file.display()
    )]
    Misnamed {
        /// The file.
        file: PathBuf,
        /// The name in the file.
        found: Level,
        /// The name in the configuration.
        target: Level,
    },
    /// It is another gateway's.
    #[error("{}: the identity is now that of {found}, and this gateway runs as {target}; restart it", .file.display())]
    Other {
        /// The file.
        file: PathBuf,
        /// The name in the file.
        found: Level,
        /// The name of the gateway that runs.
        target: Level,
    },
}

/// What was found of an identity for a configuration that leaves something out.
#[derive(Debug, Clone, Default)]
pub enum Found {
    /// None was needed, or there is none.
    #[default]
    Nothing,
    /// One, and what of it is used.
    Used(Used),
    /// One that cannot be used.
    Unusable(std::sync::Arc<IdentityError>),
}

/// What of an identity stands in for the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub(crate) target: bool,
    pub(crate) endpoint: bool,
    pub(crate) certificate: bool,
}

/// Fills what the configuration leaves out: a layer just above the built-in defaults. Reads nothing where nothing is left out.
pub(crate) fn complete(config: &mut Config) -> Found {
    let link = &config.link;
    let certificate = link.tls && link.certificate.is_none() && link.key.is_none();
    let (target, endpoint) = (config.target.is_none(), link.endpoint.is_none());
    // The nucleus has an identity of its own.
    let is_nucleus = link.via == Via::Greengrass;
    if is_nucleus || !(certificate || target || endpoint) || !config.state_dir.is_absolute() {
        return Found::Nothing;
    }
    match Store::of(&config.state_dir).read() {
        Ok(None) => Found::Nothing,
        Ok(Some(identity)) => {
            if target {
                config.target = Some(identity.target.clone());
            }
            if endpoint {
                config.link.endpoint = Some(identity.endpoint.clone());
            }
            Found::Used(Used { target, endpoint, certificate })
        }
        Err(e) => Found::Unusable(std::sync::Arc::new(e)),
    }
}

impl Used {
    /// What comes from where.
    pub(crate) fn words(self, state_dir: &Path) -> String {
        let used = [
            ("target", self.target),
            ("link.endpoint", self.endpoint),
            ("certificate and key", self.certificate),
        ];
        let used: Vec<&str> =
            used.into_iter().filter_map(|(what, is_used)| is_used.then_some(what)).collect();
        format!("{} from {}", used.join(", "), Store::of(state_dir).file().display())
    }
}

impl Source {
    /// The files as they are named now.
    pub(crate) fn files(&self) -> Result<TlsFiles, IdentityError> {
        match self {
            Self::Files(files) => Ok(files.clone()),
            Self::Identity { store, ca, target } => {
                let file = store.file();
                let gone = || "it is not there any more".to_owned();
                let identity = store
                    .read()?
                    .ok_or_else(|| IdentityError::Damaged { file: file.clone(), why: gone() })?;
                if identity.target != *target {
                    return Err(IdentityError::Other {
                        file,
                        found: identity.target,
                        target: target.clone(),
                    });
                }
                Ok(store.files(&identity.certificate_id, ca.clone()))
            }
        }
    }

    /// The folder of an identity.
    pub(crate) fn store(&self) -> Option<&Store> {
        match self {
            Self::Files(_) => None,
            Self::Identity { store, .. } => Some(store),
        }
    }

    /// A TLS error in the words of whoever has to mend it.
    pub(crate) fn blame(&self, e: TlsError) -> Blame {
        match (self, &e) {
            (Self::Files(_), _)
            | (_, TlsError::Permission { .. } | TlsError::Read { .. } | TlsError::Setup { .. }) => {
                Blame::Tls(e)
            }
            (Self::Identity { store, ca, .. }, _) => {
                let is_ca = |file: &Path| ca.as_deref().unwrap_or(Path::new(nowd_link::SYSTEM_CA)) == file;
                if let TlsError::Missing { file }
                | TlsError::NotPem { file }
                | TlsError::NoCertificate { file }
                | TlsError::BadCertificate { file, .. } = &e
                    && is_ca(file)
                {
                    return Blame::Tls(e);
                }
                Blame::Identity(IdentityError::Damaged { file: store.file(), why: e.to_string() })
            }
        }
    }
}

/// What is wrong with certificate and key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Blame {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}
