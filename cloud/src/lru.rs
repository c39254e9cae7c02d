//! A bounded map by target, which forgets the one that was used least recently.

use std::collections::{BTreeMap, HashMap};

use nowd_protocol::Level;

#[derive(Debug, Clone)]
pub(crate) struct Lru<V> {
    slots: HashMap<Level, (u64, V)>,
    order: BTreeMap<u64, Level>,
    uses: u64,
}

impl<V> Lru<V> {
    pub(crate) fn new() -> Self {
        Self { slots: HashMap::new(), order: BTreeMap::new(), uses: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Looks without using.
    pub(crate) fn peek(&self, target: &Level) -> Option<&V> {
        self.slots.get(target).map(|(_, value)| value)
    }

    /// Changes without using.
    pub(crate) fn peek_mut(&mut self, target: &Level) -> Option<&mut V> {
        self.slots.get_mut(target).map(|(_, value)| value)
    }

    /// Makes `target` the one used last.
    pub(crate) fn touch(&mut self, target: &Level) {
        if let Some((used, _)) = self.slots.get_mut(target)
            && let Some(target) = self.order.remove(used)
        {
            self.uses += 1;
            *used = self.uses;
            self.order.insert(self.uses, target);
        }
    }

    /// Puts `value` in, in place of an earlier one.
    pub(crate) fn insert(&mut self, target: Level, value: V) {
        self.uses += 1;
        self.order.insert(self.uses, target.clone());
        if let Some((used, _)) = self.slots.insert(target, (self.uses, value)) {
            self.order.remove(&used);
        }
    }

    pub(crate) fn remove(&mut self, target: &Level) {
        if let Some((used, _)) = self.slots.remove(target) {
            self.order.remove(&used);
        }
    }

    /// The target used least recently among those whose value is as wanted.
    pub(crate) fn oldest(&self, wanted: impl Fn(&V) -> bool) -> Option<Level> {
        self.order.values().find(|target| self.peek(target).is_some_and(&wanted)).cloned()
    }

    /// All values, to be changed without using.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.values_mut().map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Level, &V)> {
        self.slots.iter().map(|(target, (_, value))| (target, value))
    }

    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(name: &str) -> Level {
        Level::new(name).unwrap()
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut map = Lru::new();
        for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
            map.insert(level(name), value);
        }
        map.touch(&level("a"));
        map.insert(level("b"), 4);
        assert_eq!(map.oldest(|_| true), Some(level("c")));
        assert_eq!(map.oldest(|value| *value != 3), Some(level("a")));
        map.remove(&level("c"));
        assert_eq!((map.oldest(|_| true), map.len()), (Some(level("a")), 2));
        assert_eq!(map.peek(&level("b")), Some(&4));
        assert_eq!(map.order.len(), map.slots.len());
    }
}
