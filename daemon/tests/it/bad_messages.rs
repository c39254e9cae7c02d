//! Messages that no good caller sends: the gateway goes on, says one line, and answers nobody.

use nowd_testkit::wait_for;

use crate::bed::{Bed, PATIENCE, TARGET, comes_back, request, words};

const ID: &str = "6e1f3c52-8e1a-4c5f-9d51-0d6f0a2f7b11";

#[tokio::test]
async fn bad_messages_are_dropped_with_one_line_each() {
    let mut bed = Bed::new().await;
    let mut gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    let observer = bed.observer().await;
    let good = format!("{TARGET}/echo/cloud-x/{ID}");
    let brackets = "[".repeat(100_000);
    let bad: Vec<(String, Vec<u8>)> = vec![
        (good.clone(), b"{\"id\":\"\xff\xfe\"}".to_vec()),
        (good.clone(), b"{\"id\":".to_vec()),
        (good.clone(), format!("[\"{ID}\"]").into()),
        (good.clone(), brackets.clone().into()),
        (good.clone(), format!("{{\"id\":{brackets}").into()),
        (good.clone(), Vec::new()),
        (good.clone(), vec![b' '; 131_073]),
        (good.clone(), b"{}".to_vec()),
        (good.clone(), br#"{"id":""}"#.to_vec()),
        (good.clone(), br#"{"id":7}"#.to_vec()),
        (good.clone(), br#"{"id":{}}"#.to_vec()),
        (good.clone(), br#"{"id":"a/b"}"#.to_vec()),
        (good.clone(), br#"{"id":"+"}"#.to_vec()),
        (good.clone(), br##"{"id":"#"}"##.to_vec()),
        (good.clone(), br#"{"id":"\u0000"}"#.to_vec()),
        (good.clone(), format!("{{\"id\":\"{}\"}}", "x".repeat(64 * 1_024)).into()),
        (good.clone(), br#"{"id":"6e1f3c52-8e1a-4c5f-9d51-0d6f0a2f7b12"}"#.to_vec()),
        (format!("{TARGET}/echo/$SYS/{ID}"), format!("{{\"id\":\"{ID}\"}}").into()),
        (format!("{TARGET}/echo/{TARGET}/{ID}"), format!("{{\"id\":\"{ID}\"}}").into()),
        (format!("{TARGET}/echo/cloud-x/not-an-id"), br#"{"id":"not-an-id"}"#.to_vec()),
        (format!("{TARGET}//cloud-x/{ID}"), format!("{{\"id\":\"{ID}\"}}").into()),
    ];
    for (number, (topic, payload)) in bad.iter().enumerate() {
        observer.say(topic, payload.clone());
        let dropped = || gateway.lines().iter().filter(|line| line.contains("was dropped")).count();
        wait_for(PATIENCE, &format!("a line about message {number} under {topic}"), || {
            dropped() == number + 1
        })
        .await;
        assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    }
    // These do not even reach it: too few levels, too many levels, 200 KB, another's name.
    observer.say(&format!("{TARGET}/echo/cloud-x"), "{}");
    observer.say(&format!("{TARGET}/echo/cloud-x/{ID}/more"), "{}");
    observer.say(&format!("gw-2/echo/cloud-x/{ID}"), format!("{{\"id\":\"{ID}\",\"timeout\":900}}"));
    observer.say(&good, vec![b' '; 200_000]);
    comes_back(&cloud).await;
    let stray: Vec<String> =
        observer.replies().into_iter().filter(|topic| !topic.starts_with(cloud.client().as_str())).collect();
    assert_eq!(stray, [""; 0], "answers to messages that deserve none");
    assert!(gateway.try_exit().is_none());
}

#[tokio::test]
async fn a_fault_in_a_message_with_a_proven_address_is_answered() {
    let mut bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let observer = bed.observer().await;
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let deeper = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
    for (number, (fields, expected)) in [
        (r#""timeout":"soon""#.to_owned(), "`timeout` must be a whole number"),
        (r#""timeout":0"#.to_owned(), "`timeout` must be a whole number"),
        (r#""request":1"#.to_owned(), "`timeout` is missing"),
        (r#""timeout":900,"not_after":7"#.to_owned(), "`not_after` must be an object"),
        (format!(r#""timeout":900,"request":{deeper}"#), "recursion limit"),
        (format!(r#""timeout":900,"request":{deep}"#), "resync"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("6e1f3c52-8e1a-4c5f-9d51-0d6f0a2f7b{number:02}");
        observer.say(&format!("{TARGET}/echo/cloud-x/{id}"), format!(r#"{{"id":"{id}",{fields}}}"#));
        observer.hears(&format!("cloud-x/{id}/{TARGET}/echo/ack"), expected).await;
    }
}

#[tokio::test]
async fn a_retained_request_is_not_run() {
    let mut bed = Bed::new().await;
    let observer = bed.observer().await;
    let topic = format!("{TARGET}/echo/cloud-old/{ID}");
    observer.publish(&topic, format!(r#"{{"id":"{ID}","request":"open"}}"#), true);
    observer.hears(&topic, "open").await;
    let gateway = bed.gateway().await;
    gateway.wait_for_line(PATIENCE, "retained by the broker").await;
    comes_back(&bed.cloud().await).await;
    assert!(!observer.replies().iter().any(|topic| topic.contains(ID)));
}

#[tokio::test]
async fn the_same_id_three_times_is_one_call() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    let observer = bed.observer().await;
    let topic = format!("{TARGET}/echo.slow/cloud-old/{ID}");
    for _ in 0..3 {
        observer.say(&topic, format!(r#"{{"id":"{ID}","request":"open"}}"#));
    }
    let reply = format!("cloud-old/{ID}/{TARGET}/echo.slow/ack");
    wait_for(PATIENCE, "an answer for each", || observer.heard(&reply).len() == 3).await;
    observer.say(&topic, format!(r#"{{"id":"{ID}","request":"open"}}"#));
    gateway.wait_for_line(PATIENCE, "repeat of echo.slow answered").await;
    wait_for(PATIENCE, "the answer again", || observer.heard(&reply).len() == 4).await;
    let calls = gateway.lines().iter().filter(|line| line.contains(r#""message":"call "#)).count();
    assert_eq!(calls, 1);
    let answers = observer.heard(&reply);
    let timing =
        |payload: &[u8]| String::from_utf8_lossy(payload).split("\"gateway\"").next().unwrap().to_owned();
    assert!(answers.iter().all(|answer| timing(answer) == timing(&answers[0])));
}
