//! A policy before a real invoker: what it refuses is not published.

use nowd_cloud::{Access, Policy};

use super::*;

const OPERATOR: &str = "arn:aws:sts::123456789012:assumed-role/operator/anna";

const POLICY: &str = r#"
[[allow]]
caller = ["arn:aws:sts::123456789012:assumed-role/operator/*"]
target = ["g*"]
method = ["window.*", "nowd.methods"]
"#;

async fn ask(cloud: &Cloud, policy: &Policy, caller: Option<&str>, uri: &str) -> (u16, Value) {
    let options = RouterOptions {
        compat: true,
        default_timeout: Duration::from_secs(9),
        access: Access::Policy(policy.clone()),
        ..RouterOptions::default()
    };
    let method = if uri.contains("/methods/") { Method::POST } else { Method::GET };
    let mut request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
    if let Some(caller) = caller {
        request.extensions_mut().insert(Caller(caller.to_owned()));
    }
    let response = router(cloud.invoker.clone(), options).oneshot(request);
    let (parts, body) = within(PATIENCE, "a response", response).await.unwrap().into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn what_the_policy_does_not_allow_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, POLICY).unwrap();
    let policy = Policy::load(&file).unwrap();
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    let call = "/things/g/methods/window.set";
    for (caller, uri) in [
        (None, call),
        (Some("arn:aws:sts::123456789012:assumed-role/guest/bob"), call),
        (Some(OPERATOR), "/things/g/methods/door.open"),
        (Some(OPERATOR), "/things/h/methods/window.set"),
        (Some(OPERATOR), "/things/g"),
        (Some(OPERATOR), "/things/g/calls/0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c"),
        (Some(OPERATOR), "/invoke?target=g&method=door.open&request=x"),
        (None, "/invoke?target=g&method=window.set&request=x"),
    ] {
        let (code, body) = ask(&cloud, &policy, caller, uri).await;
        let word = if uri.starts_with("/invoke") { &body["status"] } else { &body["code"] };
        assert_eq!(
            (code, word, &body["outcome"]),
            (403, &json!("forbidden"), &json!("not_executed")),
            "{uri}"
        );
    }
    assert!(gateway.requests().is_empty());
    for uri in [call, "/things/g/methods", "/invoke?target=g&method=window.set&request=x"] {
        let (code, body) = ask(&cloud, &policy, Some(OPERATOR), uri).await;
        assert_eq!(code, 200, "{uri}: {body}");
    }
    let callers: Vec<_> = gateway.requests().into_iter().map(|request| request.caller).collect();
    assert_eq!(callers, vec![Some(OPERATOR.to_owned()); 3]);
}
