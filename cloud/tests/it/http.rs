//! The router before a real invoker.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request};
use nowd_cloud::{Caller, RouterOptions, router};
use nowd_protocol::{GatewayStamp, Outcome, Status};
use nowd_testkit::{Mosquitto, within};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::gateway::{Cloud, Gateway, Observer, PATIENCE, ok, reply};

mod access;
mod deadlines;

async fn ask(cloud: &Cloud, method: Method, uri: &str, body: &str) -> (u16, HeaderMap, Value) {
    let options =
        RouterOptions { compat: true, default_timeout: Duration::from_secs(9), ..RouterOptions::default() };
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .extension(Caller("arn:me".into()))
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router(cloud.invoker.clone(), options).oneshot(request);
    let (parts, body) = within(PATIENCE, "a response", response).await.unwrap().into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn a_call_over_http() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g 1", |r, s| vec![ok(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    let uri = "/things/g%201/methods/window.set?timeout=8000";
    let (code, headers, body) = ask(&cloud, Method::POST, uri, " {\"percent\": 10} ").await;
    assert_eq!(code, 200, "{body}");
    let seen = gateway.requests().remove(0);
    assert_eq!((seen.topic.method.as_str(), seen.timeout), ("window.set", Some(8_000)));
    assert_eq!((seen.request.get(), seen.caller.as_deref()), ("{\"percent\": 10}", Some("arn:me")));
    assert!(seen.traceparent.unwrap().starts_with("00-4bf9"));
    assert_eq!(body["id"], json!(seen.topic.id.to_string()));
    assert_eq!((&body["status"], &body["outcome"]), (&json!("ok"), &json!("executed")));
    assert_eq!((&body["response"], body.get("error")), (&json!({"percent": 10}), None));
    assert_eq!(body["timing"]["gateway"], json!({"queue": 10, "plugin": 20, "total": 40}));
    let timing = headers["server-timing"].to_str().unwrap();
    for name in ["total;dur=", "network;dur=", "gateway;dur=0.040", "queue;dur=0.010", "plugin;dur=0.020"] {
        assert!(timing.contains(name), "{timing}");
    }

    let (code, _, body) = ask(&cloud, Method::POST, "/things/g%201/methods/m", "").await;
    assert_eq!((code, &body["response"]), (200, &Value::Null));
    assert_eq!(gateway.requests()[1].timeout, Some(9_000));
}

#[tokio::test]
async fn every_status_has_its_code() {
    let broker = Mosquitto::start();
    let by_number = |request: &nowd_protocol::Request, stamp: GatewayStamp| {
        let n: usize = request.request.get().parse().unwrap();
        vec![reply(request, Status::ALL[n], stamp)]
    };
    let _gateway = Gateway::start(broker.port(), "g", by_number).await;
    let cloud = Cloud::start(broker.port()).await;
    for (n, status) in Status::ALL.iter().enumerate() {
        let Some(outcome) = status.outcome() else { continue };
        if *status == Status::Resync {
            // Sent again, and not seen by the caller.
            continue;
        }
        let (code, headers, body) =
            ask(&cloud, Method::POST, "/things/g/methods/m?timeout=9000", &n.to_string()).await;
        let word = json!(status.as_str());
        assert_eq!((code, &body["outcome"]), (status.http(), &json!(outcome.as_str())), "{body}");
        if code < 300 {
            assert_eq!(
                (&headers["content-type"], &body["status"]),
                (&"application/json".parse().unwrap(), &word)
            );
            continue;
        }
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!((&body["status"], &body["code"]), (&json!(code), &word));
        assert_eq!(body["type"], format!("tag:nowd.io,2026:{status}", status = status.as_str()));
        assert_eq!(body["response"], json!(n));
        let asked_after = format!("/things/g/calls/{}", body["id"].as_str().unwrap());
        let instance = (outcome != Outcome::NotExecuted).then_some(json!(asked_after));
        assert_eq!(body.get("instance"), instance.as_ref(), "{body}");
        assert!(body["timing"]["total"].is_u64() && headers.contains_key("server-timing"));
    }
    let (code, _, body) = ask(&cloud, Method::POST, "/things/h/methods/m", "").await;
    assert_eq!((code, &body["code"], &body["outcome"]), (503, &json!("offline"), &json!("not_executed")));
}

#[tokio::test]
async fn the_samples_route_reaches_a_device_without_presence() {
    let broker = Mosquitto::start();
    let device = Gateway::sample(broker.port(), "Device001").await;
    let cloud = Cloud::start(broker.port()).await;
    let uri = "/invoke?request=open+50%25&method=window&target=Device001";
    let (code, _, body) = ask(&cloud, Method::GET, uri, "").await;
    assert_eq!((code, &body["result"], &body["response"]), (200, &json!("ok"), &json!("open 50%")));
    assert_eq!((&body["status"], &body["outcome"]), (&json!("ok"), &json!("executed")));
    assert!(body["elapsed"].as_str().unwrap().parse::<u64>().is_ok());
    let payload: Value = serde_json::from_str(&device.payloads()[0]).unwrap();
    assert_eq!((&payload["request"], &payload["id"]), (&json!("open 50%"), &body["id"]));
    assert!(payload["timestamp"].as_str().unwrap().parse::<u64>().is_ok());
    assert_eq!((payload.get("timeout"), payload.get("not_after")), (Some(&json!(10_000)), None));
}

#[tokio::test]
async fn the_samples_route_says_timeout_and_offline() {
    let broker = Mosquitto::start();
    let cloud = Cloud::start(broker.port()).await;
    let observer = Observer::start(broker.port(), "Device001").await;
    let uri = "/invoke?request=open&method=window&target=Device001&timeout=3";
    let (code, _, body) = ask(&cloud, Method::GET, uri, "").await;
    assert_eq!((code, &body["result"], body.get("response")), (500, &json!("timeout"), None));
    assert_eq!((&body["status"], &body["outcome"]), (&json!("no_reply"), &json!("unknown")));
    assert!(body["elapsed"].as_str().unwrap().parse::<u64>().unwrap() >= 3_000);
    assert_eq!(observer.heard().await.len(), 1);

    let gateway = Gateway::start(broker.port(), "left", |r, s| vec![ok(r, s)]).await;
    gateway.say(false, gateway.session);
    let uri = "/invoke?request=open&method=window&target=left&timeout=9";
    let mut last = Value::Null;
    within(PATIENCE, "offline", async {
        while last["result"] != "offline" {
            let (_, _, body) = ask(&cloud, Method::GET, uri, "").await;
            last = body;
        }
    })
    .await;
    assert_eq!(last["outcome"], "not_executed");
}

#[tokio::test]
async fn methods_are_asked_for_page_by_page() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    let (code, _, body) = ask(&cloud, Method::GET, "/things/g/methods?timeout=8000", "").await;
    assert_eq!((code, &body["status"], &body["response"]), (200, &json!("ok"), &json!({})));
    let seen = gateway.requests().remove(0);
    assert_eq!((seen.topic.method.as_str(), seen.timeout), ("nowd.methods", Some(8_000)));
    assert_eq!(seen.caller.as_deref(), Some("arn:me"));
    let (_, _, body) = ask(&cloud, Method::GET, "/things/g/methods?after=window.set%2A", "").await;
    assert_eq!(body["response"], json!({"after": "window.set*"}));
    assert_eq!(gateway.requests()[1].timeout, Some(9_000));
}

#[tokio::test]
async fn presence_is_told_without_asking_the_gateway() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g 1", |r, s| vec![ok(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    let (code, _, body) = ask(&cloud, Method::GET, "/things/g%201?timeout=8000", "").await;
    assert_eq!((code, &body["status"], &body["outcome"]), (200, &json!("ok"), &json!("executed")), "{body}");
    let seen = &body["response"];
    assert_eq!((&seen["online"], &seen["announced"]), (&json!(true), &json!(true)));
    assert_eq!(seen["incarnation"], json!(gateway.incarnation.to_string()));
    let (_, _, body) = ask(&cloud, Method::GET, "/things/nobody", "").await;
    assert_eq!(body["response"], json!({"online": false, "announced": false}));
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn the_cloud_side_itself_is_no_gateway() {
    let broker = Mosquitto::start();
    let cloud = Cloud::start(broker.port()).await;
    let own = cloud.invoker.client().clone();
    let observer = Observer::start(broker.port(), own.as_str()).await;
    for (method, uri) in [
        (Method::POST, format!("/things/{own}/methods/m")),
        (Method::GET, format!("/things/{own}")),
        (Method::GET, format!("/things/{own}/methods")),
        (Method::GET, format!("/invoke?target={own}&method=m&request=a")),
    ] {
        let (code, _, body) = ask(&cloud, method, &uri, "").await;
        assert_eq!((code, &body["outcome"]), (400, &json!("not_executed")), "{uri}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("this side's own return address"), "{message}");
    }
    assert_eq!(observer.heard().await, [""; 0]);
}
