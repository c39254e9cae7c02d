//! The folder of the identity that `nowd provision` makes: `identity/` in the `state_dir`, for its owner only.
//!
//! `identity.toml` names the certificate in use; that it is renamed into place is the one moment in which an identity
//! begins to count. A file is written under another name, brought to the disk, renamed, and its name brought to the disk:
//! whole or not at all. What is not finished lies beside it (`pending.toml`, `pending.key`) and counts for nothing.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nowd_link::TlsFiles;
use nowd_protocol::Level;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::IdentityError;
use crate::provision::answers::is_certificate_id;

/// No file of the folder is larger, in bytes.
const LARGEST: u64 = 256 * 1024;

/// How many certificates that are not used are remembered: the latest.
const MOST_UNUSED: usize = 64;

/// What is written before it is renamed.
const FRESH: &str = "new";

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// `identity.toml`. Later versions may add to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The thing's name.
    pub(crate) target: Level,
    /// The broker, `host` or `host:port`.
    pub(crate) endpoint: String,
    /// Names the file of certificate and key.
    pub(crate) certificate_id: String,
    /// By which template it was made.
    pub(crate) template: String,
    /// When, by this machine's clock, whether that was set or not.
    pub(crate) made: String,
    /// The certificate that it took over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<String>,
}

impl Identity {
    /// Whether it is of this name, which the configuration gives the gateway.
    pub(crate) fn check_name(&self, store: &Store, target: &Level) -> Result<(), IdentityError> {
        if self.target == *target {
            return Ok(());
        }
        let (found, target) = (self.target.clone(), target.clone());
        Err(IdentityError::Misnamed { file: store.file(), found, target })
    }

    /// Whether it is, or was, its certificate.
    fn knows(&self, certificate_id: &str) -> bool {
        self.certificate_id == certificate_id || self.previous.as_deref() == Some(certificate_id)
    }
}

/// `pending.toml`: how far a run has come that has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The certificate that was made, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_id: Option<String>,
    /// What is known to have been done with it.
    #[serde(default)]
    pub(crate) stage: Stage,
    /// The thing that it was registered for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Level>,
    /// By which template, at which endpoint: another one makes what is pending worthless.
    #[serde(default)]
    pub(crate) template: String,
    #[serde(default)]
    pub(crate) endpoint: String,
    /// A digest of the parameters: others may make another thing.
    #[serde(default)]
    pub(crate) parameters: String,
    /// It is to take over from an identity that is sound.
    #[serde(default)]
    pub(crate) renew: bool,
    /// The broker did not let it in, though it was registered.
    #[serde(default)]
    pub(crate) refused: bool,
    /// Certificates of earlier runs that will not be used, and may be active.
    #[serde(default)]
    pub(crate) unused: Vec<String>,
}

/// How far a certificate has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// It was made, or is about to be registered: the service may have activated it, or may forget it.
    #[default]
    Created,
    /// It was registered.
    Registered,
}

impl Pending {
    /// The certificate will not be used, if it `is_given_up`; of such there are as many as can be of use to know.
    pub(crate) fn give_up(&mut self, is_given_up: impl Fn(&String) -> bool) {
        (self.stage, self.target, self.refused) = (Stage::Created, None, false);
        self.unused.extend(self.certificate_id.take().filter(is_given_up));
        let too_many = self.unused.len().saturating_sub(MOST_UNUSED);
        self.unused.drain(..too_many);
    }
}

impl Store {
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("identity") }
    }

    /// The file that says which identity counts.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("identity.toml")
    }

    /// The file of the key that has no certificate yet.
    fn pending_key(&self) -> PathBuf {
        self.folder.join("pending.key")
    }

    fn pending_file(&self) -> PathBuf {
        self.folder.join("pending.toml")
    }

    fn pem(&self, certificate_id: &str) -> PathBuf {
        self.folder.join(format!("{certificate_id}.pem"))
    }

    /// Where certificate and key of this id are: in one file.
    pub(crate) fn files(&self, certificate_id: &str, ca: Option<PathBuf>) -> TlsFiles {
        let file = self.pem(certificate_id);
        TlsFiles { ca, certificate: file.clone(), key: file }
    }

    /// The identity that counts, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Identity>, IdentityError> {
        let Some(identity) = read::<Identity>(&self.file())? else { return Ok(None) };
        if !is_certificate_id(&identity.certificate_id) {
            let why = "`certificate_id` is none".to_owned();
            return Err(IdentityError::Damaged { file: self.file(), why });
        }
        Ok(Some(identity))
    }

    /// Makes the folder, and holds it for this process until the file is dropped; nothing if another process has it.
    pub(crate) fn hold(&self) -> Result<Option<File>, IdentityError> {
        let failed = |source| IdentityError::Io { file: self.folder.clone(), what: "made", source };
        if let Some(state_dir) = self.folder.parent() {
            crate::lockout::make_folder(state_dir).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Ok(()) => crate::lockout::sync_folder_of(&self.folder).map_err(failed)?,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed(e)),
        }
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700)).map_err(failed)?;
        let path = self.folder.join("lock");
        let failed = |source| IdentityError::Io { file: path.clone(), what: "locked", source };
        let mut options = OpenOptions::new();
        let file =
            options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    /// What an earlier run has left; a damaged file is as good as none, and that is said by the second value.
    pub(crate) fn pending(&self) -> Result<(Pending, Option<IdentityError>), IdentityError> {
        match read::<Pending>(&self.pending_file()) {
            Ok(pending) => {
                let mut pending = pending.unwrap_or_default();
                pending.certificate_id.take_if(|id| !is_certificate_id(id));
                pending.unused.retain(|id| is_certificate_id(id));
                Ok((pending, None))
            }
            Err(e @ IdentityError::Damaged { .. }) => Ok((Pending::default(), Some(e))),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn write_pending(&self, pending: &Pending) -> Result<(), IdentityError> {
        self.write(&self.pending_file(), &text(pending))
    }

    /// The text of the pending key; nothing if there is none.
    pub(crate) fn read_pending_key(&self) -> Result<Option<String>, IdentityError> {
        let file = self.pending_key();
        read_text(&file).map_err(|source| IdentityError::Io { file, what: "read", source })
    }

    pub(crate) fn write_pending_key(&self, pem: &str) -> Result<(), IdentityError> {
        self.write(&self.pending_key(), pem)
    }

    pub(crate) fn forget_pending_key(&self) -> Result<(), IdentityError> {
        let file = self.pending_key();
        match fs::remove_file(&file) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(IdentityError::Io { file, what: "removed", source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Certificate and key in one file, which counts for nothing until an identity names it.
    pub(crate) fn write_pem(
        &self,
        certificate_id: &str,
        certificate: &str,
        key: &str,
    ) -> Result<(), IdentityError> {
        self.write(&self.pem(certificate_id), &format!("{}\n{}\n", certificate.trim(), key.trim()))
    }

    /// From here on this identity counts. What no identity needs is taken away afterwards, as far as that can be done.
    pub(crate) fn commit(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.write(&self.file(), &text(identity))?;
        self.tidy(identity);
        Ok(())
    }

    /// What a run left that was cut off when its identity counted already is taken away; says which certificates it had made in vain.
    pub(crate) fn finish(&self, identity: &Identity) -> Result<Vec<String>, IdentityError> {
        let (mut pending, _) = self.pending()?;
        if pending.certificate_id.as_ref() != Some(&identity.certificate_id) {
            return Ok(Vec::new());
        }
        self.tidy(identity);
        pending.unused.retain(|id| !identity.knows(id));
        Ok(pending.unused)
    }

    fn tidy(&self, identity: &Identity) {
        drop(fs::remove_file(self.pending_file()));
        drop(fs::remove_file(self.pending_key()));
        let needed = [Some(&identity.certificate_id), identity.previous.as_ref()];
        let needed: Vec<PathBuf> = needed.into_iter().flatten().map(|id| self.pem(id)).collect();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_ours = path.extension().is_some_and(|extension| extension == "pem" || extension == FRESH);
            if is_ours && !needed.contains(&path) {
                drop(fs::remove_file(path));
            }
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), IdentityError> {
        self.try_write(path, text).map_err(|source| IdentityError::Io {
            file: path.to_owned(),
            what: "written",
            source,
        })
    }

    fn try_write(&self, path: &Path, text: &str) -> io::Result<()> {
        // One process at a time writes here; what one that was killed has left under this name goes.
        let fresh = path.with_extension(FRESH);
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(&self.folder)?.sync_all()
    }
}

fn text(value: &impl Serialize) -> String {
    // Texts in tables of one level can always be written.
    toml::to_string(value).unwrap_or_default()
}

/// The text of a small file; nothing if it is not there. No link is followed, and nothing opened that could block.
fn read_text(path: &Path) -> io::Result<Option<String>> {
    let about = fs::symlink_metadata(path);
    if about.is_ok_and(|about| !about.is_file()) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    // What is no text is no TOML and no PEM either, and is told as that.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, IdentityError> {
    let file = path.to_owned();
    let Some(text) =
        read_text(path).map_err(|source| IdentityError::Io { file: file.clone(), what: "read", source })?
    else {
        return Ok(None);
    };
    match toml::from_str(&text) {
        Ok(value) => Ok(Some(value)),
        Err(e) => Err(IdentityError::Damaged { file, why: nowd_plugin::words::plain(e.message()) }),
    }
}
