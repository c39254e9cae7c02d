//! How certificate and key are, for people.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};
use serde::{Deserialize, Serialize};

use super::{Certificates, Loaded};
use crate::DAEMON;
use crate::identity::expiry::{Standing, date, days_left};

/// How certificate and key are, as `nowd status --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateReport {
    /// The common name of its subject.
    pub(crate) subject: Option<String>,
    pub(crate) not_before: String,
    pub(crate) not_after: String,
    /// The same, in seconds since the epoch.
    pub(crate) not_after_s: i64,
    /// Whole days until then, negative after it; nothing while the clock is not set.
    pub(crate) days_left: Option<i64>,
    /// How it stands; nothing while the clock is not set.
    #[serde(default)]
    pub(crate) standing: Option<Standing>,
    /// Why the broker does not take a renewed one.
    #[serde(default)]
    pub(crate) refused: Option<String>,
    /// Why files that have changed cannot be used, once they had the time to become whole.
    #[serde(default)]
    pub(crate) unusable: Option<String>,
    /// The file of the key, if every user of the machine may read it.
    #[serde(default)]
    pub(crate) readable_key: Option<PathBuf>,
    /// The command that makes it the daemon's alone.
    #[serde(default)]
    pub(crate) close_key: Option<String>,
    /// Whether `nowd provision` has made it.
    #[serde(default)]
    pub(crate) provisioned: bool,
    /// What asks for somebody's attention.
    pub(crate) notes: Vec<String>,
}

impl Certificates {
    pub(crate) fn report(&self) -> Option<CertificateReport> {
        let facts = self.in_use.tls.certificate()?;
        let now_s = self.now_s();
        let standing = now_s.map(|now_s| Standing::of(facts, now_s));
        let mut notes = Vec::new();
        match standing {
            Some(Standing::Ended) => notes.push("it has ended: renew it".into()),
            Some(Standing::NotYet) => notes.push("it is not valid yet".into()),
            Some(Standing::Urgent | Standing::Warned) => notes.push("it ends soon: renew it".into()),
            Some(Standing::Good) | None => {}
        }
        if let Some(renewed) = &self.renewed {
            notes.push(match &renewed.refusal {
                Some(reason) => format!("the broker does not take the renewed one: {reason}"),
                None => "a renewed one waits for a quiet moment".into(),
            });
        }
        notes.extend(
            self.broken
                .as_ref()
                .map(|broken| format!("its files have changed and cannot be used: {}", broken.reason)),
        );
        notes.extend(self.in_use.others_may_read());
        Some(CertificateReport {
            subject: facts.subject.clone(),
            not_before: date(facts.not_before),
            not_after: date(facts.not_after),
            not_after_s: facts.not_after,
            days_left: now_s.map(|now_s| days_left(facts, now_s)),
            standing,
            refused: self.renewed.as_ref().and_then(|renewed| renewed.refusal.clone()),
            unusable: self
                .broken
                .as_ref()
                .filter(|broken| broken.is_told)
                .map(|broken| broken.reason.clone()),
            readable_key: self.in_use.close_key.is_some().then(|| self.in_use.key.clone()),
            close_key: self.in_use.close_key.clone(),
            provisioned: self.source.store().is_some(),
            notes,
        })
    }

    /// What `nowd check` says.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let (Some(facts), Some(now_s)) = (self.in_use.tls.certificate(), self.now_s()) {
            let (left, until) = (days_left(facts, now_s), date(facts.not_after));
            notes.extend(match Standing::of(facts, now_s) {
                Standing::Good => None,
                Standing::Warned | Standing::Urgent => {
                    Some(format!("the certificate ends in {left} days, at {until}; renew it"))
                }
                Standing::NotYet => {
                    Some("the certificate is not valid yet, or the clock is wrong".to_owned())
                }
                Standing::Ended => Some(format!("the certificate has ended, at {until}; renew it")),
            });
        }
        notes.extend(self.in_use.others_may_read());
        notes
    }
}

impl Loaded {
    /// What is said of a key that every user may read.
    pub(super) fn others_may_read(&self) -> Option<String> {
        let close = self.close_key.as_ref()?;
        Some(format!(
            "{}: every user of this machine may read the private key; `{close}`",
            self.key.display()
        ))
    }
}

/// The command that makes a key the daemon's alone, where every user may read it. Waits for the disk, and asks the machine's
/// database of users.
pub(super) fn close_key(key: &Path) -> Option<String> {
    let about = fs::metadata(key).ok().filter(|about| about.mode() & 0o007 != 0)?;
    // Who looks is the daemon, or root, who looks for it.
    let daemon = match geteuid() {
        root if root.is_root() => User::from_name(DAEMON).ok().flatten(),
        own => User::from_uid(own).ok().flatten(),
    };
    let uid = daemon.as_ref().map_or(geteuid(), |user| user.uid);
    let name = daemon.map_or_else(|| uid.to_string(), |user| user.name);
    Some(command(key, Uid::from_raw(about.uid()) == uid, &name))
}

/// Somebody else's key, closed to others, would be closed to the daemon too.
fn command(key: &Path, is_its_own: bool, daemon: &str) -> String {
    let key = key.display();
    if is_its_own { format!("chmod o= {key}") } else { format!("chown {daemon}: {key} && chmod 400 {key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_can_read_its_key_afterwards() {
        let key = Path::new("/etc/nowd/gateway.key");
        assert_eq!(command(key, true, "nowd"), "chmod o= /etc/nowd/gateway.key");
        let expected = "chown nowd: /etc/nowd/gateway.key && chmod 400 /etc/nowd/gateway.key";
        assert_eq!(command(key, false, "nowd"), expected);
    }
}
