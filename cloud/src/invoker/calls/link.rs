//! What the coming and going of the connection means for the calls, and the freezes in between.

use nowd_link::{Publish, Qos};
use nowd_protocol::{ReplyTopic, Status, Uuid};

use super::call::{For, Stage};
use super::{Core, Wire};
use crate::clock::BootInstant;

/// The connection to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    /// There was one before this process was stood still. It may carry questions, but no calls.
    Doubted,
    Up,
}

impl Core {
    /// A connection is open, and replies reach us on it.
    pub(crate) fn connected(&mut self, now: BootInstant, wire: &mut impl Wire) {
        self.link = Link::Up;
        // What was under way when the connection before ended, or its reply, may be lost with it; what goes out now is not.
        let lost = self.calls.iter_mut().filter_map(|(id, call)| call.is_lost().then_some(*id));
        self.again.extend(lost);
        self.advance_all(now, wire);
        self.publish_all_again(now, wire);
    }

    /// This process was stood still for some time: what is known of others is no longer so, and whether the connection
    /// still works is not known. `clock_stood` says that our clock did not count that time: deadlines may have passed that
    /// it does not show, so nothing from before is sent any more.
    pub(crate) fn thawed(&mut self, now: BootInstant, clock_stood: bool, wire: &mut impl Wire) {
        if self.link == Link::Up {
            self.link = Link::Doubted;
        }
        self.watches.doubt();
        if clock_stood {
            self.bounds.clear();
            let sent = "this side's clock stood still, and the deadline may have passed meanwhile; the request may have run";
            let unsent =
                "this side's clock stood still, and the deadline may have passed meanwhile; nothing was sent";
            self.end_all(now, sent, (Status::Expired, unsent), wire);
        }
        for (_, id) in &self.waiting {
            if let Some(call) = self.calls.get_mut(id) {
                call.wait(For::Link);
            }
        }
    }

    /// The connection from before this process was stood still works.
    pub(crate) fn proved(&mut self, now: BootInstant, wire: &mut impl Wire) {
        self.link = Link::Up;
        self.advance_all(now, wire);
        self.publish_all_again(now, wire);
    }

    /// The next message to ourselves, by which something is found out.
    pub(crate) fn probe(&mut self) -> Option<(Publish, Uuid)> {
        let probe = self.next_probe()?;
        let publish = Publish { topic: ReplyTopic(probe.clone()).to_string(), ..Publish::default() };
        Some((Publish { qos: Qos::AtLeastOnce, ..publish }, probe.id))
    }

    /// The connection has ended.
    pub(crate) fn disconnected(&mut self) {
        self.link = Link::Down;
        self.watches.clear();
        for (_, id) in &self.waiting {
            if let Some(call) = self.calls.get_mut(id) {
                call.stage = Stage::Waiting(For::Link);
            }
        }
    }
}
