//! Whether a gateway can run with a deployment: yes, not yet, or never.
//!
//! Reads files, and starts nothing. May wait for the disk, so it is not for the thread of the calls.

use std::sync::Arc;

use nowd_plugin::Plugin;

use crate::cli::excerpt;
use crate::clock::WallClock;
use crate::config::{ConfigError, ConfigFiles, ConfigSource};
use crate::gateway::look_at_journal;
use crate::greengrass::identity;
use crate::journal::JournalError;
use crate::setup::{Setup, SetupError};

/// What there is to say of a deployment, with everything else that is configured here.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// A gateway can run with it.
    Ready(Box<Setup>),
    /// Something is not there that may come: an identity, a file, a key that is not set.
    Missing {
        /// What, in a sentence.
        why: String,
        /// The configuration, as far as that can be read.
        files: Option<Box<ConfigFiles>>,
    },
    /// It must be changed.
    Wrong(Box<SetupError>),
}

impl Verdict {
    /// A judgement that was lost, which is a bug.
    pub(crate) fn lost() -> Self {
        Self::Missing { why: "judging the configuration has failed, which is a bug".into(), files: None }
    }

    /// Why not, with the line of the file that it is about.
    pub(crate) fn why(&self) -> Option<String> {
        match self {
            Self::Ready(_) => None,
            Self::Missing { why, .. } => Some(why.clone()),
            Self::Wrong(e) => Some(with_excerpt(e)),
        }
    }
}

/// Judges the deployment of `source` with everything else.
pub(crate) fn judge(source: &ConfigSource, extra: &[Arc<dyn Plugin>]) -> Verdict {
    let files = match source.load() {
        Ok(files) => files,
        Err(e) => return of(e.into(), None),
    };
    if let Err(e) = crate::log::check(&files.config.log) {
        return Verdict::Wrong(Box::new(e.into()));
    }
    let clock = WallClock::of_this_machine(files.config.clock);
    match Setup::new(&files, extra.to_vec(), clock) {
        Ok(setup) => Verdict::Ready(Box::new(setup)),
        Err(e) => of(e, Some(Box::new(files))),
    }
}

/// The same while a gateway may run in this process: also whether the next one could use the journal that it asks for.
pub(crate) fn judge_beside(source: &ConfigSource, extra: &[Arc<dyn Plugin>]) -> Verdict {
    let verdict = judge(source, extra);
    let Verdict::Ready(setup) = &verdict else { return verdict };
    match look_at_journal(&setup.config) {
        // It is this process's own.
        Ok(()) | Err(JournalError::InUse(_)) => verdict,
        Err(e) => of(e.into(), None),
    }
}

fn of(e: SetupError, files: Option<Box<ConfigFiles>>) -> Verdict {
    if may_come(&e) {
        let why = here(&e, files.as_deref()).unwrap_or_else(|| with_excerpt(&e));
        return Verdict::Missing { why, files };
    }
    Verdict::Wrong(Box::new(e))
}

/// What is done about it on a core, where that is something else than by hand on a machine.
fn here(e: &SetupError, files: Option<&ConfigFiles>) -> Option<String> {
    let SetupError::Config(ConfigError::Missing { key, .. }) = e else { return None };
    let what = match *key {
        "link.endpoint" => {
            "and the nucleus has not said it either; look whether that runs and has an `iotDataEndpoint`, or deploy \
             {\"nowd\": {\"link\": {\"endpoint\": ..}}}"
        }
        "link.certificate" if files.is_some_and(identity::is_wanted) => {
            "and there is no identity yet; it is asked for as `provisioning` says, and \"no-identity\" in the log says what is in the way"
        }
        "link.certificate" => {
            "and there is no identity; deploy {\"nowd\": {\"provisioning\": ..}}, which gets one, or `certificate` and `key` in `link`"
        }
        _ => return None,
    };
    Some(format!("`{key}` is not set, {what}"))
}

fn with_excerpt(e: &SetupError) -> String {
    let lines = excerpt(e).map(|lines| format!("\n{lines}")).unwrap_or_default();
    format!("{e}{lines}")
}

/// What can be mended without another configuration.
pub(crate) const fn may_come(e: &SetupError) -> bool {
    match e {
        SetupError::Config(e) => match e {
            ConfigError::Missing { .. } | ConfigError::NotDeployed { .. } | ConfigError::Read { .. } => true,
            ConfigError::File(_) | ConfigError::Layer { .. } | ConfigError::Value { .. } => false,
        },
        SetupError::Tls(_) | SetupError::Identity(_) | SetupError::Journal(_) => true,
        SetupError::Map(_) | SetupError::Serial(_) | SetupError::Registry(_) => false,
    }
}
