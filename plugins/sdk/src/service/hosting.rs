//! A plugin as a service on a bus: connects, and connects again for ever; runs the plugin's background work.
//!
//! It never keeps a call for a bus that is not there, and ends by itself only where somebody must do something first.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use zbus::names::WellKnownName;
use zbus::{Connection, ObjectPath};

use super::bus::{self, NameError};
use super::calls::Calls;
use super::error::ServiceError;
use super::session::{Ending, FAREWELL, Session};
use super::{Description, fingerprint};
use crate::bus::BusAddress;
use crate::host::keep_running;
use crate::{CancellationToken, Method, Plugin};

/// How long the plugin's buses and ports may take before it is put on the bus without them.
const READY_LIMIT: Duration = Duration::from_secs(1);

/// How long background work may take to end.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(1);

/// A plugin, and where it is served.
#[derive(Debug, Clone)]
pub struct Service {
    plugin: Arc<dyn Plugin>,
    bus: BusAddress,
    name: String,
    path: String,
    description: String,
}

impl Service {
    /// The plugin under a well-known name such as `com.example.Gate`, as the object at a path such as `/com/example/Gate`.
    ///
    /// # Errors
    /// A name or path that no bus takes, or methods that no gateway would.
    pub fn new(
        plugin: Arc<dyn Plugin>,
        bus: BusAddress,
        name: &str,
        path: &str,
    ) -> Result<Self, ServiceError> {
        let methods = plugin.methods();
        Self::describing(plugin, &methods, bus, name, path)
    }

    /// The same for a plugin whose methods are described in other words than its own, such as without safe actions that
    /// another plugin has.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn describing(
        plugin: Arc<dyn Plugin>,
        methods: &[Method],
        bus: BusAddress,
        name: &str,
        path: &str,
    ) -> Result<Self, ServiceError> {
        if WellKnownName::try_from(name).is_err() {
            return Err(ServiceError::Name(name.into()));
        }
        if ObjectPath::try_from(path).is_err() || path == "/" {
            return Err(ServiceError::Path(path.into()));
        }
        let description = Description::text(methods, &fingerprint(plugin.as_ref()));
        Description::parse(&description, name)?;
        Ok(Self { plugin, bus, name: name.into(), path: path.into(), description })
    }

    /// The plugin.
    pub(super) const fn plugin(&self) -> &Arc<dyn Plugin> {
        &self.plugin
    }

    /// Where it is served.
    #[must_use]
    pub const fn bus(&self) -> &BusAddress {
        &self.bus
    }

    /// Its name on the bus.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of its object.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What `Describe` answers.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Serves until `stop`. A bus that is not there yet, or goes, is waited for. At the end calls that run have 3 s.
    ///
    /// # Errors
    /// The name is taken or not allowed when it is asked for the first time; later both are waited for.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), ServiceError> {
        let stop_plugin = CancellationToken::new();
        // Dropped with this, if nobody waits for the end.
        let _guard = stop_plugin.clone().drop_guard();
        let mut background = JoinSet::new();
        background.spawn(keep_running(Arc::clone(&self.plugin), stop_plugin.clone()));
        self.wait_until_ready(&stop).await;
        let mut calls = Calls::new(Arc::clone(&self.plugin));
        let served = self.serve(&mut calls, &stop).await;
        calls.refuse_more();
        if served.is_ok() {
            // Where the bus is there, they have ended before.
            tokio::select! {
                () = async { while calls.running() > 0 { drop(calls.next().await); } } => {}
                () = sleep(FAREWELL) => drop(calls.abandon()),
            }
        }
        stop_plugin.cancel();
        tokio::select! {
            _ = background.join_next() => {}
            () = sleep(BACKGROUND_LIMIT) => {
                tracing::warn!(see = "plugin-held-on", plugin = self.plugin.name(), "the plugin's background work did not end in time");
            }
        }
        served
    }

    async fn wait_until_ready(&self, stop: &CancellationToken) {
        // In a task of its own, so that a panic ends nothing else.
        let mut ready = JoinSet::new();
        let plugin = Arc::clone(&self.plugin);
        ready.spawn(async move { plugin.ready().await });
        tokio::select! {
            _ = ready.join_next() => {}
            () = sleep(READY_LIMIT) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn serve(&self, calls: &mut Calls, stop: &CancellationToken) -> Result<(), ServiceError> {
        let mut failures = 0_u32;
        // Each reason once in a row.
        let mut told = String::new();
        let mut had_name = false;
        let mut number = 0_u64;
        while !stop.is_cancelled() {
            number = number.wrapping_add(1);
            let connected = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                connected = bus::connect(&self.bus) => connected,
            };
            let why = match connected {
                Ok(stream) => {
                    let connection = Connection::from(&stream);
                    match Session::new(self, calls, number, &connection).run(stream, stop).await {
                        Ending::Stopped => return Ok(()),
                        Ending::Lost { named, why } => {
                            if named {
                                failures = 0;
                                told.clear();
                                had_name = true;
                            }
                            why
                        }
                        Ending::Name(NameError::Bus(e)) => e.to_string(),
                        Ending::Name(e) if had_name => {
                            self.no_name(&e).map_or_else(|| e.to_string(), |e| e.to_string())
                        }
                        Ending::Name(e) => match self.no_name(&e) {
                            Some(error) => return Err(error),
                            None => e.to_string(),
                        },
                    }
                }
                Err(e) => e.to_string(),
            };
            if told != why {
                tracing::warn!(
                    see = "plugin-not-on-bus",
                    "not on {} as {}, trying on: {why}",
                    self.bus.called(),
                    self.name
                );
                told = why;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(bus::pause(failures)) => {}
            }
            failures = failures.saturating_add(1);
        }
        Ok(())
    }

    /// What to do about it, in words.
    fn no_name(&self, error: &NameError) -> Option<ServiceError> {
        let (name, bus) = (self.name.clone(), self.bus.clone());
        match error {
            NameError::Taken => Some(ServiceError::NameTaken { name, bus }),
            NameError::NotAllowed => Some(ServiceError::NotAllowed { name, bus }),
            NameError::Bus(_) => None,
        }
    }
}
