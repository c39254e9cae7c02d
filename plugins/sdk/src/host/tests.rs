use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{BoxFuture, Deadline, Policy};

#[derive(Debug)]
struct Fake(Vec<Method>);

impl Plugin for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn methods(&self) -> Vec<Method> {
        self.0.clone()
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            match call.method.as_str() {
                "panics" => panic!("on purpose"),
                "waits" => {
                    call.cancelled.cancelled().await;
                    Completion::Ok(json!("cancelled"))
                }
                _ => Completion::Ok(call.params.clone()),
            }
        })
    }
}

fn method(name: &str, lane: Lane) -> Method {
    Method {
        name: name.into(),
        description: String::new(),
        origin: format!("test.toml:{name}"),
        place: None,
        lane,
        policy: Policy::default(),
        params: None,
    }
}

fn call(name: &str) -> Call {
    Call::new(Uuid::nil(), name, Value::Null, Deadline::after(Duration::from_secs(1)))
}

#[tokio::test]
async fn a_panic_stays_in_its_task() {
    let plugin: Arc<dyn Plugin> = Arc::new(Fake(vec![]));
    let mut host = Host::default();
    host.start(1, Arc::clone(&plugin), call("panics"));
    host.start(2, Arc::clone(&plugin), call("waits"));
    let (key, completion) = host.next().await;
    assert_eq!(key, 1);
    assert!(matches!(completion, Completion::Internal(_)));
    host.cancel(&2);
    assert_eq!(host.next().await, (2, Completion::Ok(json!("cancelled"))));
    assert_eq!(host.running(), 0);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let registry = |methods: Vec<Method>| {
        let plugin: Arc<dyn Plugin> = Arc::new(Fake(methods));
        Registry::new(&[plugin]).map(|r| r.methods().count()).map_err(|e| e.to_string())
    };
    let lane = Lane::exclusive("port:a");
    assert_eq!(registry(vec![method("a", lane.clone()), method("b", lane.clone())]), Ok(2));
    assert_eq!(
        registry(vec![method("a", lane.clone()), method("a", lane.clone())]),
        Err("test.toml:a: the method \"a\" is already declared in test.toml:a; choose another name".into())
    );
    let wider = Lane { depth: 99, ..lane.clone() };
    assert!(registry(vec![method("a", lane.clone()), method("b", wider)]).unwrap_err().contains("port:a"));
    let mut unsafe_action = method("a", lane);
    unsafe_action.policy.on_timeout = Some("b".into());
    assert!(registry(vec![unsafe_action]).unwrap_err().contains("`on_timeout = \"b\"`"));
    let mut endless = method("a", Lane::exclusive("port:a"));
    endless.policy.on_timeout = Some("a".into());
    assert!(registry(vec![endless]).unwrap_err().contains("a safe action is the last word"));
}

#[test]
fn a_call_whose_safe_action_could_not_run_is_not_let_in() {
    let params = |maximum: u32| {
        let properties = json!({"ch": {"type": "integer", "maximum": maximum}});
        Some(Params::new(properties.as_object().unwrap()).unwrap())
    };
    let mut open = method("open", Lane::exclusive("l"));
    (open.params, open.policy.on_timeout) = (params(8), Some("close".into()));
    let close = Method { params: params(4), ..method("close", Lane::exclusive("l")) };
    let plugin: Arc<dyn Plugin> = Arc::new(Fake(vec![open.clone(), close]));
    let registry = Registry::new(&[plugin]).unwrap();
    assert_eq!(registry.check_safe_actions_of(&open, &json!({"ch": 4})), Ok(()));
    assert_eq!(
        registry.check_safe_actions_of(&open, &json!({"ch": 5})).unwrap_err().to_string(),
        "request.ch: 5 is greater than the maximum of 4, and `on_timeout` is \"close\", which would have to run with it"
    );
}

#[test]
fn what_a_plugin_describes_gets_in_nobodys_way() {
    let lane = || Lane::exclusive("port:a");
    let maps: Arc<dyn Plugin> = Arc::new(Fake(vec![method("a", lane()), method("b", lane())]));
    let mut registry = Registry::new(&[maps]).unwrap();
    let mut needs_b = method("needs-b", Lane::exclusive("plugin:x"));
    needs_b.policy.on_timeout = Some("new".into());
    let mut needs_needs_b = method("needs-needs-b", Lane::exclusive("plugin:x"));
    needs_needs_b.policy.on_stop = Some("gone".into());
    let new = Method { lane: Lane { depth: 99, ..lane() }, ..method("new", lane()) };
    let plugin: Arc<dyn Plugin> =
        Arc::new(Fake(vec![method("a", lane()), new, needs_b, needs_needs_b, method("good", lane())]));
    let mistakes = registry.take(&plugin).iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = [
        "test.toml:a: the method \"a\" is already declared in test.toml:a",
        "test.toml:new: the lane \"port:a\" has another concurrency or depth",
        "test.toml:needs-b: `on_timeout = \"new\"` names a method that is not declared",
        "test.toml:needs-needs-b: `on_stop = \"gone\"`",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{mistake} does not say {expected}");
    }
    assert_eq!(registry.methods().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b", "good"]);
}
