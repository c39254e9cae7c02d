//! A deployment that changes a component's configuration: announced, deferred, validated, merged, told. Lite only merges, where
//! nothing is too long for it.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::state::Subscribed;
use super::{Deployed, Shared, Style, locked, store};

/// No value of a configuration may be longer on lite, in bytes of JSON; a list is one value.
const LITE_LEAF: usize = 1_024;

/// What a test has asked for.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) component: String,
    pub(super) merge: Value,
}

pub(super) async fn run(shared: Arc<Shared>, deployment: Deployment) {
    let outcome = deploy(&shared, &deployment).await;
    locked(&shared.state).outcomes.insert(deployment.id, outcome);
}

async fn deploy(shared: &Shared, deployment: &Deployment) -> Deployed {
    let classic = locked(&shared.state).style == Style::Classic;
    if classic {
        announce(shared, deployment).await;
        if let Some(refused) = validate(shared, deployment).await {
            return refused;
        }
    } else if longest_leaf(&deployment.merge) > LITE_LEAF {
        return Deployed::Failed("a value is longer than nucleus lite takes");
    } else if locked(&shared.state)
        .components
        .get(&deployment.component)
        .is_some_and(|component| changes_kind(&component.configuration, &deployment.merge))
    {
        return Deployed::Failed("nucleus lite makes no object of a value, and no value of an object");
    }
    let mut state = locked(&shared.state);
    state.merge(&deployment.component, &deployment.merge);
    if classic {
        let event = json!({"postUpdateEvent": {"deploymentId": deployment.id}});
        state.tell("ComponentUpdatePolicyEvents", &event, |_, to| *to == Subscribed::ComponentUpdates);
    }
    Deployed::Succeeded
}

/// The length of the longest value that is no object, in bytes of JSON.
fn longest_leaf(value: &Value) -> usize {
    match value.as_object() {
        Some(entries) => entries.values().map(longest_leaf).max().unwrap_or_default(),
        None => value.to_string().len(),
    }
}

/// Whether a key that has a value is to have keys, or the other way round.
fn changes_kind(there: &Value, new: &Value) -> bool {
    match (there.as_object(), new.as_object()) {
        (Some(there), Some(new)) => {
            new.iter().any(|(key, new)| there.get(key).is_some_and(|there| changes_kind(there, new)))
        }
        (there, new) => there.is_some() != new.is_some(),
    }
}

/// Why the deployment fails, if it does.
async fn validate(shared: &Shared, deployment: &Deployment) -> Option<Deployed> {
    let (report, bound) = {
        let mut state = locked(&shared.state);
        let entry = state.components.entry(deployment.component.clone()).or_default();
        let mut wanted = entry.configuration.clone();
        store::merge(&mut wanted, &deployment.merge);
        let event = json!({"validateConfigurationUpdateEvent": {
            "configuration": wanted,
            "deploymentId": deployment.id,
        }});
        let whose = deployment.component.clone();
        let told = state.tell("ValidateConfigurationUpdateEvents", &event, |component, to| {
            component == whose && *to == Subscribed::Validation
        });
        if told == 0 {
            return None;
        }
        let (send, report) = oneshot::channel();
        state.reports.insert(whose, (deployment.id.clone(), send));
        (report, state.validation)
    };
    let verdict = tokio::select! {
        verdict = report => verdict.ok(),
        () = tokio::time::sleep(bound) => None,
    };
    match verdict {
        Some(Ok(())) => None,
        Some(Err(message)) => Some(Deployed::Rejected(message)),
        None => {
            locked(&shared.state).reports.remove(&deployment.component);
            Some(Deployed::Unanswered)
        }
    }
}

/// Tells everybody, and waits for as long as somebody defers.
async fn announce(shared: &Shared, deployment: &Deployment) {
    loop {
        let (answers, bound) = {
            let mut state = locked(&shared.state);
            let event = json!({"preUpdateEvent": {"deploymentId": deployment.id, "isGgcRestarting": false}});
            state.tell("ComponentUpdatePolicyEvents", &event, |_, to| *to == Subscribed::ComponentUpdates);
            let names: std::collections::BTreeSet<_> = state
                .sessions
                .values()
                .filter(|session| {
                    session.subscriptions.values().any(|to| *to == Subscribed::ComponentUpdates)
                })
                .map(|session| session.component.clone())
                .collect();
            let mut answers = Vec::new();
            for name in names {
                let (send, answer) = oneshot::channel();
                state.waiting.insert(name, (deployment.id.clone(), send));
                answers.push(answer);
            }
            (answers, state.notice)
        };
        let longest = async {
            let mut longest = std::time::Duration::ZERO;
            for answer in answers {
                if let Ok(deferral) = answer.await {
                    longest = longest.max(deferral.recheck_after);
                }
            }
            longest
        };
        let longest = tokio::select! {
            longest = longest => longest,
            // Who says nothing has nothing against it.
            () = tokio::time::sleep(bound) => std::time::Duration::ZERO,
        };
        locked(&shared.state).waiting.clear();
        if longest.is_zero() {
            return;
        }
        tokio::time::sleep(longest).await;
    }
}
