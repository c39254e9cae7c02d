//! Certificate, key and authorities, read again when their files have changed.
//!
//! What is new is used only when it is whole and fits together, and what was before goes on until the broker has accepted the
//! new one: a certificate that is not active yet takes nobody off the network. Files are looked at on other threads.

mod renewed;
mod report;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nowd_link::{DatePolicy, LinkError, SYSTEM_CA, Tls, TlsFiles};
use nowd_plugin::BootInstant;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::expiry::{Warnings, date};
use super::{Blame, Source};
use crate::clock::WallClock;
use renewed::{Renewed, has_reached_a_broker, is_refusal};
pub(crate) use report::CertificateReport;
use report::close_key;

/// How often the files are looked at; besides at each reload, and each time the link goes down.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// ... while they are not whole.
const LOOK_SOON: Duration = Duration::from_secs(2);
/// How long files may be half renewed before it is said.
const TOLD_AFTER: Duration = Duration::from_secs(60);
/// For how long no call must have run or waited before the connection is renewed: what was answered last has gone out.
const QUIET: Duration = Duration::from_secs(1);
/// How long to wait for such a moment.
const LATEST: Duration = Duration::from_secs(60);
/// A certificate that ends so soon is not waited with.
const BEFORE_THE_END_S: i64 = 120;
/// What a file was when it was read: changed if any of it is.
type FileStamp = (PathBuf, [i64; 5], [u64; 3]);
type Stamp = Vec<Option<FileStamp>>;

/// Certificate and key in use, and their successors.
pub(crate) struct Certificates {
    source: Source,
    dates: DatePolicy,
    clock: WallClock,
    in_use: Arc<Loaded>,
    renewed: Option<Renewed>,
    /// What is not whole.
    broken: Option<Broken>,
    warnings: Warnings,
    work: JoinSet<Look>,
    look_at: BootInstant,
}

/// What files held when they were read.
#[derive(Debug)]
pub(crate) struct Loaded {
    tls: Arc<Tls>,
    stamp: Stamp,
    key: PathBuf,
    /// What closes the key, where every user may read it.
    close_key: Option<String>,
}

#[derive(Debug)]
struct Broken {
    stamp: Stamp,
    since: BootInstant,
    reason: String,
    is_told: bool,
}

#[derive(Debug)]
enum Look {
    Same,
    Read(Box<Loaded>),
    Broken { stamp: Stamp, reason: String },
}

/// With which of the two a connection is made. Files may be renewed again meanwhile, so it says which of the renewed.
#[derive(Debug, Clone)]
pub(crate) enum Which {
    InUse,
    Renewed(Arc<Loaded>),
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads everything; waits for the disk.
    pub(crate) fn load(source: Source, dates: DatePolicy, clock: WallClock) -> Result<Self, Blame> {
        let files = source.files()?;
        let in_use = read(&files, &dates, stamp(&source, &files)).map_err(|e| source.blame(e))?;
        let in_use = Arc::new(in_use);
        Ok(Self {
            source,
            dates,
            clock,
            in_use,
            renewed: None,
            broken: None,
            warnings: Warnings::default(),
            work: JoinSet::new(),
            look_at: BootInstant::now(),
        })
    }

    /// What connections are made with.
    pub(crate) fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.in_use.tls)
    }

    /// Says what there is to say at the start.
    pub(crate) fn begin(&mut self) {
        self.say_who_may_read();
        self.warn();
    }

    /// Looks at the files soon.
    pub(crate) fn look_now(&mut self) {
        self.look_at = BootInstant::now();
    }

    /// Ends when the files have been looked at. May be dropped while waiting.
    pub(crate) async fn next(&mut self) {
        loop {
            if let Some(look) = self.work.join_next().await {
                // A panic is told by the runtime; the next look may do better.
                self.looked(look.unwrap_or(Look::Same));
                return self.warn();
            }
            let wait = self.look_at.saturating_since(BootInstant::now());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let (source, dates) = (self.source.clone(), self.dates.clone());
            let known = [
                Some(&self.in_use.stamp),
                self.renewed.as_ref().map(|renewed| &renewed.loaded.stamp),
                self.broken.as_ref().map(|broken| &broken.stamp),
            ];
            // What came last is what is looked for: files that are as they once were have changed back.
            let known = known.into_iter().flatten().next_back().cloned().unwrap_or_default();
            self.look_at = BootInstant::now().saturating_add(LOOK_EVERY);
            self.work.spawn_blocking(move || look(&source, &dates, &known));
        }
    }

    fn looked(&mut self, look: Look) {
        let now = BootInstant::now();
        match look {
            Look::Same => {}
            Look::Read(loaded) => {
                self.broken = None;
                if loaded.stamp == self.in_use.stamp {
                    self.renewed = None;
                    return;
                }
                let until = loaded.tls.certificate().map(|facts| date(facts.not_after));
                info!(
                    not_after = until.as_deref().unwrap_or("unknown"),
                    "certificate, key or authorities were renewed: the connection is renewed with them at a quiet moment"
                );
                self.renewed = Some(Renewed::new(Arc::from(loaded), now));
            }
            Look::Broken { stamp, reason } => {
                let since = self.broken.as_ref().map_or(now, |broken| broken.since);
                self.broken = Some(Broken { stamp, since, reason, is_told: false });
            }
        }
        if let Some(broken) = &mut self.broken {
            self.look_at = now.saturating_add(LOOK_SOON);
            if !broken.is_told && now.saturating_since(broken.since) >= TOLD_AFTER {
                broken.is_told = true;
                error!(
                    see = "certificate-unusable",
                    "the files of certificate and key have changed and cannot be used: {}; those of before go on",
                    broken.reason
                );
            }
        }
    }

    /// With what to connect next.
    pub(crate) fn choose(&self) -> (Arc<Tls>, Which) {
        match &self.renewed {
            Some(renewed) if !renewed.passed_over => {
                (Arc::clone(&renewed.loaded.tls), Which::Renewed(Arc::clone(&renewed.loaded)))
            }
            Some(_) | None => (self.tls(), Which::InUse),
        }
    }

    /// The renewed one is the next to be tried, whatever was said of it.
    pub(crate) const fn try_again(&mut self) {
        if let Some(renewed) = &mut self.renewed {
            renewed.passed_over = false;
        }
    }

    /// The broker has let us in with it, and lets us hear requests.
    pub(crate) fn accepted(&mut self, which: &Which) {
        let Which::Renewed(loaded) = which else { return };
        let before = std::mem::replace(&mut self.in_use, Arc::clone(loaded));
        self.renewed = match self.renewed.take() {
            Some(renewed) if Arc::ptr_eq(&renewed.loaded, loaded) => None,
            // The files have changed since this connection was begun: what they hold now has not been tried.
            Some(newer) => Some(newer),
            // ... and have changed back.
            None => Some(Renewed::new(before, BootInstant::now())),
        };
        self.warnings = Warnings::default();
        let until = self.in_use.tls.certificate().map(|facts| date(facts.not_after));
        info!(
            not_after = until.as_deref().unwrap_or("unknown"),
            "the broker has accepted the renewed certificate"
        );
        self.say_who_may_read();
        self.warn();
    }

    /// No connection came about with it, or none that is of use.
    pub(crate) fn failed(&mut self, which: &Which, e: &LinkError, reason: &str) {
        if is_refusal(e) {
            self.turned_down(which, reason);
        } else if let Some(renewed) = self.other_turn(which) {
            // Whatever it was, nobody has said anything against the certificate. The other has its turn where there was a broker.
            renewed.passed_over = renewed.passed_over || has_reached_a_broker(e);
            renewed.pause();
        }
    }

    /// It is the certificate that was turned down, or what goes with it.
    pub(crate) fn turned_down(&mut self, which: &Which, reason: &str) {
        let has_ended = self.has_ended();
        let Some(renewed) = self.other_turn(which) else { return };
        let pause = renewed.pause();
        renewed.refusals = renewed.refusals.saturating_add(1);
        renewed.refusal = Some(reason.to_owned());
        renewed.passed_over = true;
        let again_s = pause.as_secs();
        if has_ended {
            error!(
                see = "certificate-refused",
                again_s,
                "the broker does not take the renewed certificate: {reason}; the one of before has ended by this machine's clock, and is tried in turn with it"
            );
        } else {
            error!(
                see = "certificate-refused",
                again_s,
                "the broker does not take the renewed certificate: {reason}; the one of before goes on"
            );
        }
    }

    /// The renewed one, if the connection was made with it; after one in use has failed it has its turn.
    fn other_turn(&mut self, which: &Which) -> Option<&mut Renewed> {
        let renewed = self.renewed.as_mut()?;
        match which {
            Which::InUse => {
                renewed.passed_over = false;
                None
            }
            // What becomes of one that is not to be used any more says nothing of its successor.
            Which::Renewed(loaded) => Arc::ptr_eq(&renewed.loaded, loaded).then_some(renewed),
        }
    }

    /// In how long a connection that is up is to be renewed, if at all: `quiet_since` is since when no call runs or waits.
    pub(crate) fn due(&self, quiet_since: Option<BootInstant>) -> Option<Duration> {
        let renewed = self.renewed.as_ref()?;
        let now = BootInstant::now();
        // Each attempt may wait for a quiet moment, not only the first one.
        let latest = renewed.found.max(renewed.try_at).saturating_add(LATEST);
        let at = quiet_since.map_or(latest, |since| since.saturating_add(QUIET).min(latest));
        let at = if self.ends_soon() { now } else { at };
        Some(at.max(renewed.try_at).saturating_since(now))
    }

    fn now_s(&self) -> Option<i64> {
        self.clock.is_set().then(|| i64::try_from(self.clock.now_ms() / 1_000).unwrap_or(i64::MAX))
    }

    fn warn(&mut self) {
        let now_s = self.now_s();
        self.warnings.look(self.in_use.tls.certificate(), now_s, BootInstant::now());
    }

    fn say_who_may_read(&self) {
        if let Some(sentence) = self.in_use.others_may_read() {
            warn!(see = "key-readable", "{sentence}");
        }
    }

    fn left_s(&self) -> Option<i64> {
        Some(self.in_use.tls.certificate()?.not_after.saturating_sub(self.now_s()?))
    }

    fn has_ended(&self) -> bool {
        self.left_s().is_some_and(|left| left < 0)
    }

    fn ends_soon(&self) -> bool {
        self.left_s().is_some_and(|left| left < BEFORE_THE_END_S)
    }
}

/// Looks at the files, and reads them if they are not as they were `known` to be.
fn look(source: &Source, dates: &DatePolicy, known: &Stamp) -> Look {
    let files = match source.files() {
        Ok(files) => files,
        Err(e) => {
            let stamp = source.store().map(|store| vec![file_stamp(&store.file())]).unwrap_or_default();
            return if stamp == *known { Look::Same } else { Look::Broken { stamp, reason: e.to_string() } };
        }
    };
    let before = stamp(source, &files);
    if before == *known {
        return Look::Same;
    }
    let read = read(&files, dates, before.clone());
    if stamp(source, &files) != before {
        // They are being written: of what was read nobody knows whether it belongs together.
        return Look::Broken { stamp: Stamp::new(), reason: "they are still being written".into() };
    }
    match read {
        Ok(loaded) => Look::Read(Box::new(loaded)),
        Err(e) => Look::Broken { stamp: before, reason: source.blame(e).to_string() },
    }
}

fn read(files: &TlsFiles, dates: &DatePolicy, stamp: Stamp) -> Result<Loaded, nowd_link::TlsError> {
    let tls = Arc::new(Tls::load(files, dates.clone())?);
    Ok(Loaded { tls, stamp, key: files.key.clone(), close_key: close_key(&files.key) })
}

fn stamp(source: &Source, files: &TlsFiles) -> Stamp {
    let ca = files.ca.as_deref().unwrap_or(Path::new(SYSTEM_CA));
    let own = source.store().map(super::Store::file);
    own.as_deref().into_iter().chain([ca, &files.certificate, &files.key]).map(file_stamp).collect()
}

/// Follows links: tools that renew certificates often only turn one.
fn file_stamp(path: &Path) -> Option<FileStamp> {
    let about = fs::metadata(path).ok()?;
    let times =
        [about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec(), i64::from(about.mode())];
    Some((path.to_owned(), times, [about.dev(), about.ino(), about.size()]))
}

#[cfg(test)]
mod tests;
