//! Who is connected, as far as the broker has said since our own connection began.
//!
//! One target at a time, never the whole fleet: at first contact its presence is subscribed to and a probe is
//! published to our own address, in one go. A retained presence comes before the probe's echo, so one round trip to
//! the broker tells whether there is one. A will counts only for the session last seen online. Nothing is kept from
//! one connection for the next, and nothing here does I/O.

use nowd_protocol::{Level, Presence, Uuid};

use crate::lru::Lru;

/// What is known of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It says that it is connected.
    Online,
    /// It was connected, and is not any more.
    Offline,
    /// It has no presence: it was never connected, or it publishes none.
    Absent,
    /// The broker does not let us know.
    Hidden,
}

/// What a look at a target shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// This is known.
    Known(Standing),
    /// The probe is under way.
    Asked,
    /// Nobody has asked yet.
    Unknown,
}

#[derive(Debug, Clone)]
struct Watch {
    /// The probe that is to tell; none while nobody has asked since all was doubted.
    probe: Option<Uuid>,
    standing: Option<Standing>,
    last_online: Option<Uuid>,
    /// What it last said of itself.
    said: Option<Presence>,
}

/// The presences that are subscribed to.
#[derive(Debug, Clone)]
pub(crate) struct Watches {
    targets: Lru<Watch>,
    capacity: usize,
}

impl Watches {
    /// Watches `capacity` targets at most: those used last.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { targets: Lru::new(), capacity }
    }

    /// What is known of `target`, which is about to be called.
    pub(crate) fn look(&mut self, target: &Level) -> Look {
        self.targets.touch(target);
        match self.targets.peek(target) {
            Some(Watch { standing: Some(standing), .. }) => Look::Known(*standing),
            Some(Watch { probe: Some(_), .. }) => Look::Asked,
            Some(Watch { standing: None, probe: None, .. }) | None => Look::Unknown,
        }
    }

    /// Whether `target` can be watched, as well as those that are.
    pub(crate) fn has_room_for(&self, target: &Level) -> bool {
        self.targets.len() < self.capacity || self.targets.peek(target).is_some()
    }

    /// How many targets are watched.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Gives up the target used least recently of which everything asked is known; it is to be unsubscribed from.
    pub(crate) fn make_room(&mut self) -> Option<Level> {
        let oldest = self.targets.oldest(|watch| watch.standing.is_some() || watch.probe.is_none())?;
        self.targets.remove(&oldest);
        Some(oldest)
    }

    /// `target`'s presence was subscribed to, and `probe` published after it.
    pub(crate) fn asked(&mut self, target: Level, probe: Uuid) {
        let watch = Watch { probe: Some(probe), standing: None, last_online: None, said: None };
        self.targets.insert(target, watch);
    }

    /// A presence came in; says whether it counts.
    pub(crate) fn heard(&mut self, target: &Level, presence: &Presence) -> bool {
        let Some(watch) = self.targets.peek_mut(target) else { return false };
        // Nobody has asked since all was doubted: whoever asks will hear it again.
        if watch.probe.is_none() {
            return false;
        }
        if presence.online {
            watch.said = Some(presence.clone());
            watch.last_online = Some(presence.session);
            watch.standing = Some(Standing::Online);
            return true;
        }
        let counts = watch.last_online.is_none_or(|session| session == presence.session);
        if counts {
            watch.said = Some(presence.clone());
            watch.standing = Some(Standing::Offline);
        }
        counts
    }

    /// The retained presence was cleared; says whether that counts.
    pub(crate) fn cleared(&mut self, target: &Level) -> bool {
        let Some(watch) = self.targets.peek_mut(target) else { return false };
        // As above: once a standing is known nobody asks, and what came after it would not count.
        if watch.probe.is_none() {
            return false;
        }
        watch.standing = Some(Standing::Absent);
        watch.said = None;
        true
    }

    /// What `target` last said of itself.
    pub(crate) fn presence(&self, target: &Level) -> Option<&Presence> {
        self.targets.peek(target)?.said.as_ref()
    }

    /// The echo of a probe came in: what was not said before it is not there. Says whether it was awaited.
    pub(crate) fn echo(&mut self, probe: Uuid) -> bool {
        let targets = self.asked_by(probe);
        for target in &targets {
            if let Some(watch) = self.targets.peek_mut(target) {
                watch.standing.get_or_insert(Standing::Absent);
            }
        }
        !targets.is_empty()
    }

    /// The targets that `probe` asks about.
    pub(crate) fn asked_by(&self, probe: Uuid) -> Vec<Level> {
        let asked = self.targets.iter().filter(|(_, watch)| watch.probe == Some(probe));
        asked.map(|(target, _)| target.clone()).collect()
    }

    /// Nobody was asked about `target` after all.
    pub(crate) fn forget(&mut self, target: &Level) {
        self.targets.remove(target);
    }

    /// The broker does not let us know.
    pub(crate) fn refused(&mut self, target: &Level) -> bool {
        let Some(watch) = self.targets.peek_mut(target) else { return false };
        watch.standing = Some(Standing::Hidden);
        true
    }

    /// This process was stood still: what was known of others may not be so any more. They are still subscribed to.
    pub(crate) fn doubt(&mut self) {
        for watch in self.targets.values_mut() {
            watch.probe = None;
            watch.standing = None;
        }
    }

    /// Our connection has ended, and with it all that was known.
    pub(crate) fn clear(&mut self) {
        self.targets.clear();
    }
}

#[cfg(test)]
mod tests;
