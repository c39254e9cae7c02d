//! Asks objects to describe themselves: at the start, when their owner changes, and when a call needs it.
//!
//! What it never does: hold up a call that knows its types, or ask for more than the maps name.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nowd_plugin::Deadline;
use nowd_plugin::map::MapError;
use zbus::message::{Message, Type};
use zbus::names::UniqueName;

use super::{Bus, SendError, Up, call_message, told};
use crate::answer::NO_OBJECT;
use crate::fit;
use crate::introspect::{Description, IntrospectError};
use crate::json::clip;
use crate::map::Mapped;

/// How long an object may take to describe itself while nobody waits for it.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// How many objects are asked at once.
const MAX_ASKED: usize = 16;

/// Pauses before each question: a service may own its name before it has its objects, and is not to be accused of that.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(2)];

/// An object of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Object {
    pub(crate) destination: String,
    pub(crate) path: String,
}

/// A description, and who gave it.
#[derive(Debug)]
pub(super) struct Learned {
    owner: String,
    description: Arc<Description>,
}

/// Why an object is not described.
#[derive(Debug)]
pub(crate) enum Undescribed {
    /// It was not asked.
    NotSent(SendError),
    /// The bus went away.
    Gone,
    /// It did not answer in time.
    Late,
    /// It answered with an error.
    Error(Message),
    /// It answered with nonsense.
    Useless(IntrospectError),
    /// It answered with something else.
    NoText,
}

impl Mapped {
    /// The object that is called.
    pub(crate) fn object(&self) -> Object {
        Object { destination: self.target.destination.clone(), path: self.target.path.clone() }
    }

    /// The object that sends the signal of `done`, where the map names one.
    pub(crate) fn done_object(&self) -> Option<Object> {
        let path = self.done.as_ref()?.path.literal_text()?.to_owned();
        Some(Object { destination: self.target.destination.clone(), path })
    }
}

/// The objects that methods are about, and for each these methods.
pub(super) fn objects(users: &[Arc<Mapped>]) -> BTreeMap<Object, Vec<Arc<Mapped>>> {
    let mut objects: BTreeMap<Object, Vec<Arc<Mapped>>> = BTreeMap::new();
    for user in users {
        let named: BTreeSet<Object> = std::iter::once(user.object()).chain(user.done_object()).collect();
        for object in named {
            objects.entry(object).or_default().push(Arc::clone(user));
        }
    }
    objects
}

impl Up {
    /// The objects of a destination are to be asked.
    pub(super) fn unlearn(&mut self, destination: &str, objects: &BTreeMap<Object, Vec<Arc<Mapped>>>) {
        self.learned.retain(|object, _| object.destination != destination);
        let concerned = objects.keys().filter(|object| object.destination == destination);
        self.unlearned.extend(concerned.cloned());
    }
}

impl Bus {
    /// What an object has said of itself, by its present owner.
    pub(crate) fn description(&self, object: &Object) -> Option<Arc<Description>> {
        let state = self.lock();
        let up = state.up.as_ref()?;
        let learned = up.learned.get(object)?;
        let present = up.owners.get(&object.destination) == Some(&learned.owner);
        present.then(|| Arc::clone(&learned.description))
    }

    /// Asks an object to describe itself.
    pub(crate) async fn describe(
        &self,
        object: &Object,
        deadline: &Deadline,
    ) -> Result<Arc<Description>, Undescribed> {
        let introspectable = "org.freedesktop.DBus.Introspectable";
        let message = call_message(&object.destination, &object.path, introspectable, "Introspect")
            .build(&())
            .map_err(|_| Undescribed::NoText)?;
        let reply = self.send(&message, deadline).await.map_err(Undescribed::NotSent)?;
        let reply = tokio::select! {
            biased;
            reply = reply => reply.map_err(|_| Undescribed::Gone)?,
            () = deadline.passed() => return Err(Undescribed::Late),
        };
        if reply.message_type() == Type::Error {
            return Err(Undescribed::Error(reply));
        }
        let body = reply.body();
        let xml: &str = body.deserialize().map_err(|_| Undescribed::NoText)?;
        let description = Arc::new(Description::parse(xml).map_err(Undescribed::Useless)?);
        let header = reply.header();
        if let (Some(sender), Some(up)) = (header.sender().map(UniqueName::as_str), &mut self.lock().up)
            && self.objects.contains_key(object)
        {
            let learned = Learned { owner: sender.to_owned(), description: Arc::clone(&description) };
            up.learned.insert(object.clone(), learned);
        }
        Ok(description)
    }

    /// Asks whoever is to be asked, for as long as the connection lasts. The connection must be read meanwhile.
    pub(super) async fn keep_learned(&self) -> Infallible {
        let mut asked = FuturesUnordered::new();
        loop {
            while asked.len() < MAX_ASKED
                && let Some(object) = self.next_unlearned()
            {
                asked.push(self.learn(object));
            }
            tokio::select! {
                Some(()) = asked.next() => {}
                () = self.news.notified() => {}
            }
        }
    }

    fn next_unlearned(&self) -> Option<Object> {
        self.lock().up.as_mut()?.unlearned.pop_first()
    }

    /// The unique name of the owner of a name, as far as is known.
    pub(crate) fn owner(&self, destination: &str) -> Option<String> {
        self.lock().up.as_ref()?.owners.get(destination).cloned()
    }

    /// Whether an owner of it is known.
    pub(crate) fn has_owner(&self, destination: &str) -> bool {
        self.lock().up.as_ref().is_some_and(|up| up.owners.contains_key(destination))
    }

    async fn learn(&self, object: Object) {
        let Some(users) = self.objects.get(&object) else { return };
        let Some(owner) = self.owner(&object.destination) else { return };
        let mut wrong = Vec::new();
        for pause in PAUSES {
            tokio::time::sleep(pause).await;
            let described = self.describe(&object, &Deadline::after(ASK_LIMIT)).await;
            if self.owner(&object.destination).as_ref() != Some(&owner) {
                // Another one, who is asked for himself.
                return;
            }
            let described = match described {
                Err(Undescribed::NotSent(_) | Undescribed::Gone) => return,
                described => described,
            };
            wrong = complaints(&object, users, &described);
            // Who takes so long is not only just starting.
            if wrong.is_empty() || matches!(described, Err(Undescribed::Late)) {
                break;
            }
        }
        self.complain(&object, &wrong);
    }

    /// Tells what is wrong, once.
    fn complain(&self, object: &Object, wrong: &[MapError]) {
        let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        let subject = format!("{}{}", object.destination, object.path);
        for sentence in told::news(&self.address, subject, &wrong) {
            tracing::error!(see = "map-does-not-fit", bus = %self.address, "{sentence}");
        }
        #[cfg(test)]
        self.lock().told.insert(object.clone(), wrong);
    }

    /// What is wrong, whether or not it was news.
    #[cfg(test)]
    pub(crate) fn told(&self) -> Vec<String> {
        self.lock().told.values().flatten().cloned().collect()
    }
}

fn complaints(
    object: &Object,
    users: &[Arc<Mapped>],
    described: &Result<Arc<Description>, Undescribed>,
) -> Vec<MapError> {
    let mut wrong: Vec<MapError> = Vec::new();
    for user in users {
        if user.object() == *object {
            match described {
                Ok(description) => wrong.extend(fit::complaints(user, description)),
                Err(e) => wrong.extend(fit::silence(user, &e.why(), e.is_there())),
            }
        }
        if let (Some(done), Ok(description)) = (&user.done, described)
            && user.done_object().as_ref() == Some(object)
        {
            wrong.extend(fit::done_complaint(user, done, &object.path, description));
        }
    }
    // What is wrong with the object is so for each of its methods.
    wrong.sort_by_key(|error| (error.origin.file().to_owned(), error.origin.line(), error.origin.column()));
    wrong.dedup();
    wrong
}

impl Undescribed {
    /// Whether the object may be there.
    pub(crate) fn is_there(&self) -> bool {
        let Self::Error(reply) = self else { return true };
        let header = reply.header();
        header.error_name().is_none_or(|name| name.as_str() != NO_OBJECT)
    }

    /// What the object did, in words.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::NotSent(_) | Self::Gone => "was not asked".into(),
            Self::Late => "did not describe itself in time".into(),
            Self::NoText => "does not describe itself".into(),
            Self::Useless(e) => format!("is of no help: {e}"),
            Self::Error(reply) => {
                let header = reply.header();
                let name = header.error_name().map_or("unnamed error", |name| name.as_str());
                format!("does not describe itself ({})", clip(name, 100))
            }
        }
    }
}
