//! What was deployed, asked for piece by piece: our configuration, those of components of maps, and the nucleus's endpoint.
//!
//! What cannot be asked for now is as it was known before, unless the nucleus says that it is not there.

use std::collections::BTreeMap;

use nowd_greengrass::{CallError, Client, RefusalKind, Subscription};
use serde_json::{Map, Value};
use tracing::{debug, info};

use super::super::Deployed;
use super::super::document::{KEYS, Nucleus};
use super::super::standing::{Kind, Standing};

/// The nucleus's own component, under the names that the two kinds give it.
const NUCLEI: [&str; 2] = ["aws.greengrass.Nucleus", "aws.greengrass.NucleusLite"];
const ENDPOINT: [&str; 1] = ["iotDataEndpoint"];

/// Of whose changes we are told: ours under the empty name.
#[derive(Debug, Default)]
pub(super) struct Subscribed {
    of: BTreeMap<String, Subscription>,
    /// What was refused once is not asked for again on this connection.
    refused: Vec<String>,
    has_begun: bool,
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) deployed: Deployed,
    /// All of it was answered, and is there.
    pub(super) whole: bool,
}

/// Asks for everything; nothing where our own configuration cannot be had.
pub(super) async fn gather(
    client: Client,
    mut subscribed: Subscribed,
    before: Option<Deployed>,
    nucleus: Nucleus,
    standing: &Standing,
) -> (Subscribed, Option<Gathered>) {
    let before = before.unwrap_or_default();
    if !std::mem::replace(&mut subscribed.has_begun, true) {
        let both = [client.subscribe_validation().await, client.subscribe_component_updates().await];
        standing.is(Kind::of_subscriptions(&both));
        both.into_iter().for_each(note);
    }
    // First the subscription, then the question: nothing that changes in between is missed.
    subscribed.to(&client, "", &[]).await;
    let own = match whole(&client, None).await {
        Ok(own) => own.unwrap_or_default(),
        Err(e) => {
            debug!("the component configuration cannot be asked for: {e}");
            return (subscribed, None);
        }
    };
    let endpoint = endpoint(&client, &mut subscribed).await;
    let mut whole = endpoint.is_ok();
    let endpoint = endpoint.unwrap_or(before.nucleus.endpoint);
    let mut deployed = Deployed { nucleus: Nucleus { endpoint, ..nucleus }, ..Deployed::default() };
    deployed = deployed.with_component(own);
    // What is wrong with the names is said by whoever judges.
    let names = deployed.names().unwrap_or_default();
    subscribed.only(&client, &names);
    for name in names {
        subscribed.to(&client, &name, &[]).await;
        let asked = component(&client, &name).await;
        whole &= asked.is_ok();
        if let Some(configuration) = asked.unwrap_or_else(|_| before.components.get(&name).cloned()) {
            deployed.components.insert(name, configuration);
        }
    }
    whole &= deployed.missing().is_empty();
    (subscribed, Some(Gathered { deployed, whole }))
}

/// The configuration of a component of maps: an error where that cannot be known.
pub(super) async fn component(client: &Client, name: &str) -> Result<Option<Map<String, Value>>, CallError> {
    whole(client, Some(name))
        .await
        .map(|configuration| configuration.map(without_access))
        .inspect_err(|e| info!("the configuration of {name} cannot be asked for: {e}"))
}

/// A component's whole configuration, or, from a nucleus that cannot give that much at once, what of it is of use.
pub(in super::super) async fn whole(
    client: &Client,
    name: Option<&str>,
) -> Result<Option<Map<String, Value>>, CallError> {
    match client.object(name, &[]).await {
        Ok(Value::Object(configuration)) => Ok(Some(configuration)),
        Ok(_) => Ok(None),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) if e.refusal() == Some(RefusalKind::Service) => {
            let mut configuration = Map::new();
            for key in KEYS.into_iter().skip(1) {
                // A list is a leaf, and comes inside an object.
                let value = match key {
                    "maps" => client.configuration(name, &[key]).await,
                    _ => client.object(name, &[key]).await,
                };
                match value {
                    Ok(value) => drop(configuration.insert(key.to_owned(), value)),
                    Err(e) if is_absent(&e) => {}
                    // Half of it is another configuration.
                    Err(_) => return Err(e),
                }
            }
            Ok(Some(configuration))
        }
        Err(e) => Err(e),
    }
}

/// An error where it cannot be known.
async fn endpoint(client: &Client, subscribed: &mut Subscribed) -> Result<Option<String>, CallError> {
    let mut known = Ok(None);
    for nucleus in NUCLEI {
        match client.configuration(Some(nucleus), &ENDPOINT).await {
            Ok(Value::String(endpoint)) if !endpoint.is_empty() => {
                subscribed.to(client, nucleus, &ENDPOINT).await;
                return Ok(Some(endpoint));
            }
            Ok(_) => {}
            Err(e) if is_absent(&e) => {}
            Err(e) => known = Err(e),
        }
    }
    known
}

impl Subscribed {
    async fn to(&mut self, client: &Client, name: &str, key_path: &[&str]) {
        if self.of.contains_key(name) || self.refused.iter().any(|refused| refused == name) {
            return;
        }
        let component = (!name.is_empty()).then_some(name);
        match client.subscribe_configuration(component, key_path).await {
            Ok(subscription) => drop(self.of.insert(name.to_owned(), subscription)),
            // One that is not there yet may come.
            Err(e) if is_absent(&e) => {}
            Err(e) => {
                debug!("changes are looked for now and then, and not told: {e}");
                self.refused.push(name.to_owned());
            }
        }
    }

    /// Changes of others are not of interest any more.
    fn only(&mut self, client: &Client, names: &[String]) {
        let gone =
            |name: &String| !name.is_empty() && !NUCLEI.contains(&name.as_str()) && !names.contains(name);
        let unused: Vec<String> = self.of.keys().filter(|name| gone(name)).cloned().collect();
        for subscription in unused.iter().filter_map(|name| self.of.remove(name)) {
            client.unsubscribe(subscription);
        }
    }
}

fn without_access(mut configuration: Map<String, Value>) -> Map<String, Value> {
    configuration.remove("accessControl");
    configuration
}

fn is_absent(e: &CallError) -> bool {
    e.refusal() == Some(RefusalKind::NotFound)
}

/// Nucleus lite has neither.
fn note(subscribed: Result<Subscription, CallError>) {
    if let Err(e) = subscribed {
        debug!("done without: {e}");
    }
}
