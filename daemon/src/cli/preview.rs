//! `nowd call --dry-run`: what a call would write, byte for byte. Writes nothing and opens nothing.

use std::sync::Arc;

use nowd_plugin::words::hint;
use nowd_plugin::{Call, CallError, Completion, Deadline, Plugin};
use serde_json::Value;
use uuid::Uuid;

use super::{Failure, Source, say};
use crate::exit::Exit;
use crate::setup::plugins;

pub(super) fn preview(
    source: &Source,
    extra: Vec<Arc<dyn Plugin>>,
    name: &str,
    params: &str,
) -> Result<(), Failure> {
    let files = source.load()?;
    let (_, registry) = plugins(&files, extra)?;
    let wrong = |message: String| Failure { message, exit: Exit::Usage };
    let (method, plugin) = registry.get(name).ok_or_else(|| {
        let hint = hint(name, registry.methods().map(|method| method.name.as_str()).collect::<Vec<_>>());
        wrong(format!("there is no method {name:?}{hint}"))
    })?;
    let mut params: Value = serde_json::from_str(params)
        .map_err(|e| wrong(format!("the parameters are not JSON, such as '{{\"percent\":40}}': {e}")))?;
    if let Some(known) = &method.params {
        params = known.check(params).map_err(|e| wrong(format!("invalid_request: {e}")))?;
    }
    let call = Call::new(Uuid::new_v4(), name, params, Deadline::after(method.policy.timeout));
    let lines = plugin.preview(&call).map_err(|completion| {
        let error = error(completion);
        wrong(format!("{}: {}", error.code, error.message))
    })?;
    for line in lines {
        say(&mut std::io::stdout(), &line);
    }
    Ok(())
}

fn error(completion: Completion) -> CallError {
    match completion {
        Completion::Failed { error, .. }
        | Completion::Refused(error)
        | Completion::Timeout(error)
        | Completion::InvalidRequest(error)
        | Completion::Unavailable(error)
        | Completion::Internal(error) => error,
        Completion::Expired(expired) => CallError::new("expired", expired.to_string()),
        Completion::Ok(_) | Completion::Sent(_) => {
            CallError::new("internal", "a preview acted, which is a bug")
        }
    }
}
