//! Calls through every part, and what is said of those that go wrong.

use std::time::Duration;

use nowd_cloud::{CallRequest, Form, Host, Invoker, RouterOptions, guard, router};
use nowd_protocol::{Level, Reply, Uuid};
use nowd_testkit::wait_for;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::bed::{
    Bed, Observer, PATIENCE, TARGET, comes_back, finds_the_bus, raw, request, within_ms, words,
};

#[tokio::test]
async fn every_plugin_answers_and_every_refusal_has_its_word() {
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    finds_the_bus(&cloud).await;
    for (call, expected) in [
        (request("window.set", r#"{"percent":40}"#), "ok executed 40"),
        (request("alarm.arm", r#"{"zone":3}"#), r#"ok executed {"state":"armed"}"#),
        (request("echo", r#"{"a":[1,"x",null]}"#), r#"ok executed {"a":[1,"x",null]}"#),
        (request("window.paint", "null"), "unknown_method not_executed null"),
        (request("echo.closed", "1"), "forbidden not_executed null"),
        (request("window.halt", "1"), "forbidden not_executed null"),
        (request("window.set", r#"{"percent":101}"#), "invalid_request not_executed null"),
        (request("window.set", "[40]"), "invalid_request not_executed null"),
        (request("alarm.arm", r#"{"zone":9}"#), "refused not_executed null"),
        (request("window.absent", "null"), "refused not_executed null"),
        (request("window.lock", r#"{"on":true}"#), "ok executed null"),
        (request("window.set", r#"{"percent":10}"#), "refused not_executed null"),
        (request("window.lock", r#"{"on":false}"#), "ok executed null"),
        (within_ms("echo", "1", 40_000), "invalid_request not_executed null"),
    ] {
        let what = format!("{} {}", call.method, call.request);
        let answer = cloud.invoke(call).await;
        assert_eq!(words(&answer), expected, "{what}: {:?}", answer.error);
        assert_eq!(answer.attempts, 1, "{what}");
    }
    let moved = cloud.invoke(request("window.move", r#"{"percent":70}"#)).await;
    assert_eq!(words(&moved), format!(r#"ok executed ["{}",70]"#, moved.id));
    let absent = CallRequest { target: Level::new("gw-9").unwrap(), ..request("echo", "1") };
    let answer = cloud.invoke(absent).await;
    assert_eq!((words(&answer).as_str(), answer.attempts), ("offline not_executed null", 0));
}

/// What the gateway said itself: on a busy machine its word may come too late for the cloud side to pass it on.
async fn gateways_word(observer: &Observer, cloud: &Invoker, call: CallRequest) -> String {
    let (id, method) = (Uuid::new_v4(), call.method.to_string());
    let answer = cloud.invoke(CallRequest { id: Some(id), ..call }).await;
    let topic = format!("{}/{id}/{TARGET}/{method}/ack", cloud.client());
    let first = || observer.heard(&topic).into_iter().next();
    wait_for(PATIENCE, &format!("an answer under {topic}"), || first().is_some()).await;
    let word = Reply::parse(&first().unwrap()).unwrap().status.as_str().to_owned();
    let passed_on = answer.status.as_str();
    assert!(passed_on == word || words(&answer) == "no_reply unknown null", "{word} became {passed_on}");
    word
}

#[tokio::test]
async fn a_call_without_a_result_is_unknown_and_one_that_only_waited_is_not_executed() {
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let observer = bed.observer().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    assert_eq!(gateways_word(&observer, &cloud, within_ms("alarm.hang", "null", 200)).await, "timeout");
    let mut calls = JoinSet::new();
    let first = cloud.clone();
    calls.spawn(async move { first.invoke(request("long", "1")).await });
    // The second comes when the first has begun.
    let begun = || observer.topics().iter().any(|topic| topic.starts_with("gw-1/long/"));
    wait_for(PATIENCE, "the first call", begun).await;
    comes_back(&cloud).await;
    assert_eq!(gateways_word(&observer, &cloud, within_ms("long", "1", 200)).await, "expired");
    assert!(calls.try_join_next().is_none(), "the first call goes on");
}

#[tokio::test]
async fn two_hundred_at_once_each_get_their_own_answer() {
    const CALLS: u64 = 200;
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let begin = nowd_cloud::BootInstant::now();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let cloud = cloud.clone();
        calls.spawn(async move {
            let answer = cloud.invoke(within_ms("echo.slow", &number.to_string(), 10_000)).await;
            assert_eq!(words(&answer), format!("ok executed {number}"), "{:?}", answer.error);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    let took = nowd_cloud::BootInstant::now().saturating_since(begin);
    // One after the other they would take ten seconds.
    assert!(took < Duration::from_secs(5), "they took {took:?}");
}

#[tokio::test]
async fn a_hang_on_one_port_changes_nothing_for_the_others() {
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let mut hanging = JoinSet::new();
    let hangs = cloud.clone();
    hanging.spawn(async move { words(&hangs.invoke(within_ms("alarm.hang", "null", 10_000)).await) });
    for number in 0..50 {
        let percent = format!(r#"{{"percent":{number}}}"#);
        assert_eq!(
            words(&cloud.invoke(request("window.set", &percent)).await),
            format!("ok executed {number}")
        );
        assert_eq!(words(&cloud.invoke(request("echo", "7")).await), "ok executed 7");
    }
    assert!(hanging.try_join_next().is_none(), "the hanging call has ended before its deadline");
}

#[tokio::test]
async fn callers_of_the_public_sample_are_served() {
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let observer = bed.observer().await;
    let id = "6e1f3c52-8e1a-4c5f-9d51-0d6f0a2f7b11";
    observer.say(
        &format!("gw-1/echo/cloud-old/{id}"),
        format!(r#"{{"timestamp": "1795289952102", "request": "open", "id": "{id}"}}"#),
    );
    observer.hears(&format!("cloud-old/{id}/gw-1/echo/ack"), r#""response":"open""#).await;
    // Silence is how the sample says that something failed.
    let failed = "6e1f3c52-8e1a-4c5f-9d51-0d6f0a2f7b12";
    observer
        .say(&format!("gw-1/nothing/cloud-old/{failed}"), format!(r#"{{"request":"x","id":"{failed}"}}"#));
    let cloud = bed.cloud().await;
    let sample = CallRequest { form: Form::Compat, ..request("echo", r#""open""#) };
    assert_eq!(words(&cloud.invoke(sample).await), r#"ok executed "open""#);
    assert!(!observer.replies().iter().any(|topic| topic.contains(failed)));
}

#[tokio::test]
async fn over_http_and_back() {
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = RouterOptions { compat: true, ..RouterOptions::default() };
    let app = guard(router(cloud, options), Host::Loopback);
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let calls = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let post = |path: &str, body: &str| {
            let mut response = agent.post(format!("http://{address}/things/{path}")).send(body).unwrap();
            let timing = response.headers().get("server-timing").is_some();
            (response.status().as_u16(), response.body_mut().read_to_string().unwrap(), timing)
        };
        for (path, body, code, status, response) in [
            ("gw-1/methods/window.set?timeout=2000", r#"{"percent":5}"#, 200, "ok", "5"),
            ("gw-1/methods/alarm.arm", r#"{"zone":1}"#, 200, "ok", r#"{"state":"armed"}"#),
            ("gw-1/methods/nothing", "", 404, "unknown_method", "null"),
            ("gw-9/methods/echo", "", 503, "offline", "null"),
            ("gw-1/methods/a%2Fb", "", 400, "invalid_request", "null"),
        ] {
            let (found, text, timing) = post(path, body);
            // A problem's status is HTTP's number.
            let field = if code < 300 { "status" } else { "code" };
            let expected = format!(r#""{field}":"{status}""#);
            assert!(found == code && text.contains(&expected), "{path}: {found} {text}");
            assert!(text.contains(&format!(r#""response":{response}"#)), "{path}: {text}");
            assert!(timing || code == 400, "{path}: no Server-Timing");
        }
        let url = format!("http://{address}/invoke?target=gw-1&method=echo&request=open&timeout=2");
        agent.get(url).call().unwrap().body_mut().read_to_string().unwrap()
    });
    let sample = calls.await.unwrap();
    assert!(sample.contains(r#""result":"ok""#) && sample.contains(r#""response":"open""#), "{sample}");
}

#[tokio::test]
async fn large_parameters_come_back_and_a_response_that_does_not_fit_is_said_to_be_left_out() {
    let mut bed = Bed::new().await;
    let answer = "x".repeat(131_072);
    let map = format!("[simulator]\n[methods.\"large\"]\nanswer = \"{answer}\"\n");
    std::fs::write(bed.folder.path().join("methods.d/large.toml"), map).unwrap();
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let large = raw(&format!("\"{}\"", "x".repeat(120_000)));
    let fits = cloud.invoke(CallRequest { request: large, ..request("echo", "1") }).await;
    assert_eq!((fits.status.as_str(), fits.response.get().len()), ("ok", 120_002));
    let left_out = cloud.invoke(request("large", "1")).await;
    assert_eq!(words(&left_out), "ok executed null");
    assert_eq!(left_out.error.unwrap().code, "response_too_large");
}
