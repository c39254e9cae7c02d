//! A gateway inside a process that must not end: other sources of its configuration are handed to it, and it says when it is to be
//! started anew. Never waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nowd_plugin::BootInstant;
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use super::Gateway;
use super::reload::Reloads;
use crate::config::ConfigSource;
use crate::greengrass::{Report, Standing};

/// What a gateway hears from whoever runs it inside a process that must not end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guidance {
    /// Taken at the next reload.
    pub(crate) candidate: Arc<Mutex<Option<Candidate>>>,
    /// Notified when keys were changed that a running gateway does not change.
    pub(crate) restart: Arc<Notify>,
    /// How many calls run or wait now.
    pub(crate) calls: Arc<AtomicUsize>,
    /// How things are with the nucleus that this process has.
    pub(crate) standing: Option<Standing>,
}

/// Another source of the configuration.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) source: ConfigSource,
    /// Whom to tell whether it is taken, or why not.
    pub(crate) answer: oneshot::Sender<Result<Taken, String>>,
}

/// What has become of a configuration that is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in effect.
    InEffect,
    /// Keys were changed that a running gateway does not change: this one ends, and whether another one can start with it shows then.
    StartsAnew,
}

impl Guidance {
    pub(super) fn take(&self) -> Option<Candidate> {
        self.candidate.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Hands another one over; one that was not looked at yet is forgotten.
    pub(crate) fn hand_over(&self, candidate: Candidate) {
        *self.candidate.lock().unwrap_or_else(PoisonError::into_inner) = Some(candidate);
    }
}

impl Reloads {
    /// Tells whoever has handed over what was tried; nothing where that was what lies there anyway.
    pub(super) fn tried(&mut self, result: Result<Taken, String>) {
        let Some(Candidate { source, answer }) = self.trying.take() else { return };
        if result.is_ok()
            && let Some(asked) = &mut self.asked
        {
            asked.source = source;
        }
        // Whoever asked may be gone.
        drop(answer.send(result));
    }
}

impl Gateway {
    /// The same, for whoever runs it inside a process that must not end.
    #[must_use]
    pub(crate) fn guided(mut self, guidance: Guidance) -> Self {
        self.reloads.guidance = Some(guidance);
        self
    }

    /// How things are with the nucleus, where there is one.
    pub(super) fn of_greengrass(&self) -> Option<Report> {
        let standing = self.reloads.guidance.as_ref()?.standing.as_ref()?;
        Some(standing.report(BootInstant::now()))
    }

    /// Says how many calls run or wait.
    pub(super) fn tell_calls(&self, calls: usize) {
        if let Some(guidance) = &self.reloads.guidance {
            guidance.calls.store(calls, Ordering::Relaxed);
        }
    }

    /// Keys that this gateway does not change while it runs.
    pub(super) fn tell_what_needs_a_start(&mut self, changed: Vec<&'static str>, report: &mut String) {
        if let Some(guidance) = &self.reloads.guidance {
            if !changed.is_empty() {
                let keys = changed.join("`, `");
                report.extend(["; `", &keys, "` was changed as well: the gateway starts anew with it now"]);
                info!("`{keys}` was changed as well: the gateway starts anew with it, in this process");
                guidance.restart.notify_one();
            }
            return;
        }
        for key in &changed {
            report.extend(["; `", key, "` was changed as well, which takes effect at the next start"]);
            warn!(see = "needs-start", "`{key}` was changed as well, which takes effect at the next start");
        }
        self.reloads.counts.need_start = changed;
    }
}
