//! One id is one call: over two cloud sides, a restart of the gateway, and HTTP.

use std::time::Duration;

use axum::http::StatusCode;
use nowd_cloud::{CallRequest, Host, Invoker, RouterOptions, guard, router};
use nowd_protocol::Uuid;
use nowd_testkit::{wait_for, within};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::bed::{Bed, PATIENCE, comes_back, request, words};

/// What a call gets whose answer will not come.
const CUT_OFF: Duration = Duration::from_secs(8);

/// A call with an id of its caller's choice.
fn call(id: Uuid, method: &str, json: &str) -> CallRequest {
    CallRequest { id: Some(id), caller: Some("arn:x".into()), ..request(method, json) }
}

/// What the gateway says of a call.
async fn report(cloud: &Invoker, id: Uuid) -> String {
    let question = CallRequest {
        caller: Some("arn:x".into()),
        ..request("nowd.outcome", &format!(r#"{{"id":"{id}"}}"#))
    };
    let answer = cloud.invoke(question).await;
    assert_eq!((answer.status.as_str(), answer.outcome.as_str()), ("ok", "executed"), "{answer:?}");
    answer.response.get().to_owned()
}

async fn is_running(cloud: &Invoker, id: Uuid) {
    within(PATIENCE, "the call to run", async {
        while report(cloud, id).await != r#"{"state":"running"}"# {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_comes_through_two_cloud_sides_runs_once() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    let (one, two) = (bed.cloud().await, bed.cloud().await);
    comes_back(&one).await;
    let id = Uuid::new_v4();
    let both = || call(id, "one", "7");
    let (first, second) = tokio::join!(one.invoke(both()), two.invoke(both()));
    assert_eq!([words(&first), words(&second)], ["ok executed 7", "ok executed 7"]);
    assert_eq!(words(&two.invoke(both()).await), "ok executed 7", "from memory");
    assert_eq!(words(&two.invoke(call(id, "one", "8")).await), "conflict not_executed null");
    assert_eq!(
        report(&two, id).await,
        r#"{"state":"ended","answer":{"status":"ok","outcome":"executed","response":7}}"#
    );
    let ran = || {
        gateway
            .lines()
            .iter()
            .filter(|line| {
                line.contains(r#""message":"call "#)
                    && line.contains(r#""method":"one""#)
                    && line.contains(r#""status":"ok""#)
            })
            .count()
    };
    wait_for(PATIENCE, "the record", || ran() >= 1).await;
    assert_eq!(ran(), 1);
}

#[tokio::test]
async fn with_the_journal_a_call_is_not_started_again_after_the_gateway_was_killed() {
    let mut bed = Bed::new().await;
    let mut gateway = bed.gateway_with(&["--set", "journal.enabled=true"]).await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let (cut_off, done) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(words(&cloud.invoke(call(done, "one", "1")).await), "ok executed 1");
    let mut tasks = JoinSet::new();
    let calls = cloud.clone();
    tasks.spawn(
        async move { calls.invoke(CallRequest { budget: CUT_OFF, ..call(cut_off, "long", "2") }).await },
    );
    is_running(&cloud, cut_off).await;
    gateway.kill();
    drop(gateway);
    let gateway = bed.gateway_with(&["--set", "journal.enabled=true"]).await;
    // Another process of the cloud side, which knows nothing of before.
    let other = bed.cloud().await;
    comes_back(&other).await;
    assert_eq!(words(&other.invoke(call(cut_off, "long", "2")).await), "timeout unknown null");
    assert_eq!(words(&other.invoke(call(done, "one", "1")).await), "ok executed null");
    assert_eq!(words(&other.invoke(call(done, "one", "2")).await), "conflict not_executed null");
    assert!(
        report(&other, cut_off)
            .await
            .starts_with(r#"{"state":"ended","answer":{"status":"timeout","outcome":"unknown""#)
    );
    assert_eq!(words(&other.invoke(call(Uuid::new_v4(), "one", "3")).await), "ok executed 3");
    // The first cloud side sent it again to the new incarnation, and does not believe that it did not run.
    let answer = within(PATIENCE, "the answer", tasks.join_next()).await.unwrap().unwrap();
    assert_eq!(answer.outcome.as_str(), "unknown", "{answer:?}");
    drop(gateway);
}

#[tokio::test]
async fn without_the_journal_the_cloud_side_does_not_take_a_new_process_at_its_word() {
    let mut bed = Bed::new().await;
    let mut gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let id = Uuid::new_v4();
    let mut tasks = JoinSet::new();
    let calls = cloud.clone();
    tasks.spawn(async move { calls.invoke(CallRequest { budget: CUT_OFF, ..call(id, "long", "2") }).await });
    is_running(&cloud, id).await;
    gateway.kill();
    drop(gateway);
    let gateway = bed.gateway().await;
    // At half its budget the call is sent again, and the new process says `resync`: it has not run it.
    let answer = within(PATIENCE, "the answer", tasks.join_next()).await.unwrap().unwrap();
    assert_eq!(
        (answer.status.as_str(), answer.outcome.as_str(), answer.attempts),
        ("no_reply", "unknown", 2)
    );
    assert!(
        !gateway
            .lines()
            .iter()
            .any(|line| line.contains(r#""method":"long""#) && line.contains(r#""status":"ok""#))
    );
}

#[tokio::test]
async fn an_idempotency_key_is_an_id_and_the_call_can_be_asked_about() {
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = guard(router(cloud, RouterOptions::default()), Host::Loopback);
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let calls = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let post = |key: &str, method: &str, body: &str| {
            let url = format!("http://{address}/things/gw-1/methods/{method}?timeout=20000");
            let mut response = agent.post(url).header("Idempotency-Key", key).send(body).unwrap();
            let answer: serde_json::Value =
                serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
            (response.status(), answer)
        };
        let (code, first) = post("order-7", "one", "1");
        assert_eq!((code, first["status"].as_str()), (StatusCode::OK, Some("ok")), "{first}");
        let (_, again) = post("\"order-7\"", "one", "1");
        assert_eq!(
            (&again["id"], &again["status"], &again["response"]),
            (&first["id"], &first["status"], &first["response"])
        );
        assert_ne!(post("order-8", "one", "1").1["id"], first["id"]);
        assert_eq!(post("order-7", "one", "2").0, StatusCode::CONFLICT);
        assert_eq!(post("", "one", "1").0, StatusCode::BAD_REQUEST);
        let get = |id: &str| {
            let url = format!("http://{address}/things/gw-1/calls/{id}");
            let mut response = agent.get(url).call().unwrap();
            let answer: serde_json::Value =
                serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
            (response.status(), answer["response"].to_string())
        };
        let id = first["id"].as_str().unwrap();
        let ended = r#"{"answer":{"outcome":"executed","response":1,"status":"ok"},"state":"ended"}"#;
        assert_eq!(get(id), (StatusCode::OK, ended.into()));
        let nobody = "00000000-0000-4000-8000-000000000000";
        assert_eq!(get(nobody), (StatusCode::OK, r#"{"state":"not_known"}"#.into()));
        assert_eq!(get("order-7").0, StatusCode::BAD_REQUEST);
    });
    calls.await.unwrap();
}

#[tokio::test]
async fn a_journal_that_cannot_be_used_is_told_before_anything_runs() {
    let bed = Bed::new().await;
    let config = bed.config();
    let set = ["--set", "journal.enabled=true"];
    let run = |more: &[&str]| {
        crate::bed::nowd(&[&["run", "--config", config.to_str().unwrap()], more, &set].concat())
    };
    let mut nowhere = run(&["--set", "state_dir=/dev/null/state"]);
    assert_eq!(nowhere.exit(PATIENCE).await.code(), Some(74), "{:?}", nowhere.lines());
    nowhere.wait_for_line(PATIENCE, "/dev/null/state/journal cannot be opened").await;
    let _first = bed.gateway_with(&set).await;
    let mut second = run(&[]);
    assert_eq!(second.exit(PATIENCE).await.code(), Some(74), "{:?}", second.lines());
    second.wait_for_line(PATIENCE, "in use by another process").await;
    let mut relative = run(&["--set", "state_dir=state"]);
    assert_eq!(relative.exit(PATIENCE).await.code(), Some(78), "{:?}", relative.lines());
}
