//! Whether the link moves as it promises itself to: waiting, opening, subscribing, probing. Nothing is decided by it here.

use std::time::Duration;

use nowd_link::Movement;

use super::{State, Uplink};
use crate::supervisor::Part;

/// The longest pause between two attempts to connect.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How much later than that it may be, on a machine that is busy.
const MARGIN: Duration = Duration::from_secs(10);

impl Uplink {
    /// What must move, whatever the broker does.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let silence = self.options.user_timeout.saturating_mul(2);
        let (bound, movements) = match &self.state {
            State::Waiting(_) => (Some(LONGEST_WAIT), None),
            State::Opening(_) => (Some(self.options.connect_timeout), None),
            // The subscription is granted, or its silence ends the connection.
            State::Up(up) if up.ready.is_none() => (Some(silence), Some(up.connection.movements())),
            // A message comes, or a probe goes out.
            State::Up(up) => {
                let probed = self.probes.rest().map(|rest| rest.saturating_add(silence));
                (probed, Some(up.connection.movements()))
            }
        };
        let own = bound.map(|bound| Part::new("the link", self.moves, bound.saturating_add(MARGIN)));
        let driven = movements
            .into_iter()
            .flatten()
            .map(|Movement { name, moves, bound }| Part::new(name, moves, bound.saturating_add(MARGIN)));
        own.into_iter().chain(driven).collect()
    }
}
