//! The gateway: request published to reply received, in turns with the floor, so that what else the machine does falls on both.

mod alone;
mod load;

use crate::bed::{Bed, Gateway, Maps};
use crate::calls::{Caller, Way};
use crate::drive::greet;

pub(crate) use alone::{FLOOR, THROUGH, alone};
pub(crate) use load::{OPEN, flight, open, paced};

/// Calls of each kind before anything counts.
const WARM_UP: u32 = 100;

/// A gateway with all its methods, and one whose plugin is a process of its own.
struct Both {
    own: Gateway,
    isolated: Gateway,
}

impl Both {
    async fn start(bed: &mut Bed, caller: &mut Caller) -> anyhow::Result<Self> {
        let own = bed.gateway(Maps::All).await?;
        let isolated = bed.gateway(Maps::Isolated).await?;
        let both = Self { own, isolated };
        for (_, way) in both.ways() {
            greet(caller, &way, WARM_UP).await?;
        }
        Ok(both)
    }

    /// The four ways through nowd.
    fn ways(&self) -> [(&'static str, Way); 4] {
        let target = &self.own.target;
        [
            ("D-Bus method", Way::dbus(target)),
            ("serial method", Way::serial(target)),
            ("simulated method", Way::simulator(target)),
            ("isolated simulated method", Way::simulator(&self.isolated.target)),
        ]
    }
}
