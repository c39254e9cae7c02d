//! Deadlines that somebody else has set, and what is recorded.

use std::sync::{Arc, Mutex};

use nowd_cloud::{AnswerBy, Arrived, BootInstant, Record};

use super::*;

/// Asks with these instants, in milliseconds from now; what is recorded comes, too.
async fn ask(cloud: &Cloud, uri: &str, arrived: i64, answer_by: u64) -> (u16, Value, Vec<Record>) {
    let records = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&records);
    let options = RouterOptions {
        compat: true,
        default_timeout: Duration::from_secs(9),
        recorder: Some(Arc::new(move |record: &Record| log.lock().unwrap().push(record.clone()))),
        ..RouterOptions::default()
    };
    let method = if uri.contains("/methods/") { Method::POST } else { Method::GET };
    let ago = Duration::from_millis(arrived.unsigned_abs());
    let now = BootInstant::now();
    let arrived = if arrived < 0 {
        BootInstant::from_micros(now.as_micros().saturating_sub(u64::try_from(ago.as_micros()).unwrap()))
    } else {
        now.saturating_add(ago)
    };
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .extension(Arrived { at: arrived, before: Duration::ZERO })
        .extension(AnswerBy(now.saturating_add(Duration::from_millis(answer_by))))
        .body(Body::empty())
        .unwrap();
    let response = router(cloud.invoker.clone(), options).oneshot(request);
    let (parts, body) = within(PATIENCE, "a response", response).await.unwrap().into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let records = records.lock().unwrap().clone();
    (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap(), records)
}

#[tokio::test]
async fn an_answer_is_there_before_nobody_waits_for_it_any_more() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |_, _| vec![]).await;
    let cloud = Cloud::start(broker.port()).await;
    for (uri, code) in [
        ("/things/g/methods/m?timeout=20000", 504),
        ("/things/g/methods?timeout=20000", 504),
        ("/invoke?target=g&method=m&request=a&timeout=20", 500),
    ] {
        let begin = BootInstant::now();
        let (found, body, records) = ask(&cloud, uri, 0, 3_000).await;
        let took = BootInstant::now().saturating_since(begin);
        assert!((Duration::from_millis(2_500)..Duration::from_secs(8)).contains(&took), "{uri}: {took:?}");
        assert_eq!((found, &body["outcome"]), (code, &json!("unknown")), "{uri}: {body}");
        let record = &records[0];
        assert_eq!((records.len(), record.http, record.status.as_str()), (1, code, "no_reply"));
    }
    // The gateway is told how little there is.
    for request in gateway.requests() {
        assert!(request.timeout.unwrap() <= 2_500, "{request:?}");
    }
}

#[tokio::test]
async fn what_comes_too_late_is_not_sent() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    for (uri, arrived, answer_by) in [
        ("/things/g/methods/m", 0, 500),
        ("/things/g/methods/m", 0, 0),
        ("/things/g/methods/m?timeout=9000", -9_000, 20_000),
        ("/things/g/methods/m", -9_000, 20_000),
        ("/things/g", -9_000, 20_000),
        ("/things/g/methods", -9_000, 20_000),
        ("/things/g/calls/0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c", -9_000, 20_000),
        ("/invoke?target=g&method=m&request=a", -10_000, 60_000),
    ] {
        let (code, body, records) = ask(&cloud, uri, arrived, answer_by).await;
        let word = if uri.starts_with("/invoke") { &body["status"] } else { &body["code"] };
        assert_eq!((code, word, &body["outcome"]), (503, &json!("expired"), &json!("not_executed")), "{uri}");
        let record = &records[0];
        assert_eq!(
            (records.len(), record.http, record.status.as_str(), record.attempts),
            (1, 503, "expired", 0)
        );
        assert_eq!((record.target.as_ref().unwrap().as_str(), record.error.is_some()), ("g", true));
        assert!(record.timing.total >= Duration::from_millis(u64::try_from(-arrived).unwrap()));
    }
    assert!(gateway.requests().is_empty());
    // Who says that a request arrives later than now gets no longer budget for it.
    let (code, body, _) = ask(&cloud, "/things/g/methods/m", 9_000, 30_000).await;
    assert_eq!((code, &body["status"]), (200, &json!("ok")), "{body}");
    assert!(body["timing"]["total"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn each_request_is_recorded_once() {
    let broker = Mosquitto::start();
    let _gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    for (uri, http, status, target, method) in [
        ("/things/g/methods/m", 200, "ok", Some("g"), Some("m")),
        ("/things/g", 200, "ok", Some("g"), Some("nowd.presence")),
        ("/things/g/methods", 200, "ok", Some("g"), Some("nowd.methods")),
        ("/invoke?target=g&method=m&request=a", 200, "ok", Some("g"), Some("m")),
        ("/things/h/methods/m", 503, "offline", Some("h"), Some("m")),
        ("/things/g/methods/m?timeout=0", 400, "invalid_request", Some("g"), Some("m")),
        ("/things/a%2Fb/methods/m", 400, "invalid_request", None, None),
        ("/things/g/methods/a%2Fb", 400, "invalid_request", Some("g"), None),
        ("/things/g/calls/x", 400, "invalid_request", Some("g"), Some("nowd.outcome")),
    ] {
        let (code, body, records) = ask(&cloud, uri, 0, 20_000).await;
        assert_eq!((code, records.len()), (http, 1), "{uri}: {body}");
        let record = &records[0];
        assert_eq!((record.http, record.status.as_str()), (http, status), "{uri}");
        assert_eq!(record.target.as_ref().map(nowd_protocol::Level::as_str), target, "{uri}");
        assert_eq!(record.method.as_ref().map(nowd_protocol::Level::as_str), method, "{uri}");
        assert_eq!(json!(record.id.to_string()), body["id"]);
    }
    for uri in ["/things/g/methods/", "/openapi.json"] {
        assert_eq!(ask(&cloud, uri, 0, 20_000).await.2.len(), 0, "{uri} asks nothing of a gateway");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_recorded_too() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |_, _| vec![]).await;
    let cloud = Cloud::start(broker.port()).await;
    let records = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&records);
    let options = RouterOptions {
        recorder: Some(Arc::new(move |record: &Record| log.lock().unwrap().push(record.clone()))),
        ..RouterOptions::default()
    };
    let request = Request::builder().method(Method::POST).uri("/things/g/methods/m?timeout=29000");
    let call = router(cloud.invoker.clone(), options).oneshot(request.body(Body::empty()).unwrap());
    tokio::select! {
        _ = call => panic!("there was an answer"),
        () = within(PATIENCE, "the request", async {
            while gateway.requests().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }) => {}
    }
    let records = records.lock().unwrap();
    let record = &records[0];
    assert_eq!((records.len(), record.http, record.outcome), (1, 499, Outcome::Unknown));
    assert_eq!((record.status.as_str(), record.id), ("no_reply", gateway.requests()[0].topic.id));
}

#[tokio::test]
async fn what_passed_before_this_machine_was_started_counts_too() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let cloud = Cloud::start(broker.port()).await;
    for (timeout, code) in [(9_000, 200), (4_000, 503)] {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/things/g/methods/m?timeout={timeout}"))
            .extension(Arrived { at: BootInstant::now(), before: Duration::from_secs(4) })
            .body(Body::empty())
            .unwrap();
        let response = router(cloud.invoker.clone(), RouterOptions::default()).oneshot(request);
        let response = within(PATIENCE, "a response", response).await.unwrap();
        assert_eq!(response.status().as_u16(), code);
    }
    let requests = gateway.requests();
    assert_eq!((requests.len(), requests.first().unwrap().timeout), (1, Some(5_000)));
}
