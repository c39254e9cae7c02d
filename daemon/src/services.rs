//! Plugins in processes of their own, as the daemon knows them: one [`Service`] for each, whichever sets of methods use it, and
//! shipped plugins behind one.
//!
//! Connects to nothing itself: the gateway runs what is found here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nowd_plugin::bus::BusAddress;
use nowd_plugin::host::{Registry, RegistryError};
use nowd_plugin::service::{Description, fingerprint};
use nowd_plugin::{BoxFuture, Call, CallError, CancellationToken, Completion, Health, Method, Plugin};
use nowd_plugin_dbus::service::{DropIn, NO_OWNER, Service, ServicePlugin, ServiceTarget, Signals};

/// The shipped plugins that can run in processes of their own.
pub(crate) const SHIPPED: &[&str] = &["dbus", "serial", "simulator"];

/// Where a shipped plugin is found when it runs in a process of its own.
#[must_use]
pub(crate) fn shipped(name: &str, bus: BusAddress) -> ServiceTarget {
    ServiceTarget { bus, name: format!("io.nowd.Plugin.{name}"), path: "/io/nowd/Plugin".into() }
}

/// Whether this is the process of the shipped plugin of this name.
#[must_use]
pub(crate) fn is_of(service: &Service, name: &str) -> bool {
    *service.target() == shipped(name, service.target().bus.clone())
}

/// The services that somebody holds: whoever asks for one again gets the same.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    services: BTreeMap<ServiceTarget, Weak<Service>>,
    signals: BTreeMap<BusAddress, Weak<Signals>>,
}

impl Pool {
    pub(crate) fn service(&self, target: &ServiceTarget) -> Arc<Service> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = known.services.get(target).and_then(Weak::upgrade) {
            return service;
        }
        let signals = known.signals.get(&target.bus).and_then(Weak::upgrade).unwrap_or_else(|| {
            let signals = Signals::new(target.bus.clone());
            known.signals.insert(target.bus.clone(), Arc::downgrade(&signals));
            signals
        });
        let service = Service::new(target.clone(), signals);
        known.services.insert(target.clone(), Arc::downgrade(&service));
        service
    }
}

/// A plugin that describes itself, and the drop-in that narrows it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) drop_in: DropIn,
    pub(crate) service: Arc<Service>,
}

/// What is left out of the descriptions of plugins, by their names, in sentences.
pub(crate) type Notes = BTreeMap<String, Vec<String>>;

/// The descriptions that count, by the names of the plugins.
pub(crate) type Descriptions = BTreeMap<String, Arc<Description>>;

/// The methods of `base` and of the plugins that describe themselves; what does not go together is left out, and noted.
/// Compiles schemas that plugins have made: not to be called where calls wait for it.
pub(crate) fn offered(base: &Registry, described: &[Described], as_said: &Descriptions) -> (Registry, Notes) {
    let mut registry = base.clone();
    let mut all = Notes::new();
    for Described { drop_in, service } in described {
        let (methods, mut notes) = drop_in.methods(as_said.get(drop_in.name()).map(Arc::as_ref));
        let plugin: Arc<dyn Plugin> = Arc::new(ServicePlugin { service: Arc::clone(service), methods });
        notes.extend(registry.take(&plugin).iter().map(RegistryError::to_string));
        if !notes.is_empty() {
            all.insert(drop_in.name().to_owned(), notes);
        }
    }
    (registry, all)
}

/// A shipped plugin that runs in a process of its own. Its methods are those of the maps, which both processes read; who runs
/// with others is not called.
#[derive(Debug)]
pub(crate) struct Isolated {
    plugin: Arc<dyn Plugin>,
    service: Arc<Service>,
    fingerprint: String,
}

impl Isolated {
    pub(crate) fn new(plugin: Arc<dyn Plugin>, service: Arc<Service>) -> Self {
        Self { fingerprint: fingerprint(&*plugin), plugin, service }
    }

    /// Whether the process that is there has said that it runs with other maps.
    fn has_other_maps(&self) -> bool {
        self.service.described_now().is_some_and(|(_, theirs)| theirs != self.fingerprint)
    }

    /// A shipped plugin is not another's to correct: how it is started is known.
    fn absent(&self) -> String {
        let (name, target) = (self.plugin.name(), self.service.target());
        format!(
            "nobody on {} has the name {}; start it: nowd plugin serve {name}, or systemctl start nowd-plugin@{name}",
            target.bus.called(),
            target.name
        )
    }

    fn other_maps(&self) -> String {
        let name = self.plugin.name();
        format!(
            "the plugin {name} runs with other maps or ports than the gateway; restart it (systemctl restart \
             nowd-plugin@{name}) or let the gateway read its own again (nowd reload)"
        )
    }
}

impl Plugin for Isolated {
    fn name(&self) -> &str {
        self.plugin.name()
    }

    fn methods(&self) -> Vec<Method> {
        self.plugin.methods()
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        // The service is run by the gateway; the plugin, in its process.
        Box::pin(async move { stop.cancelled().await })
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            if self.has_other_maps() {
                return Completion::Unavailable(CallError::new("other_maps", self.other_maps()));
            }
            let completion = self.service.invoke_only(call, &self.fingerprint).await;
            if matches!(&completion, Completion::Unavailable(error) if error.code == NO_OWNER) {
                return Completion::Unavailable(CallError::new(NO_OWNER, self.absent()));
            }
            completion
        })
    }

    fn explain(&self, method: &str) -> Vec<String> {
        self.plugin.explain(method)
    }

    fn identity(&self, method: &str) -> String {
        format!("{:?} {}", self.service.target(), self.plugin.identity(method))
    }

    fn preview(&self, call: &Call) -> Result<Vec<String>, Completion> {
        self.plugin.preview(call)
    }

    fn health(&self) -> Health {
        if self.has_other_maps() {
            return Health::Failed(self.other_maps());
        }
        let state = self.service.news();
        let state = state.borrow();
        match &state.why_absent {
            Some(_) if !state.present && self.service.reaches_bus() => Health::Failed(self.absent()),
            Some(why) if !state.present => Health::Failed(why.clone()),
            Some(_) | None => state.health.clone(),
        }
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.service.ready()
    }
}
