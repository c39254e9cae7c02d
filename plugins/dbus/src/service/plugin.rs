//! A set of methods of one plugin, as the daemon's registry takes it.

use std::sync::Arc;

use nowd_plugin::service::INTERFACE;
use nowd_plugin::{BoxFuture, Call, Completion, Health, Method, Plugin};

use super::Service;
use crate::json::clip;

/// The longest line that is shown, in characters.
const MAX_LINE: usize = 4_000;

/// Some methods of a plugin in a process of its own. It comes and goes with its description and its drop-in; the
/// [`Service`] stays, and whoever has made it runs it.
#[derive(Debug)]
pub struct ServicePlugin {
    /// The plugin.
    pub service: Arc<Service>,
    /// What it has on offer: see [`DropIn::methods`](super::DropIn::methods).
    pub methods: Vec<Method>,
}

impl Plugin for ServicePlugin {
    fn name(&self) -> &str {
        &self.service.target.name
    }

    fn methods(&self) -> Vec<Method> {
        self.methods.clone()
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        // What is described has a schema, if only an empty one.
        let described = |method: &Method| method.name == call.method && method.params.is_some();
        let described = self.methods.iter().any(described);
        Box::pin(async move {
            if described { self.service.invoke(call).await } else { self.service.undescribed(call).await }
        })
    }

    fn explain(&self, method: &str) -> Vec<String> {
        let target = &self.service.target;
        vec![
            format!("calls       {INTERFACE}.Invoke(id, {method:?}, parameters, not_after) of {target}"),
            "answers     what the plugin says; it looks at the deadline itself, directly before it acts"
                .into(),
        ]
    }

    fn identity(&self, _: &str) -> String {
        format!("{:?}", self.service.target)
    }

    fn preview(&self, call: &Call) -> Result<Vec<String>, Completion> {
        let target = &self.service.target;
        let line = format!(
            "calls       {INTERFACE}.Invoke({:?}, {:?}, {}, {}) of {target}",
            call.id.to_string(),
            call.method,
            call.params,
            call.deadline.boottime_micros()
        );
        Ok(vec![clip(&line, MAX_LINE)])
    }

    fn health(&self) -> Health {
        let state = self.service.state.borrow();
        match (&state.why_absent, &state.mistake) {
            (Some(why), _) => Health::Failed(why.clone()),
            (None, Some(mistake)) if state.described.is_none() => Health::Failed(mistake.clone()),
            (None, Some(mistake)) => match &state.health {
                Health::Failed(why) => Health::Failed(why.clone()),
                Health::Ok | Health::Degraded(_) => Health::Degraded(mistake.clone()),
            },
            (None, None) => state.health.clone(),
        }
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.service.ready()
    }
}
