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
        let silence = self.way.silence().saturating_mul(2);
        // Another state is another promise, which has just begun.
        let (id, bound, movements) = match &self.state {
            State::Waiting(_) => (0, Some(LONGEST_WAIT), None),
            State::Opening(_) => (1, Some(self.way.connect_timeout()), None),
            // The subscription is granted, or its silence ends the connection.
            State::Up(up) if up.ready.is_none() => (2, Some(silence), up.connection.movements()),
            // A message comes, or a probe goes out.
            State::Up(up) => {
                let probed = self.probes.rest().map(|rest| rest.saturating_add(silence));
                (3, probed, up.connection.movements())
            }
        };
        let own =
            bound.map(|bound| Part { id, ..Part::new("the link", self.moves, bound.saturating_add(MARGIN)) });
        // Each connection begins to count anew: what the last one came to is no sign that this one stands still.
        let connection = match &self.state {
            State::Up(up) => up.session.id.as_u64_pair().0,
            State::Waiting(_) | State::Opening(_) => 0,
        };
        let driven = movements.into_iter().flatten().map(|Movement { name, moves, bound }| {
            let bound = bound.saturating_add(MARGIN);
            Part { id: connection, ..Part::new(name, moves, bound) }
        });
        own.into_iter().chain(driven).collect()
    }
}

#[cfg(test)]
mod tests {
    use nowd_link::Options;
    use nowd_protocol::{Level, Uuid};

    use super::super::{Facts, UplinkEvent, Way};
    use super::*;

    #[tokio::test]
    async fn a_link_that_nobody_polls_stands_still_and_one_without_a_broker_moves() {
        let facts =
            Facts { target: Level::new("gw-1").unwrap(), incarnation: Uuid::nil(), methods: String::new() };
        // Nobody listens on the port of a listener that is gone.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = Options::new("gw-1", "127.0.0.1", port);
        let mut uplink = Uplink::new(Way::Direct(options), None, facts, Duration::from_secs(60));
        let before = uplink.parts();
        assert_eq!(before, [Part { id: 1, ..Part::new("the link", 0, Duration::from_secs(20)) }]);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(uplink.parts(), before);
        let mut seen = Vec::new();
        while seen.len() < 3 {
            tokio::select! {
                event = uplink.next() => assert!(matches!(event, UplinkEvent::Down), "{event:?}"),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            let moves = uplink.parts()[0].moves;
            if seen.last() != Some(&moves) {
                seen.push(moves);
            }
        }
        assert!(seen.is_sorted(), "{seen:?}");
    }
}
