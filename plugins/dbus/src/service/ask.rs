//! Asks a plugin what it is and how it is: when it appears, and after `Changed`; at most once a second.
//!
//! What it never does: read a description on the thread on which calls pass.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::service::{Description, INTERFACE};
use nowd_plugin::{Deadline, Health};
use tokio::task::JoinSet;
use zbus::message::{Message, Type};

use super::{Service, lock};
use crate::bus::{Allowance, BUS_NAME, Unanswered, call_message};
use crate::json::clip;

/// How long a plugin may take to say what it is.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Between two questions at least.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Between two questions at most, after questions that had no good answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a description may be another one: so many times at once, and after that once in this time.
const CHANGES: (u32, Duration) = (8, Duration::from_secs(10));

/// The longest sentence of a plugin about its health, in characters.
const MAX_SENTENCE: usize = 300;

/// What has been asked.
#[derive(Debug)]
pub(super) struct Asked {
    /// The last description, as it came, and what was wrong with it.
    last: Option<(String, Option<String>)>,
    changes: Allowance,
    /// How long not to ask again, because it has changed too often.
    wait: Duration,
}

impl Default for Asked {
    fn default() -> Self {
        Self { last: None, changes: Allowance::new(CHANGES.0, CHANGES.1), wait: Duration::ZERO }
    }
}

/// Why there is no description.
#[derive(Debug)]
enum Undescribed {
    /// Nothing can be said against the plugin.
    Unasked,
    /// It did not answer.
    Late,
    /// What is wrong with what it said.
    Wrong(String),
}

impl Service {
    /// Asks whenever there is a reason to, for ever.
    pub(super) async fn keep_asking(&self) -> Infallible {
        let mut last = None;
        let mut failures = 0_u32;
        loop {
            let whom = self.bus.owner(&self.target.name).map(|owner| (self.bus.connected_as(), owner));
            let Some(whom) = whom else {
                self.ear.wake.notified().await;
                continue;
            };
            // On a new connection, too: a bus that was started again uses the same names again.
            let same = last.as_ref() == Some(&whom);
            let news =
                if failures == 0 { !same } else { last.as_ref().map(|(_, owner)| owner) != Some(&whom.1) };
            let flagged = self.ear.take();
            if !news && !flagged {
                // The least pause is behind us.
                let pause = LEAST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
                let pause = pause.min(LONGEST_PAUSE).saturating_sub(LEAST_PAUSE);
                tokio::select! {
                    () = self.ear.wake.notified() => continue,
                    () = tokio::time::sleep(pause), if failures > 0 => {}
                }
            }
            last = Some(whom);
            let (described, ()) = tokio::join!(self.describe(), self.look_after());
            match described {
                Ok(()) => failures = 0,
                Err(Undescribed::Unasked) => failures = failures.saturating_add(1),
                Err(Undescribed::Late) => {
                    failures = failures.saturating_add(1);
                    self.mistaken(format!(
                        "{} did not describe itself within {} s; it must answer {INTERFACE}.Describe at {}",
                        self.target.name,
                        ANSWER_LIMIT.as_secs(),
                        self.target.path
                    ));
                    self.settled.send_replace(true);
                }
                Err(Undescribed::Wrong(why)) => {
                    failures = failures.saturating_add(1);
                    // A plugin may own its name before it has its object, and is not to be accused of that at once.
                    if failures > 1 || lock(&self.asked).last.is_some() {
                        self.mistaken(why);
                        self.settled.send_replace(true);
                    }
                }
            }
            if failures == 0 {
                self.settled.send_replace(true);
            }
            let wait = lock(&self.asked).wait;
            tokio::time::sleep(LEAST_PAUSE.max(wait)).await;
        }
    }

    /// Asks the plugin how it is, now, and waits for the answer until `within`.
    pub async fn ask_health(&self, within: Deadline) -> Health {
        if !self.bus.has_owner(&self.target.name) {
            return Health::Failed(self.why_absent(lock(&self.presence).seen));
        }
        let health = self.health(&within).await;
        if let Some(health) = &health {
            self.note_health(health);
        }
        health.unwrap_or_else(|| Health::Failed(self.why_absent(lock(&self.presence).seen)))
    }

    async fn look_after(&self) {
        if let Some(health) = self.health(&Deadline::after(ANSWER_LIMIT)).await {
            self.note_health(&health);
        }
    }

    fn note_health(&self, health: &Health) {
        self.state.send_if_modified(|state| {
            let differs = state.health != *health;
            state.health.clone_from(health);
            differs
        });
    }

    fn mistaken(&self, why: String) {
        self.state.send_if_modified(|state| {
            if state.mistake.as_ref() == Some(&why) {
                return false;
            }
            if self.may_log() {
                tracing::error!(see = "plugin-wrong", "{why}");
            }
            state.mistake = Some(why);
            true
        });
    }

    /// Nothing if it could not be asked.
    async fn health(&self, within: &Deadline) -> Option<Health> {
        let none = |why: &str| Some(Health::Degraded(format!("it does not say how it is: {why}")));
        let reply = match self.question("Health", within).await {
            Ok(reply) => reply,
            Err(Unanswered::Late) => return none("no answer came in time"),
            Err(Unanswered::NotSent(_) | Unanswered::Gone) => return None,
        };
        if reply.message_type() == Type::Error {
            return none(&error_name(&reply));
        }
        match reply.body().deserialize::<(&str, &str)>() {
            Ok((state, message)) => Some(Health::parse(&clip(state, 30), &clip(message, MAX_SENTENCE))),
            Err(_) => none("its answer is not of two texts"),
        }
    }

    /// Asks for the description and takes it over.
    async fn describe(&self) -> Result<(), Undescribed> {
        let name = &self.target.name;
        lock(&self.asked).wait = Duration::ZERO;
        let reply = match self.question("Describe", &Deadline::after(ANSWER_LIMIT)).await {
            Ok(reply) => reply,
            Err(Unanswered::Late) => return Err(Undescribed::Late),
            Err(Unanswered::NotSent(_) | Unanswered::Gone) => return Err(Undescribed::Unasked),
        };
        if reply.message_type() == Type::Error {
            let (why, path) = (error_name(&reply), &self.target.path);
            let by_bus = reply.header().sender().is_some_and(|sender| sender.as_str() == BUS_NAME);
            if by_bus && why.ends_with(".AccessDenied") {
                return Err(Undescribed::Wrong(format!(
                    "the policy of {} does not let the gateway call {name}; allow its user in a file of dbus-1/system.d",
                    self.target.bus.called()
                )));
            }
            return Err(Undescribed::Wrong(format!(
                "{name} does not describe itself ({why}); it must implement {INTERFACE} at {path}"
            )));
        }
        // The bus fills in who has answered.
        let by = reply.header().sender().map(ToString::to_string);
        let by = by.zip(self.bus.connected_as());
        let body = reply.body();
        let Ok(text) = body.deserialize::<&str>() else {
            return Err(Undescribed::Wrong(format!(
                "{name} describes itself wrongly: its description must be one text"
            )));
        };
        let known = {
            let asked = lock(&self.asked);
            asked.last.as_ref().filter(|(last, _)| last == text).map(|(_, wrong)| wrong.clone())
        };
        match known {
            Some(None) => {
                *lock(&self.described_by) = by;
                self.state.send_if_modified(|state| state.mistake.take().is_some());
                return Ok(());
            }
            Some(Some(wrong)) => return Err(Undescribed::Wrong(wrong)),
            None => {}
        }
        let text = text.to_owned();
        let (said, plugin) = (text.clone(), name.clone());
        // It is the plugin's data: reading it may take long, and must hold up nobody.
        let mut reading = JoinSet::new();
        reading.spawn_blocking(move || Description::parse(&said, &plugin));
        let Some(Ok(read)) = reading.join_next().await else {
            let why = format!("{name} describes itself in a way that cannot be read");
            return Err(Undescribed::Wrong(why));
        };
        let read = read.map_err(|e| e.to_string());
        let mut asked = lock(&self.asked);
        asked.last = Some((text, read.as_ref().err().cloned()));
        asked.wait = asked.changes.spend(1);
        drop(asked);
        let description = read.map_err(Undescribed::Wrong)?;
        tracing::info!("{name} describes {} methods", description.methods.len());
        self.state.send_modify(|state| {
            state.described = Some(Arc::new(description));
            state.mistake = None;
        });
        *lock(&self.described_by) = by;
        Ok(())
    }

    async fn question(&self, member: &'static str, within: &Deadline) -> Result<Message, Unanswered> {
        let message = call_message(&self.target.name, &self.target.path, INTERFACE, member).build(&());
        // The names have been checked.
        let Ok(message) = message else { return Err(Unanswered::Gone) };
        self.bus.ask(&message, within).await
    }
}

fn error_name(reply: &Message) -> String {
    let header = reply.header();
    header.error_name().map_or_else(|| "an error without a name".into(), |name| clip(name.as_str(), 100))
}
