//! Who else asks a gateway whose link goes through the nucleus: callers in the public sample's form, and users of the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use nowd_testkit::Bus;

use super::*;

fn unix_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "these callers say when they asked by the wall clock")]
    let now = SystemTime::now();
    u64::try_from(now.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// As the sample's function publishes it.
fn ask(via: &Via, method: &str, id: &str, timestamp: u64) {
    let body = json!({"timestamp": timestamp.to_string(), "request": "open", "id": id});
    via.nucleus.publish(&format!("{TARGET}/{method}/invocation_client/{id}"), body.to_string().as_bytes());
}

fn answers(via: &Via, id: &str) -> Vec<Value> {
    let topic = format!("invocation_client/{id}/{TARGET}/");
    let all = via.nucleus.published();
    let answers =
        all.iter().filter(|message| message.topic.starts_with(&topic) && message.topic.ends_with("/ack"));
    answers.map(|answer| serde_json::from_slice(&answer.payload).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compatibility_caller_is_answered_in_time_or_not_at_all() {
    let via = Via::new(Nucleus::start(Style::Lite));
    via.nucleus.set_configuration("aws.greengrass.NucleusLite", json!({"iotDataEndpoint": "localhost"}));
    via.configure(&json!({
        "clock": "trusted",
        "compat": {"clients": "invocation_"},
        "access": {"default": ["cloud-*", "invocation_*"]},
    }));
    let gateway = via.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    let mut number = 100;
    let mut answered = async || {
        within(PATIENCE, "an answer", async {
            // What is not surely later than the subscription is not run: as often as that takes.
            loop {
                number += 1;
                let id = id(number);
                ask(&via, "echo", &id, unix_ms());
                for _ in 0..50 {
                    if let Some(answer) = answers(&via, &id).pop() {
                        return answer;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        })
        .await
    };
    assert_eq!(answered().await["response"], "open");
    // What the nucleus had kept, and what fails: silence, and nothing was done.
    ask(&via, "echo", &id(1), unix_ms() - 5_000);
    ask(&via, "nothing", &id(2), unix_ms());
    assert_eq!(answered().await["response"], "open");
    assert_eq!((answers(&via, &id(1)), answers(&via, &id(2))), (Vec::new(), Vec::new()));
    // One that says no time is not younger than it looks.
    let body = json!({"request": "open", "id": id(3)}).to_string();
    via.nucleus.publish(&format!("{TARGET}/echo/invocation_client/{}", id(3)), body.as_bytes());
    assert_eq!(answered().await["response"], "open");
    assert_eq!(answers(&via, &id(3)), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nucleus_that_answers_nothing_delays_nobody_on_this_machine() {
    let bus = Bus::start();
    let via = Via::new(Nucleus::start(Style::Classic));
    via.configure(&json!({"bus": {"address": bus.address()}}));
    let gateway = via.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    let call = async || {
        let began = BootInstant::now();
        let args = ["call", "echo", "--bus", &bus.address()];
        let mut process = Process::spawn(env!("CARGO_BIN_EXE_nowd"), &args, &[]);
        assert_eq!(process.exit(PATIENCE).await.code(), Some(0), "{:?}", process.lines());
        BootInstant::now().saturating_since(began)
    };
    call().await;
    via.nucleus.hold();
    // While the probe is awaited, while the connection is opened anew and not accepted, and after that was given up.
    let mut longest = Duration::ZERO;
    while !gateway.lines().iter().any(|line| line.contains("the nucleus did not accept the connection")) {
        longest = longest.max(call().await);
    }
    longest = longest.max(call().await);
    println!("the longest of these calls took {longest:?}");
    // The nucleus has 10 s for each question.
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}
