//! Names that nobody on the bus has. Tells of them, and which name may have been meant; sends them nothing.

use std::collections::HashMap;

use nowd_plugin::Deadline;
use nowd_plugin::words::nearest;
use zbus::{Connection, MessageStream};

use super::link::{ConnectError, ask};
use super::{BUS_NAME, Bus, SendError, Trust, bus_call, told, too_late};
use crate::json::clip;
use nowd_plugin::bus::BusAddress;

/// What to do where a plugin is not there.
pub(crate) const START_PLUGIN: &str = "start that plugin, or correct `plugin.name`";

impl Bus {
    /// Why a call cannot reach `destination`, if nobody has that name. Where no owner is known of, the bus itself is asked: the
    /// news of one may be on its way still, or be kept from the gateway.
    pub(crate) async fn absent(
        &self,
        destination: &str,
        deadline: &Deadline,
    ) -> Result<Option<String>, SendError> {
        if destination == BUS_NAME || self.has_owner(destination) {
            return Ok(None);
        }
        let Ok(question) = bus_call("ListNames").build(&()) else { return Ok(None) };
        let reply = Box::pin(self.send(&question, deadline)).await?;
        let reply = tokio::select! {
            biased;
            reply = reply => reply.map_err(|_| SendError::Gone)?,
            () = deadline.passed() => return Err(too_late(deadline).into()),
        };
        // Where the bus does not say, the call itself finds out.
        let names: Vec<String> = reply.body().deserialize().unwrap_or_default();
        let says = !names.is_empty() && !names.iter().any(|name| name == destination);
        Ok(says.then(|| self.nobody(destination, &names)))
    }

    /// Tells which destinations nobody owns, once.
    pub(super) async fn tell_absent(
        &self,
        connection: &Connection,
        stream: &mut MessageStream,
        owners: &mut HashMap<String, String>,
    ) -> Result<(), ConnectError> {
        for present in owners.keys().filter(|name| self.losses.contains_key(*name)) {
            // Where it is gone another time, that is news.
            told::news(&self.address, present.clone(), &[]);
        }
        if self.losses.keys().all(|destination| owners.contains_key(destination)) {
            return Ok(());
        }
        let reply = match ask(connection, stream, &bus_call("ListNames").build(&())?, owners).await {
            Ok(reply) => reply,
            // Names are only for the log.
            Err(ConnectError::Refused) => return Ok(()),
            Err(e) => return Err(e),
        };
        let names: Vec<String> = reply.body().deserialize()?;
        let absent = |destination: &&String| {
            *destination != BUS_NAME && !owners.contains_key(*destination) && !names.contains(destination)
        };
        for destination in self.losses.keys().filter(absent) {
            let sentence = self.nobody(destination, &names);
            for sentence in told::news(&self.address, destination.clone(), &[sentence]) {
                tracing::warn!(see = "service-absent", "{sentence}");
            }
        }
        Ok(())
    }

    /// In words that lead to the fix.
    fn nobody(&self, name: &str, names: &[String]) -> String {
        let known = names.iter().map(String::as_str).filter(|name| !name.starts_with(':'));
        let near = nearest(name, known).map(|name| format!("did you mean {:?}?", clip(name, 255)));
        let hint = match &self.trust {
            Trust::Services => near.as_deref(),
            Trust::Plugins(_) => near.as_deref().or(Some(START_PLUGIN)),
        };
        nobody_has(&self.address, name, hint)
    }
}

/// Nobody on this bus has a name; `hint` tells what to do, if it is known.
pub(crate) fn nobody_has(bus: &BusAddress, name: &str, hint: Option<&str>) -> String {
    let hint = hint.unwrap_or("start that service, or correct `destination`");
    format!("nobody on {} has the name {name}; {hint}", bus.called())
}
