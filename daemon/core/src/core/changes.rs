//! Which methods were changed while the gateway ran, and when: a copy of a request that was refused before must not be started
//! after.

use std::collections::BTreeMap;

use crate::settings::Offer;
use crate::time::Instant;

/// How many methods are known one by one; beyond, all count as changed.
const MOST: usize = 1_024;

/// When something was changed, and until when bytes that had been refused before could be admitted after.
#[derive(Debug, Clone, Copy)]
struct Change {
    at: Instant,
    refused_until: Instant,
}

/// The last change of each method.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    of: BTreeMap<String, Change>,
    of_all: Option<Change>,
}

impl Changes {
    /// Another offer takes over at `now`.
    pub(super) fn note(&mut self, now: Instant, refused_until: Instant, old: &Offer, new: &Offer) {
        let change = Change { at: now, refused_until };
        self.of.retain(|_, change| change.refused_until >= now);
        let names = || old.methods.keys().chain(new.methods.keys());
        let altered = names().filter(|name| !new.agrees(old, name));
        self.of.extend(altered.map(|name| (name.clone(), change)));
        let others = names().any(|name| name == "*") && !new.agrees(old, "*");
        if others || old.compat != new.compat || self.of.len() > MOST {
            self.of.clear();
            self.of_all = Some(change);
        }
    }

    /// Where `method` was changed at `made` or after it: until when bytes that had been refused before could be admitted.
    pub(super) fn after(&self, method: &str, made: Instant) -> Option<Instant> {
        let changes = self.of.get(method).into_iter().chain(&self.of_all);
        changes.filter(|change| made <= change.at).map(|change| change.refused_until).max()
    }
}
