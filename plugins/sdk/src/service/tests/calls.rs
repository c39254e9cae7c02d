//! Calls: which start, how they end, and that none is in another's way.

use nowd_testkit::wait_for;
use zbus::message::Flags;

use super::*;

#[tokio::test]
async fn each_call_is_answered_in_the_words_of_the_contract() {
    let bed = Bed::new().await;
    let caller = bed.caller().await;
    let answer = caller.invoke("act", &json!({"percent": 40})).await;
    assert_eq!((words(&answer), &*answer.response_json), (("ok", "executed"), r#"{"percent":40}"#));
    // Defaults are filled in.
    assert_eq!(caller.invoke("act", &Value::Null).await.response_json, r#"{"percent":7}"#);
    assert_eq!(bed.rig.acted.load(Ordering::SeqCst), 2);

    let id = Uuid::new_v4().to_string();
    let long = json!({"percent": "x".repeat(128 * 1024)}).to_string();
    let (invalid, unavailable) = (("invalid_request", "not_executed"), ("unavailable", "not_executed"));
    for (id, method, request, not_after, expected, reason) in [
        (&*id, "act", r#"{"percent":101}"#, in_time(), invalid, "invalid_request"),
        (&id, "act", r#"{"other":1}"#, in_time(), invalid, "invalid_request"),
        (&id, "act", "{", in_time(), invalid, "invalid_request"),
        (&id, "act", &long, in_time(), invalid, "request_too_long"),
        ("", "act", "{}", in_time(), invalid, "invalid_id"),
        ("7", "act", "{}", in_time(), invalid, "invalid_id"),
        (&id.to_uppercase(), "act", "{}", in_time(), invalid, "invalid_id"),
        (&format!("{{{id}}}"), "act", "{}", in_time(), invalid, "invalid_id"),
        (&id, "open", "{}", in_time(), unavailable, "unknown_method"),
        (&id, "", "{}", in_time(), unavailable, "unknown_method"),
        (&id, "act", "{}", 0, ("expired", "not_executed"), "expired"),
        (
            &id,
            "act",
            "{}",
            Deadline::after(Duration::ZERO).boottime_micros(),
            ("expired", "not_executed"),
            "expired",
        ),
        (&id, "panic", "{}", in_time(), ("internal", "unknown"), "plugin_failed"),
    ] {
        let answer = caller.invoke_until(id, method, request, not_after).await;
        assert_eq!((words(&answer), &*code(&answer)), (expected, reason), "{id} {method}");
    }
    assert_eq!(bed.rig.acted.load(Ordering::SeqCst), 2, "none of these acted");
    // A panic costs its own call only.
    assert_eq!(words(&caller.invoke("act", &json!({})).await), ("ok", "executed"));
}

#[tokio::test]
async fn the_deadline_is_the_callers_and_the_budget_what_is_left_of_it() {
    let bed = Bed::new().await;
    let caller = bed.caller().await;
    let until = Deadline::after(Duration::from_secs(20)).boottime_micros();
    let answer = caller.invoke_until(&Uuid::new_v4().to_string(), "budget", "null", until).await;
    let [budget, left]: [f64; 2] = serde_json::from_str(&answer.response_json).unwrap();
    assert!(left <= budget && budget <= 20.0, "{budget} {left}");
    assert!(left > 0.0);
    // The end of time is a deadline like any other.
    let answer = caller.invoke_until(&Uuid::new_v4().to_string(), "act", "{}", u64::MAX).await;
    assert_eq!(words(&answer), ("ok", "executed"));
}

#[tokio::test]
async fn what_is_too_long_to_hand_on_is_told_with_its_outcome() {
    let bed = Bed::new().await;
    let caller = bed.caller().await;
    let answer = caller.invoke("long", &json!({"len": 131_070, "fails": false})).await;
    assert_eq!((words(&answer), answer.response_json.len()), (("ok", "executed"), 131_072));
    let answer = caller.invoke("long", &json!({"len": 131_071, "fails": false})).await;
    assert_eq!((words(&answer), &*code(&answer)), (("failed", "executed"), "response_too_long"));
    let answer = caller.invoke("long", &json!({"len": 1_000_000, "fails": true})).await;
    assert_eq!((words(&answer), &*code(&answer)), (("refused", "not_executed"), "long"));
    assert!(answer.response_json.len() < 4_000);
}

#[tokio::test]
async fn a_slow_call_delays_no_other_and_can_be_cancelled() {
    let bed = Bed::new().await;
    let (caller, other) = (bed.caller().await, bed.caller().await);
    let id = Uuid::new_v4().to_string();
    let mut slow = JoinSet::new();
    let (asking, its_id) = (caller.clone(), id.clone());
    slow.spawn(async move { asking.invoke_until(&its_id, "wait", "{}", in_time()).await });
    wait_for(PATIENCE, "the slow call", || bed.rig.waiting.load(Ordering::SeqCst) == 1).await;
    assert_eq!(words(&caller.invoke("act", &json!({})).await), ("ok", "executed"));
    for caller in [&caller, &other] {
        let again = caller.invoke_until(&id, "act", "{}", in_time()).await;
        assert_eq!((words(&again), &*code(&again)), (("unavailable", "not_executed"), "id_in_use"));
    }
    // Nobody's, and no id at all.
    caller.cancel(&Uuid::new_v4().to_string()).await;
    caller.cancel("x").await;
    assert_eq!(bed.rig.waiting.load(Ordering::SeqCst), 1);
    caller.cancel(&id).await;
    let answer = within(PATIENCE, "the cancelled call's answer", slow.join_next()).await.unwrap().unwrap();
    assert_eq!((words(&answer), &*code(&answer)), (("failed", "unknown"), "halted"));
    // It has ended: its id is free.
    assert_eq!(words(&caller.invoke_until(&id, "act", "{}", in_time()).await), ("ok", "executed"));
}

#[tokio::test]
async fn only_so_many_calls_run_at_once_and_cancel_is_heard_among_them() {
    let bed = Bed::new().await;
    let mut running = JoinSet::new();
    let mut ids = Vec::new();
    // A bus lets each connection wait for few answers at once.
    for _ in 0..4 {
        let caller = bed.caller().await;
        for _ in 0..64 {
            let id = Uuid::new_v4().to_string();
            let (caller, own) = (caller.clone(), id.clone());
            running.spawn(
                async move { (own.clone(), caller.invoke_until(&own, "wait", "{}", in_time()).await) },
            );
            ids.push(id);
        }
    }
    wait_for(PATIENCE, "256 calls", || bed.rig.waiting.load(Ordering::SeqCst) == 256).await;
    let caller = bed.caller().await;
    for _ in 0..3 {
        let answer = caller.invoke("act", &json!({})).await;
        assert_eq!((words(&answer), &*code(&answer)), (("unavailable", "not_executed"), "too_many_calls"));
    }
    caller.cancel(&ids[100]).await;
    let (id, answer) = within(PATIENCE, "the cancelled call", running.join_next()).await.unwrap().unwrap();
    assert_eq!((id, words(&answer)), (ids[100].clone(), ("failed", "unknown")));
    assert_eq!(words(&caller.invoke("act", &json!({})).await), ("ok", "executed"));
    bed.rig.release.add_permits(255);
    for _ in 0..255 {
        let (_, answer) = within(PATIENCE, "the others", running.join_next()).await.unwrap().unwrap();
        assert_eq!(words(&answer), ("ok", "executed"));
    }
}

#[tokio::test]
async fn calls_of_a_caller_that_left_are_cancelled_and_no_others() {
    let bed = Bed::new().await;
    let (leaving, staying) = (bed.caller().await, bed.caller().await);
    let mut slow = JoinSet::new();
    slow.spawn(async move { staying.invoke("wait", &json!({})).await });
    for _ in 0..3 {
        let id = Uuid::new_v4().to_string();
        let body = (id.as_str(), "wait", "{}", in_time());
        let message = Message::method_call(PATH, "Invoke").destination(NAME).interface(INTERFACE);
        leaving.connection.send(&message.build(&body).unwrap()).await.unwrap();
    }
    wait_for(PATIENCE, "four calls", || bed.rig.waiting.load(Ordering::SeqCst) == 4).await;
    leaving.connection.close().await.unwrap();
    wait_for(PATIENCE, "three cancelled", || bed.rig.cancelled.load(Ordering::SeqCst) == 3).await;
    assert_eq!(bed.rig.waiting.load(Ordering::SeqCst), 1);
    bed.rig.release.add_permits(1);
    let answer = within(PATIENCE, "the call that stays", slow.join_next()).await.unwrap().unwrap();
    assert_eq!(words(&answer), ("ok", "executed"));
}

#[tokio::test]
async fn a_flood_of_garbage_stops_no_call() {
    let bed = Bed::new().await;
    let caller = bed.caller().await;
    let mut floods = JoinSet::new();
    let id = Uuid::new_v4().to_string();
    let flooding = CancellationToken::new();
    for quiet in [false, true] {
        let (other, id, flooding) = (bed.caller().await, id.clone(), flooding.clone());
        let long = "x".repeat(1_000_000);
        let flags = if quiet { Flags::NO_REPLY_EXPECTED } else { Flags::NO_AUTO_START };
        let to = move |path: &'static str, member: &'static str| {
            let message = Message::method_call(path, member).destination(NAME).interface(INTERFACE);
            message.with_flags(flags)
        };
        floods.spawn(async move {
            let garbage = [
                to("/x/y", "Invoke").build(&()).unwrap(),
                to(PATH, "Invoke").build(&("", "", "", 0_u64)).unwrap(),
                to(PATH, "Invoke").build(&(id.as_str(), "act", "{", u64::MAX)).unwrap(),
                to(PATH, "Cancel").build(&long).unwrap(),
                to(PATH, "Describe").build(&()).unwrap(),
                to(PATH, "Nothing").build(&vec![1_u8; 10_000]).unwrap(),
                Message::signal(PATH, INTERFACE, "Changed").destination(NAME).build(&(1, "x")).unwrap(),
            ];
            let mut sent = 0_u32;
            while !flooding.is_cancelled() {
                for message in &garbage {
                    other.connection.send(message).await.unwrap();
                    sent += 1;
                }
            }
            sent
        });
    }
    for _ in 0..50 {
        assert_eq!(words(&caller.invoke("act", &json!({})).await), ("ok", "executed"));
    }
    flooding.cancel();
    while let Some(sent) = within(PATIENCE, "the floods", floods.join_next()).await {
        assert!(sent.unwrap() > 0);
    }
    assert_eq!(words(&caller.invoke("act", &json!({})).await), ("ok", "executed"));
}

#[tokio::test]
async fn what_somebody_left_running_holds_its_lane() {
    let bed = Bed::new().await;
    let (leaving, staying) = (bed.caller().await, bed.caller().await);
    let id = Uuid::new_v4().to_string();
    let body = (id.as_str(), "wait.deaf", "{}", in_time());
    let message = Message::method_call(PATH, "Invoke").destination(NAME).interface(INTERFACE);
    leaving.connection.send(&message.build(&body).unwrap()).await.unwrap();
    wait_for(PATIENCE, "the call", || bed.rig.waiting.load(Ordering::SeqCst) == 1).await;
    assert_eq!(words(&staying.invoke("act", &json!({})).await), ("ok", "executed"), "both are there");
    leaving.connection.close().await.unwrap();
    wait_for(PATIENCE, "the end of who asked", || bed.rig.cancelled.load(Ordering::SeqCst) == 1).await;
    let refused = staying.invoke("act", &json!({})).await;
    assert_eq!(words(&refused), ("unavailable", "not_executed"));
    assert!(refused.response_json.contains("lane_held"), "{refused:?}");
}
