//! The two ends of the small world: a cloud side and a gateway, each with its real core. They decide nothing of what happens.

use std::num::NonZeroU16;

use nowd_core as gateway;
use nowd_core::{CallKey, JournalLine};

use super::digest::digest;
use super::laws::Known;
use super::*;

#[derive(Clone)]
pub(super) struct Side {
    pub(super) core: Core,
    pub(super) up: bool,
    pub(super) digest: u128,
}

#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) core: gateway::Core<(usize, u32)>,
    pub(super) incarnation: u8,
    pub(super) started: u64,
    /// What the device has: the core's name for it, and whose it is.
    pub(super) running: Vec<(CallKey, usize)>,
    pub(super) committing: Vec<CallKey>,
    pub(super) journal: Vec<JournalLine>,
    /// How many lines of the journal survive whatever happens.
    pub(super) synced: usize,
    pub(super) digest: u128,
}

impl Side {
    pub(super) fn new(n: usize) -> Self {
        let counts = Arc::new(Counts::default());
        Self { core: Core::new(client(n), 10, Uuid::from_u128(1 << 100), counts, false), up: true, digest: 0 }
    }
}

/// Of all that a cloud side decides by.
pub(super) fn digest_of(side: &Side, calls: &[Known], n: usize, presence: bool) -> u128 {
    let core = &side.core;
    let calls: Vec<_> =
        calls.iter().filter(|call| call.side == n).map(|call| core.calls.get(&call.id)).collect();
    let lists = (&core.deadlines, &core.waiting, &core.again, &core.to_ask, core.blocked);
    let look = (!presence).then(|| core.watches.clone().look(&level("g")));
    let watches = presence.then_some(&core.watches);
    let link = (side.up, core.link);
    digest(format_args!("{link:?} {calls:?} {lists:?} {look:?} {watches:?} {:?}", core.bounds))
}

impl Gateway {
    pub(super) fn new(config: &Config, incarnation: u8, started: u64, past: Vec<JournalLine>) -> Self {
        let method = gateway::Method {
            entry: nowd_protocol::RawValue::NULL.to_owned().into(),
            identity: None,
            lane: "lane".into(),
            timeout: Duration::from_secs(1),
            max_timeout: Duration::from_secs(5),
            min_budget: Duration::ZERO,
            stuck_after: Duration::from_secs(1),
            allow: None,
            stop: false,
            internal: false,
            idempotent: false,
            on_timeout: None,
            on_stop: None,
            poll: None,
        };
        let offer = gateway::Offer {
            generation: 0,
            methods: [("m".into(), method)].into(),
            lanes: [("lane".into(), gateway::Lane { concurrency: NonZeroU16::MIN, depth: 1 })].into(),
            access_default: vec![gateway::Pattern::new("*")],
            compat: gateway::Compat { prefixes: Vec::new(), budget: Duration::from_secs(1) },
        };
        let settings = gateway::Settings {
            target: level("g"),
            incarnation: incarnation_id(incarnation),
            offer: Arc::new(offer),
            limits: gateway::Limits::default(),
            journal: config.journal,
            new_id: || Uuid::from_u128(0x5afe),
        };
        let mut gateway = Self {
            core: gateway::Core::new(settings, past.clone()),
            incarnation,
            started,
            running: Vec::new(),
            committing: Vec::new(),
            synced: past.len(),
            journal: past,
            digest: 0,
        };
        gateway.digest = gateway.digest();
        gateway
    }

    pub(super) fn digest(&self) -> u128 {
        let Self { core, running, committing, journal, synced, .. } = self;
        digest(format_args!("{core:?} {running:?} {committing:?} {journal:?} {synced}"))
    }
}

pub(super) fn client(side: usize) -> Level {
    level(["c", "d"][side])
}

pub(super) fn incarnation_id(n: u8) -> Uuid {
    Uuid::from_u128(u128::from(n) + 10)
}
