//! Configuration and maps read again while the gateway runs: all or nothing.
//!
//! What is wrong is told, and the methods of before go on. What is right takes over when its plugins are ready, or have had
//! the time for it. Nothing here makes the gateway wait: files are read beside its thread, and readiness is awaited
//! beside its loop.

mod read;

use std::sync::Arc;
use std::time::Duration;

use nowd_core::Event;
use nowd_plugin::{BootInstant, Plugin};
use nowd_plugin_serial::SerialPlugin;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use read::read;

pub(crate) use read::look_at_journal;

use super::Gateway;
use super::generations::Generation;
use super::guidance::{Candidate, Guidance, Taken};
use super::services::Compiled;
use crate::audit::Event as Audited;
use crate::cli::excerpt;
use crate::clock::WallClock;
use crate::config::{Config, ConfigError, ConfigSource, Signature};
use crate::local::ReloadError;
use crate::offer::Difference;
use crate::record::Line;
use crate::services::Pool;
use crate::setup::{Setup, SetupError};

/// How long plugins may take to become ready before the methods on offer are changed all the same.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// How many may wait for one reload.
const MOST_WAITING: usize = 16;

/// Reads configuration and maps when asked to, one time after the other.
#[derive(Debug)]
pub(super) struct Reloads {
    pub(super) asked: Option<Asked>,
    /// What is under way: one thing at most.
    work: JoinSet<Step>,
    /// Those who wait for the one that is under way, and for the one after it.
    waiting: [Vec<Answer>; 2],
    pub(super) counts: ReloadCounts,
    /// Where another source is handed over, and what starts the gateway anew.
    pub(super) guidance: Option<Guidance>,
    /// The one that is under way.
    pub(super) trying: Option<Candidate>,
    /// This gateway has a journal open.
    has_journal: bool,
}

/// How reloads went since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReloadCounts {
    pub(crate) taken: u64,
    pub(crate) rejected: u64,
    /// Why the last one was rejected, if it was, and when.
    pub(crate) last_rejected: Option<(String, BootInstant)>,
    /// Nothing is wrong with that one: maps that it names are still to come.
    pub(crate) waits: bool,
    /// What was changed and takes effect at the next start only.
    pub(crate) need_start: Vec<&'static str>,
    /// Where from, and the files that were read.
    files: Option<(ConfigSource, Signature)>,
}

impl ReloadCounts {
    /// Whether files were changed since they were read. Waits for the disk.
    pub(crate) fn is_stale(&self) -> bool {
        self.files.as_ref().is_some_and(|(source, read)| source.signature() != *read)
    }
}

/// Whom to tell how it went.
type Answer = oneshot::Sender<Result<String, ReloadError>>;

/// Where from, and who asks.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) source: ConfigSource,
    by: Arc<Notify>,
    /// The files that count now.
    files: Signature,
}

/// A reload has come so far.
#[derive(Debug)]
pub(super) enum Step {
    /// Somebody has asked.
    Begun,
    /// Everything was read, or something is wrong.
    Read(Box<Result<(Setup, Signature), SetupError>>),
    /// The plugins of the new set are ready, or will not be soon.
    Ready(Box<Prepared>),
    /// A bug ended it.
    Lost,
}

/// A set of methods that can take over.
#[derive(Debug)]
pub(super) struct Prepared {
    generation: Generation,
    compiled: Option<Compiled>,
    config: Config,
    files: Signature,
    changed: Vec<&'static str>,
}

impl Reloads {
    /// Nobody asks.
    pub(super) fn none() -> Self {
        Self {
            asked: None,
            work: JoinSet::new(),
            waiting: <[_; 2]>::default(),
            counts: ReloadCounts::default(),
            guidance: None,
            trying: None,
            has_journal: false,
        }
    }

    pub(super) fn of(source: ConfigSource, by: Arc<Notify>, has_journal: bool) -> Self {
        let files = source.signature();
        Self { asked: Some(Asked { source, by, files }), has_journal, ..Self::none() }
    }

    /// How they went.
    pub(super) fn counts(&self) -> ReloadCounts {
        let files = self.asked.as_ref().map(|asked| (asked.source.clone(), asked.files.clone()));
        ReloadCounts { files, ..self.counts.clone() }
    }

    /// Whether something is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.work.is_empty()
    }

    /// Nothing is read any more, and what is under way is forgotten.
    pub(super) fn end(&mut self) {
        self.asked = None;
        self.work = JoinSet::new();
        self.waiting = <[_; 2]>::default();
        self.trying = None;
    }

    /// Somebody wants it, and to hear how it went.
    pub(super) fn ask(&mut self, answer: Answer) {
        let [_, next] = &mut self.waiting;
        let refusal = match &self.asked {
            None => ReloadError::NoSource,
            Some(_) if next.len() >= MOST_WAITING => ReloadError::TooMany,
            Some(asked) => {
                next.push(answer);
                return asked.by.notify_one();
            }
        };
        // Whoever asked may be gone, here and below.
        drop(answer.send(Err(refusal)));
    }

    /// It is over: those who waited for it hear so.
    fn tell(&mut self, result: &Result<String, ReloadError>) {
        let [current, _] = &mut self.waiting;
        for answer in current.drain(..) {
            drop(answer.send(result.clone()));
        }
    }

    /// The next step: `ports` is who holds the serial ports now. For ever where nobody asks. May be dropped while waiting.
    pub(super) async fn next(
        &mut self,
        extra: &[Arc<dyn Plugin>],
        clock: &WallClock,
        pool: &Arc<Pool>,
        ports: Option<&Arc<SerialPlugin>>,
    ) -> Step {
        if let Some(step) = self.work.join_next().await {
            return step.unwrap_or(Step::Lost);
        }
        let Some(Asked { source, by, .. }) = &self.asked else { return std::future::pending().await };
        // Whoever asks while one is under way is heard after it.
        by.notified().await;
        let [current, next] = &mut self.waiting;
        current.append(next);
        self.trying = self.guidance.as_ref().and_then(Guidance::take);
        let source = self.trying.as_ref().map_or(source, |candidate| &candidate.source);
        let (source, extra, clock) = (source.clone(), extra.to_vec(), clock.clone());
        let (pool, ports, has_journal) = (Arc::clone(pool), ports.cloned(), self.has_journal);
        self.work.spawn_blocking(move || {
            let read = read(&source, extra, clock, &pool, ports.as_deref());
            Step::Read(Box::new(read.and_then(|(setup, files)| {
                if !has_journal {
                    look_at_journal(&setup.config)?;
                }
                Ok((setup, files))
            })))
        });
        Step::Begun
    }
}

/// Ends when the plugins of the new set are ready, or will not be soon, and what those in processes of their own say has been
/// compiled.
async fn ready(mut prepared: Prepared) -> Step {
    let plugins = Arc::clone(&prepared.generation.plugins);
    tokio::select! {
        () = async {
            for plugin in &plugins.of_maps {
                plugin.ready().await;
            }
            for service in plugins.services() {
                service.ready().await;
            }
        } => {}
        () = tokio::time::sleep(READY_WITHIN) => {}
    }
    let (number, config) = (prepared.generation.number(), prepared.config.clone());
    let compiled = tokio::task::spawn_blocking(move || Compiled::of_now(plugins, number, &config)).await;
    match compiled {
        Ok(compiled) => {
            prepared.compiled = Some(compiled);
            Step::Ready(Box::new(prepared))
        }
        Err(_) => Step::Lost,
    }
}

impl Gateway {
    /// A gateway that reads configuration and maps again from `source` whenever `asked` is notified. If all is right,
    /// methods, lanes, ports, access and compatibility callers are replaced, and calls that run end under what was there
    /// before; else nothing is, and the log says why.
    #[must_use]
    pub fn reloading(mut self, source: ConfigSource, asked: Arc<Notify>) -> Self {
        self.reloads = Reloads::of(source, asked, self.journal.is_some());
        self
    }

    pub(super) fn reloaded(&mut self, step: Step) {
        self.uplink.look_at_certificates();
        match step {
            Step::Begun => self.supervisor.reloading(),
            Step::Read(read) => match *read {
                Ok((setup, files)) => self.prepare(setup, files),
                Err(e) => {
                    let waits = matches!(e, SetupError::Config(ConfigError::NotDeployed { .. }));
                    self.rejected(&e.to_string(), excerpt(&e), waits);
                }
            },
            Step::Ready(prepared) => self.take_over(*prepared),
            Step::Lost => {
                // The plugins of a set that was lost are stopped with it; its services are not its own.
                self.services.look_for_unused();
                self.retire();
                self.rejected("reading them has failed, which is a bug", None, false);
            }
        }
    }

    /// `waits` where nothing is wrong with it, and maps that it names are still to come.
    fn rejected(&mut self, reason: &str, excerpt: Option<String>, waits: bool) {
        let methods = self.generations.registry().methods().count();
        let lines = excerpt.map(|lines| format!("\n{lines}")).unwrap_or_default();
        self.supervisor.reloaded();
        self.reloads.tell(&Err(ReloadError::Config(format!("{reason}{lines}"))));
        self.reloads.tried(Err(reason.to_owned()));
        self.records.push(Line::Audit(Audited::Reloaded { error: Some(reason.to_owned()) }));
        let counts = &mut self.reloads.counts;
        counts.rejected = counts.rejected.saturating_add(1);
        counts.last_rejected = Some((reason.to_owned(), BootInstant::now()));
        counts.waits = waits;
        if waits {
            warn!(
                see = "maps-awaited",
                "the new configuration waits for maps that are not here yet, which are looked for again: {reason}; the {methods} methods of before go on"
            );
        } else {
            error!(
                see = "reload-rejected",
                "the new configuration is rejected: {reason}; the {methods} methods of before go on"
            );
        }
    }

    fn prepare(&mut self, setup: Setup, files: Signature) {
        let changed = needs_start(&self.config, &setup.config);
        let set = setup.set.numbered(self.numbers.next());
        let generation = self.generations.prepare(setup.plugins, set);
        self.services.keep(&generation.plugins);
        let config = setup.config;
        self.reloads.work.spawn(ready(Prepared { generation, compiled: None, config, files, changed }));
    }

    fn take_over(&mut self, prepared: Prepared) {
        let Prepared { mut generation, compiled, config, files, changed } = prepared;
        if let Some(asked) = &mut self.reloads.asked {
            asked.files = files;
        }
        if let Some(compiled) = compiled {
            generation.set = self.services.take(compiled);
        }
        let Difference { added, removed, changed: altered } =
            generation.set.difference(&self.generations.current().set);
        let methods = generation.set.offer.methods.len();
        if self.stall.change(!config.compat.clients.is_empty()) && !self.uplink.probe() {
            self.stall.over();
        }
        self.config.access = config.access;
        self.config.compat = config.compat;
        self.config.ports = config.ports;
        self.config.isolate = config.isolate;
        self.put_on_offer(generation);
        // What was said while it was being prepared counts as well.
        self.services.look_again();
        info!(
            added,
            removed,
            changed = altered,
            methods,
            "the maps were read again, and their methods are on offer"
        );
        let mut report =
            format!("{methods} methods are on offer: {added} new, {removed} gone, {altered} changed");
        self.reloads.tried(Ok(if changed.is_empty() { Taken::InEffect } else { Taken::StartsAnew }));
        self.tell_what_needs_a_start(changed, &mut report);
        for (plugin, notes) in self.services.notes() {
            report.extend(notes.iter().flat_map(|note| ["\n", plugin.as_str(), ": ", note.as_str()]));
        }
        self.supervisor.reloaded();
        self.reloads.tell(&Ok(report));
        self.records.push(Line::Audit(Audited::Reloaded { error: None }));
        self.records.stats().forget_safe_actions();
        let counts = &mut self.reloads.counts;
        counts.taken = counts.taken.saturating_add(1);
        counts.last_rejected = None;
    }
}

impl Gateway {
    /// Callers and the core are told of other methods.
    pub(super) fn put_on_offer(&mut self, generation: Generation) {
        let (offer, hash) = (Arc::clone(&generation.set.offer), generation.set.hash.clone());
        // Before the core knows of it: it may start reads of polled methods at once.
        self.generations.put_on_offer(generation);
        self.decide(Event::Offer(offer));
        self.uplink.set_methods(hash);
    }
}

/// The keys that a running gateway does not change, and that are not as they were at its start.
fn needs_start(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = [
        ("target", old.target == new.target),
        ("clock", old.clock == new.clock),
        ("state_dir", old.state_dir == new.state_dir),
        ("journal", old.journal == new.journal),
        ("audit", old.audit == new.audit),
        ("link", old.link == new.link),
        ("bus", old.bus == new.bus),
        ("log", old.log == new.log),
        ("metrics", old.metrics == new.metrics),
    ];
    keys.into_iter().filter_map(|(key, same)| (!same).then_some(key)).collect()
}

#[cfg(test)]
mod tests;
