//! Which attempts the ids of earlier calls have used up. A caller may use an id again, and a late reply to the call before
//! must not answer the next.

use std::collections::{HashMap, VecDeque};

use nowd_protocol::Uuid;

/// How many ids are remembered; the oldest are forgotten first.
const MOST: usize = 65_536;

#[derive(Debug, Clone, Default)]
pub(super) struct Spent {
    attempts: HashMap<Uuid, u32>,
    order: VecDeque<Uuid>,
}

impl Spent {
    /// The number of the last attempt of the calls with this id; 0 where none is known.
    pub(super) fn last(&self, id: Uuid) -> u32 {
        self.attempts.get(&id).copied().unwrap_or_default()
    }

    /// A call has ended, or nobody waits for it any more.
    pub(super) fn remember(&mut self, id: Uuid, attempts: u32) {
        if attempts == 0 {
            return;
        }
        if self.attempts.insert(id, attempts).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > MOST {
            let Some(oldest) = self.order.pop_front() else { break };
            self.attempts.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut spent = Spent::default();
        for n in 0..=u32::try_from(MOST).unwrap() {
            spent.remember(Uuid::from_u128(u128::from(n)), 2);
        }
        assert_eq!([0, 1].map(|n| spent.last(Uuid::from_u128(n))), [0, 2]);
        spent.remember(Uuid::from_u128(1), 5);
        spent.remember(Uuid::from_u128(2), 0);
        assert_eq!([1, 2].map(|n| spent.last(Uuid::from_u128(n))), [5, 2]);
        assert_eq!(spent.order.len(), spent.attempts.len());
    }
}
