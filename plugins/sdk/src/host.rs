//! In-process hosting: which plugin has which method, and the tasks in which calls run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::{Id, JoinSet};

use crate::call::Call;
use crate::completion::{CallError, Completion};
use crate::map::MapOrigin;
use crate::method::{Lane, Method};
use crate::params::{Params, ParamsError};
use crate::words::hint;
use crate::{CancellationToken, Plugin};

/// Background work that ended by mistake is started again after this.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The methods of all plugins, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    methods: BTreeMap<String, (Method, Arc<dyn Plugin>)>,
    /// Each lane, and where it was declared first.
    lanes: HashMap<String, (Lane, String)>,
}

/// Methods do not go together: what is wrong, where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {mistake}")]
pub struct RegistryError {
    /// What is wrong.
    pub mistake: RegistryMistake,
    /// Where it was declared, for people: `methods.d/window.toml:9:14`.
    pub origin: String,
    place: Option<Box<MapOrigin>>,
}

/// What is wrong with methods that are right by themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryMistake {
    /// A method's name is taken.
    #[error("the method {name:?} is already declared in {first}; choose another name")]
    NameTaken {
        /// The method's name.
        name: String,
        /// Where it was declared first.
        first: String,
    },
    /// Two declarations of one lane differ.
    #[error("the lane {lane:?} has another concurrency or depth than in {first}; declare them alike")]
    LanesDiffer {
        /// The lane's name.
        lane: String,
        /// Where it was declared first.
        first: String,
    },
    /// A safe action has a safe action of its own.
    #[error(
        "`{key} = {target:?}` names a method that has `on_timeout` or `on_stop` itself; a safe action is the last word"
    )]
    SafeActionChained {
        /// `on_timeout` or `on_stop`.
        key: &'static str,
        /// The safe action.
        target: String,
    },
    /// A safe action needs a parameter that the call does not have.
    #[error(
        "`{key} = {target:?}` needs the parameter {param:?}, which is not declared here; declare it, or give it a default there"
    )]
    ParamMissing {
        /// `on_timeout` or `on_stop`.
        key: &'static str,
        /// The safe action.
        target: String,
        /// Its parameter.
        param: String,
    },
    /// A polled method needs a parameter, and the gateway has none to give.
    #[error(
        "the method is polled, and {param:?} has no default that the gateway could read it with; give it one, or leave out `poll`"
    )]
    PollNeedsParam {
        /// The parameter.
        param: String,
    },
    /// A safe action names no method.
    #[error("`{key} = {target:?}` names a method that is not declared{hint}")]
    NoSuchMethod {
        /// `on_timeout` or `on_stop`.
        key: &'static str,
        /// The method that is missing.
        target: String,
        /// What was probably meant.
        hint: String,
    },
}

/// A call has parameters with which its safe action could not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{mistake}, and `{key}` is {target:?}, which would have to run with it")]
pub struct UnsafeParams {
    key: &'static str,
    target: String,
    mistake: ParamsError,
}

impl RegistryError {
    fn new(method: &Method, key: Option<&str>, mistake: RegistryMistake) -> Self {
        let place = method.place.as_ref().map(|place| key.map_or_else(|| place.clone(), |key| place.at(key)));
        let origin = place.as_ref().map_or_else(|| method.origin.clone(), MapOrigin::exact);
        Self { mistake, origin, place: place.map(Box::new) }
    }

    /// The line of the map that it is about, if it is about one.
    #[must_use]
    pub fn excerpt(&self) -> Option<String> {
        self.place.as_ref().and_then(|place| place.excerpt())
    }
}

impl Registry {
    /// Takes all methods of all `plugins`.
    pub fn new(plugins: &[Arc<dyn Plugin>]) -> Result<Self, RegistryError> {
        let mut registry = Self::default();
        for plugin in plugins {
            for method in plugin.methods() {
                registry.insert(method, plugin)?;
            }
        }
        registry.methods().try_for_each(|method| registry.check(method))?;
        Ok(registry)
    }

    /// Takes the methods of a plugin that nobody has checked against the others: what does not go together with what is there
    /// is left out, and told.
    pub fn take(&mut self, plugin: &Arc<dyn Plugin>) -> Vec<RegistryError> {
        let mut mistakes = Vec::new();
        let mut taken = Vec::new();
        for method in plugin.methods() {
            let name = method.name.clone();
            match self.insert(method, plugin) {
                Ok(()) => taken.push(name),
                Err(e) => mistakes.push(e),
            }
        }
        // One that is left out may have been the safe action of another.
        loop {
            let wrong = taken.iter().find_map(|name| {
                let (method, _) = self.methods.get(name)?;
                self.check(method).err().map(|e| (name.clone(), e))
            });
            let Some((name, e)) = wrong else { return mistakes };
            self.methods.remove(&name);
            mistakes.push(e);
        }
    }

    fn insert(&mut self, method: Method, plugin: &Arc<dyn Plugin>) -> Result<(), RegistryError> {
        if let Some((other, _)) = self.methods.get(&method.name) {
            let (name, first) = (method.name.clone(), other.origin.clone());
            return Err(RegistryError::new(&method, None, RegistryMistake::NameTaken { name, first }));
        }
        let (lane, first) = self
            .lanes
            .entry(method.lane.name.clone())
            .or_insert_with(|| (method.lane.clone(), method.origin.clone()));
        if *lane != method.lane {
            let (lane, first) = (lane.name.clone(), first.clone());
            return Err(RegistryError::new(&method, None, RegistryMistake::LanesDiffer { lane, first }));
        }
        self.methods.insert(method.name.clone(), (method, Arc::clone(plugin)));
        Ok(())
    }

    /// Whether a method goes together with the others.
    fn check(&self, method: &Method) -> Result<(), RegistryError> {
        let error = |key, mistake| Err(RegistryError::new(method, Some(key), mistake));
        let needed = method.params.iter().flat_map(Params::required).next();
        if let (Some(_), Some(param)) = (method.policy.poll, needed) {
            return error("poll", RegistryMistake::PollNeedsParam { param: param.to_owned() });
        }
        for (key, target) in [("on_timeout", &method.policy.on_timeout), ("on_stop", &method.policy.on_stop)]
        {
            let Some(target) = target.clone() else { continue };
            let Some((action, _)) = self.methods.get(&target) else {
                let hint = hint(&target, self.methods.keys().map(String::as_str));
                return error(key, RegistryMistake::NoSuchMethod { key, target, hint });
            };
            if action.policy.on_timeout.is_some() || action.policy.on_stop.is_some() {
                return error(key, RegistryMistake::SafeActionChained { key, target });
            }
            let has =
                |name: &str| method.params.as_ref().is_some_and(|params| params.names().any(|n| n == name));
            let missing = action.params.iter().flat_map(Params::required).find(|name| !has(name));
            if let Some(param) = missing.map(Into::into) {
                return error(key, RegistryMistake::ParamMissing { key, target, param });
            }
        }
        Ok(())
    }

    /// All methods and their plugins, by name.
    pub fn all(&self) -> impl Iterator<Item = (&Method, &Arc<dyn Plugin>)> {
        self.methods.values().map(|(method, plugin)| (method, plugin))
    }

    /// All methods, by name.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.values().map(|(method, _)| method)
    }

    /// The parameters of a safe action: those of the call that it makes safe, as far as it declares them.
    ///
    /// # Errors
    /// Those of the call are not what the safe action allows.
    pub fn safe_params(action: &Method, params: &Value) -> Result<Value, ParamsError> {
        match &action.params {
            Some(known) => known.check(known.select(params)),
            None => Ok(Value::Null),
        }
    }

    /// Whether each safe action of `method` could run for a call with these parameters: one that could not must not be
    /// begun.
    ///
    /// # Errors
    /// A sentence that names the safe action.
    pub fn check_safe_actions_of(&self, method: &Method, params: &Value) -> Result<(), UnsafeParams> {
        let policy = &method.policy;
        for (key, target) in [("on_timeout", &policy.on_timeout), ("on_stop", &policy.on_stop)] {
            let Some((action, _)) = target.as_deref().and_then(|target| self.get(target)) else { continue };
            if let Err(mistake) = Self::safe_params(action, params) {
                return Err(UnsafeParams { key, target: action.name.clone(), mistake });
            }
        }
        Ok(())
    }

    /// The method of this name and its plugin; the method `*`, where there is one, stands for all other names.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(&Method, &Arc<dyn Plugin>)> {
        self.methods.get(name).or_else(|| self.methods.get("*")).map(|(method, plugin)| (method, plugin))
    }
}

/// The calls that run in this process. A panic ends the call's task, and is told as [`Completion::Internal`].
///
/// `K` names a call for the host.
#[derive(Debug)]
pub struct Host<K> {
    tasks: JoinSet<Completion>,
    running: HashMap<Id, (K, CancellationToken)>,
}

/// All that makes a method what it is: its name, its rules, its lane, the schema of its parameters, what its map says of it, and what
/// its plugin knows besides. It changes with each of them, and not with where the method stands.
#[must_use]
pub fn identity(method: &Method, plugin: &dyn Plugin) -> String {
    let Method { name, description, origin: _, place, lane, policy, params } = method;
    let content = place.as_ref().map_or("", MapOrigin::content);
    let params = params.as_ref().map(Params::schema);
    let more = plugin.identity(name);
    format!("{name:?} {description:?} {lane:?} {policy:?} {params:?} {content} {more}")
}

impl<K> Default for Host<K> {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), running: HashMap::new() }
    }
}

impl<K: PartialEq> Host<K> {
    /// Starts a call; its end comes out of [`Self::next`] under `key`.
    pub fn start(&mut self, key: K, plugin: Arc<dyn Plugin>, call: Call) {
        let cancelled = call.cancelled.clone();
        let task = self.tasks.spawn(async move { plugin.invoke(&call).await });
        self.running.insert(task.id(), (key, cancelled));
    }

    /// Tells the plugin that nobody waits for the call any more. Unknown keys are ignored: the call has ended.
    pub fn cancel(&self, key: &K) {
        if let Some((_, cancelled)) = self.running.values().find(|(other, _)| other == key) {
            cancelled.cancel();
        }
    }

    /// How many calls run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// The next call that ends. Waits for ever while none runs; may be dropped while waiting.
    pub async fn next(&mut self) -> (K, Completion) {
        loop {
            let (id, completion) = match self.tasks.join_next_with_id().await {
                Some(Ok(ended)) => ended,
                Some(Err(e)) => {
                    let what = if e.is_panic() { "panicked" } else { "was cancelled" };
                    (
                        e.id(),
                        Completion::Internal(CallError::new(
                            "plugin_failed",
                            format!("the plugin's task {what}"),
                        )),
                    )
                }
                None => std::future::pending().await,
            };
            if let Some((key, _)) = self.running.remove(&id) {
                return (key, completion);
            }
        }
    }
}

/// Runs a plugin's background work until `stop`; should it end before, by mistake or by a panic, it is started again.
pub async fn keep_running(plugin: Arc<dyn Plugin>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        // In a task of its own, so that a panic ends nothing else.
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&plugin).run(stop.clone()));
        let ended = task.join_next().await;
        if stop.is_cancelled() {
            return;
        }
        let panicked = matches!(ended, Some(Err(_)));
        tracing::error!(
            see = "bug",
            plugin = plugin.name(),
            panicked,
            "a plugin's background work ended by mistake; starting it again"
        );
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests;
