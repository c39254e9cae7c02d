//! What the service manager is told of the gateway: that it has begun, how it is, and that every part moves.

use std::sync::Arc;
use std::time::Duration;

use nowd_core::Event;
use nowd_plugin::{BootInstant, Pulse};

use super::Gateway;
use crate::supervisor::{Part, ServiceManager, Status, Supervisor};

/// How long the thread that writes records may take for one: it waits for nothing, and may not be scheduled for a while.
const RECORD_WITHIN: Duration = Duration::from_secs(30);

impl Gateway {
    /// A gateway that tells `manager` when it has begun, how it is, and, where that has a watchdog, that it lives: for as long
    /// as its loop, the core, the link and the background work of its plugins move.
    #[must_use]
    pub fn supervised(mut self, manager: Option<ServiceManager>) -> Self {
        self.supervisor = Supervisor::new(manager);
        self
    }

    /// It is time to look.
    pub(super) fn supervise(&mut self) {
        if !self.supervisor.is_ready() {
            if self.has_begun() {
                let status = self.status();
                self.supervisor.ready(&status);
            }
            return;
        }
        // The loop has come here. The core is asked the same way as ever; had it not answered, nothing would go on.
        self.decide(Event::Time);
        let mut parts = self.uplink.parts();
        parts.push(Part::new("the thread that writes records", self.records.ask(), RECORD_WITHIN));
        parts.extend(self.pulses().iter().map(Part::ask));
        self.supervisor.look(parts);
    }

    /// Whether the plugins in this process are at work, and the gateway is on its bus or has tried to be.
    fn has_begun(&self) -> bool {
        if !self.local.0.has_begun(BootInstant::now()) {
            return false;
        }
        let plugins = self.generations.current().plugins.of_maps.iter().chain(&self.extra);
        plugins.flat_map(|plugin| plugin.pulses()).all(|pulse| pulse.moves() > 0)
    }

    /// The loops of all plugins, once each.
    fn pulses(&self) -> Vec<Arc<Pulse>> {
        let mut all: Vec<_> = self.extra.iter().flat_map(|plugin| plugin.pulses()).collect();
        for generation in self.generations.all() {
            let plugins = &generation.plugins;
            all.extend(plugins.of_maps.iter().flat_map(|plugin| plugin.pulses()));
            all.extend(plugins.services().flat_map(|service| service.pulses()));
        }
        // Several sets may share them.
        all.sort_by_key(|pulse| pulse.id());
        all.dedup_by_key(|pulse| pulse.id());
        all
    }

    /// Says how the gateway is, if it is otherwise than before.
    pub(super) fn tell_status(&mut self) {
        if self.supervisor.is_there() {
            let status = self.status();
            self.supervisor.status(&status);
        }
    }

    fn status(&self) -> Status {
        let link = self.uplink.report();
        Status {
            up_since: (link.state == "up").then_some(link.since),
            endpoint: link.endpoint,
            last_error: link.last_error.map(|(reason, _)| reason),
            lockout: self.lockout.reason().map(str::to_owned),
        }
    }
}
