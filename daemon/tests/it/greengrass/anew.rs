//! A gateway that is started anew inside the process: promise 2 holds over it as over a restart of the process.

use nowd_link::{Connection, Event, Publish, Qos};
use nowd_protocol::Uuid;
use nowd_testkit::{Style, wait_for, within};
use serde_json::{Value, json};

use super::core::{COMPONENT, Core, TARGET, options};
use crate::bed::PATIENCE;

/// Sends it, and waits for the answer.
async fn ask(connection: &mut Connection, method: &str, request: &Value) -> Value {
    let id = request["id"].as_str().unwrap();
    let publish = Publish {
        topic: format!("{TARGET}/{method}/cloud-repeats/{id}"),
        payload: request.to_string().into_bytes().into(),
        qos: Qos::AtLeastOnce,
        ..Publish::default()
    };
    connection.sender().publish(publish).unwrap();
    within(PATIENCE, "the answer", async {
        loop {
            if let Event::Message(message) = connection.next().await.unwrap() {
                let answer: Value = serde_json::from_slice(&message.payload).unwrap();
                if let Some(ack) = message.ack {
                    ack.send().unwrap();
                }
                if answer.get("id").is_some_and(|of| of == id) {
                    return answer;
                }
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_to_the_gateway_of_before_is_not_run_by_the_next() {
    let mut core = Core::new(Style::Classic);
    let mut good = core.good();
    // So that a deadline by the wall clock counts as well.
    good["nowd"]["clock"] = json!("trusted");
    core.nucleus.set_configuration(COMPONENT, good);
    let gateway = core.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    let cloud = core.cloud().await;
    cloud.hears(TARGET, "echo", "ok").await;
    let options = nowd_link::Options { client_id: "repeats".into(), ..options(&core.ca, core.broker.port()) };
    let mut connection = Connection::open(&options).await.unwrap();
    connection.sender().subscribe(&["cloud-repeats/#"], Qos::AtLeastOnce).unwrap();
    while !matches!(connection.next().await.unwrap(), Event::Subscribed { .. }) {}

    // Whoever says no deadline is told the clock.
    let id = Uuid::new_v4;
    let first = ask(&mut connection, "echo", &json!({"id": id().to_string(), "timeout": 20_000})).await;
    assert_eq!(first["status"], "resync", "{first}");
    let now = first["gateway"]["now"].as_u64().unwrap();
    let not_after = json!({"incarnation": first["gateway"]["incarnation"], "at": now + 20_000_000});
    let request = json!({"id": id().to_string(), "timeout": 20_000, "not_after": not_after});
    // The same bytes again: from memory.
    for _ in 0..2 {
        let answer = ask(&mut connection, "echo", &request).await;
        assert_eq!((&answer["status"], &answer["outcome"]), (&json!("ok"), &json!("executed")), "{answer}");
    }

    core.nucleus.merge(COMPONENT, &json!({"nowd": {"link": {"probe": "30s"}}}));
    gateway.wait_for_line(PATIENCE, "`link` was changed as well: the gateway starts anew").await;
    // Whoever subscribes anew is there.
    let links = || gateway.lines().iter().filter(|line| line.contains("the link is up")).count();
    wait_for(PATIENCE, "the link of the next gateway", || links() == 2).await;
    let answer = ask(&mut connection, "echo", &request).await;
    assert_eq!(
        (&answer["status"], &answer["outcome"]),
        (&json!("resync"), &json!("not_executed")),
        "{answer}"
    );
    assert_ne!(answer["gateway"]["incarnation"], first["gateway"]["incarnation"], "{answer}");
    cloud.hears(TARGET, "echo", "ok").await;
}
