//! What callers are told of the methods on offer.

use nowd_cloud::{Host, RouterOptions, guard, router};
use nowd_protocol::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::bed::{Bed, comes_back, request};

fn read(response: &RawValue) -> Value {
    serde_json::from_str(response.get()).unwrap()
}

#[tokio::test]
async fn a_caller_is_told_what_it_may_call_with_schemas() {
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let answer = cloud.invoke(request("nowd.methods", "null")).await;
    assert_eq!(answer.status.as_str(), "ok", "{answer:?}");
    let page = read(&answer.response);
    let names: Vec<&str> =
        page["methods"].as_array().unwrap().iter().map(|method| method["name"].as_str().unwrap()).collect();
    // Neither `window.halt`, which is internal, nor `echo.closed`, which is for somebody else.
    let expected = [
        "alarm.arm",
        "alarm.hang",
        "echo",
        "echo.hold",
        "echo.slow",
        "long",
        "one",
        "window.absent",
        "window.lock",
        "window.move",
        "window.set",
    ];
    assert_eq!((names.as_slice(), &page["more"]), (expected.as_slice(), &json!(false)));
    let set = &page["methods"][10];
    assert_eq!(set["params"]["properties"]["percent"]["maximum"], 100);
    assert_eq!(set["params"]["required"], json!(["percent"]));
    assert_eq!((&set["timeout_ms"], &set["max_timeout_ms"]), (&json!(1_000), &json!(30_000)));
    assert_eq!(page["methods"][2]["params"], Value::Null);
    let after = cloud.invoke(request("nowd.methods", r#"{"after":"window.lock"}"#)).await;
    assert_eq!(read(&after.response)["methods"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_does_not_fit_on_a_page_stands_on_the_next() {
    let mut bed = Bed::new().await;
    let text = "x".repeat(30_000);
    let method =
        |n| format!("[methods.\"m{n}\"]\nparams.a = {{ type = \"string\", description = \"{text}\" }}\n");
    let methods: Vec<String> = (0..8).map(method).collect();
    let map = format!("[simulator]\n{}", methods.concat());
    std::fs::write(bed.folder.path().join("methods.d/large.toml"), map).unwrap();
    let large = "y".repeat(100_000);
    let map = format!("[simulator]\n[methods.\"n\"]\nparams.a = {{ description = \"{large}\" }}\n");
    std::fs::write(bed.folder.path().join("methods.d/larger.toml"), map).unwrap();
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let (mut found, mut after, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let answer = cloud.invoke(request("nowd.methods", &json!({ "after": after }).to_string())).await;
        assert!(answer.error.is_none(), "{:?}", answer.error);
        let page = read(&answer.response);
        found.extend(page["methods"].as_array().unwrap().clone());
        after = found.last().unwrap()["name"].clone();
        pages += 1;
        if page["more"] == json!(false) {
            break;
        }
    }
    assert_eq!((found.len(), pages), (20, 4));
    let n = found.iter().find(|method| method["name"] == "n").unwrap();
    assert!(n.get("params").is_none(), "it would fill a message by itself");
}

#[tokio::test]
async fn over_http() {
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = guard(router(cloud, RouterOptions::default()), Host::Loopback);
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let get = move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://{address}/things/gw-1/methods?after=window.lock&timeout=20000");
        let mut response = agent.get(url).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    };
    let (code, body) = tokio::task::spawn_blocking(get).await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["status"], &body["outcome"]), (200, &json!("ok"), &json!("executed")), "{body}");
    let names: Vec<&Value> =
        body["response"]["methods"].as_array().unwrap().iter().map(|method| &method["name"]).collect();
    assert_eq!(names, ["window.move", "window.set"]);
}
