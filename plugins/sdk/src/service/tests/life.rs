//! From the first connection to the last: names, buses that go and come, background work, the end.

use std::fs;

use nowd_testkit::{Process, wait_for};

use super::*;

#[tokio::test]
async fn a_bus_that_goes_and_comes_finds_the_plugin_again() {
    let mut bed = Bed::new().await;
    let caller = bed.caller().await;
    let mut slow = JoinSet::new();
    slow.spawn(
        async move { caller.ask("Invoke", &(Uuid::new_v4().to_string(), "wait", "{}", in_time())).await },
    );
    wait_for(PATIENCE, "a call", || bed.rig.waiting.load(Ordering::SeqCst) == 1).await;
    for _ in 0..2 {
        bed.bus.restart();
        bed.wait_for_name(true).await;
        assert_eq!(words(&bed.caller().await.invoke("act", &json!({})).await), ("ok", "executed"));
    }
    assert!(within(PATIENCE, "the end of the call", slow.join_next()).await.unwrap().unwrap().is_err());
    assert_eq!(bed.rig.cancelled.load(Ordering::SeqCst), 1, "nobody waits for it any more");
}

#[tokio::test]
async fn a_bus_that_is_not_there_yet_is_waited_for() {
    let mut bus = Bus::start();
    bus.stop();
    let rig = Rig::new(0);
    let service = service(&bus, &rig);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let until = stop.clone();
    tasks.spawn(async move { service.run(until).await });
    wait_for(PATIENCE, "background work", || rig.runs.load(Ordering::SeqCst) == 1).await;
    bus.restart();
    let bed = Bed { bus, rig, stop, service: tasks };
    bed.wait_for_name(true).await;
    assert_eq!(words(&bed.caller().await.invoke("act", &json!({})).await), ("ok", "executed"));
}

#[tokio::test]
async fn a_name_that_is_taken_ends_the_first_start() {
    let mut bed = Bed::new().await;
    let second = service(&bed.bus, &Rig::new(0));
    let error = within(PATIENCE, "the second one", second.run(CancellationToken::new())).await.unwrap_err();
    assert!(matches!(error, ServiceError::NameTaken { .. }) && error.exit_code() == 74, "{error}");
    assert!(error.to_string().contains("has the name com.example.Rig already"), "{error}");
    // The first one does not notice.
    assert_eq!(words(&bed.caller().await.invoke("act", &json!({})).await), ("ok", "executed"));
    bed.stop.cancel();
    bed.end().await.unwrap();
}

#[tokio::test]
async fn a_name_that_the_bus_does_not_allow_is_told_with_the_file_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let (config, socket) = (folder.path().join("bus.conf"), folder.path().join("bus"));
    let text = format!(
        "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\"><allow user=\"*\"/><deny own=\"*\"/><allow send_type=\"method_call\"/>\
         <allow receive_type=\"method_return\"/><allow receive_type=\"error\"/>\
         <allow receive_type=\"signal\"/></policy></busconfig>",
        socket.display()
    );
    fs::write(&config, text).unwrap();
    let option = format!("--config-file={}", config.display());
    let _bus = Process::spawn("dbus-daemon", &["--nofork", "--nopidfile", &option], &[]);
    wait_for(PATIENCE, "the bus", || socket.exists()).await;
    let address = BusAddress::At(format!("unix:path={}", socket.display()));
    let service = Service::new(Rig::new(0), address, NAME, PATH).unwrap();
    let error = within(PATIENCE, "the refusal", service.run(CancellationToken::new())).await.unwrap_err();
    assert!(matches!(error, ServiceError::NotAllowed { .. }) && error.exit_code() == 78, "{error}");
    assert!(error.to_string().contains("/etc/dbus-1/system.d/com.example.Rig.conf"), "{error}");
    assert!(
        error.to_string().contains("send_destination=\"com.example.Rig\""),
        "without it nobody may call: {error}"
    );
}

#[tokio::test]
async fn at_the_end_calls_may_end_and_none_begins() {
    let mut bed = Bed::new().await;
    let caller = bed.caller().await;
    let mut slow = JoinSet::new();
    let asking = caller.clone();
    slow.spawn(async move { asking.invoke("wait", &json!({})).await });
    wait_for(PATIENCE, "a call", || bed.rig.waiting.load(Ordering::SeqCst) == 1).await;
    bed.stop.cancel();
    // The stop is seen with the next thing that happens at the latest.
    within(PATIENCE, "refusals", async {
        loop {
            let answer = caller.invoke("act", &json!({})).await;
            if words(&answer) == ("unavailable", "not_executed") {
                assert_eq!(code(&answer), "stopping");
                break;
            }
        }
    })
    .await;
    assert!(caller.is_owned().await, "as long as a call runs, the name is there");
    bed.rig.release.add_permits(1);
    let answer = within(PATIENCE, "the last call", slow.join_next()).await.unwrap().unwrap();
    assert_eq!(words(&answer), ("ok", "executed"));
    bed.end().await.unwrap();
    assert!(!caller.is_owned().await);
}

#[tokio::test]
async fn a_call_that_never_ends_does_not_hold_up_the_end() {
    let mut bed = Bed::new().await;
    let caller = bed.caller().await;
    let mut slow = JoinSet::new();
    slow.spawn(async move { caller.invoke("wait.deaf", &json!({})).await });
    wait_for(PATIENCE, "a call", || bed.rig.waiting.load(Ordering::SeqCst) == 1).await;
    bed.stop.cancel();
    bed.end().await.unwrap();
    let answer = within(PATIENCE, "the call's answer", slow.join_next()).await.unwrap().unwrap();
    assert_eq!((words(&answer), &*code(&answer)), (("failed", "unknown"), "plugin_stopped"));
    bed.wait_for_name(false).await;
}

#[tokio::test]
async fn the_end_comes_also_without_a_bus() {
    let mut bed = Bed::new().await;
    bed.bus.stop();
    bed.stop.cancel();
    bed.end().await.unwrap();
}

#[tokio::test]
async fn the_end_comes_also_on_a_bus_that_is_frozen() {
    let mut bed = Bed::new().await;
    bed.bus.pause();
    bed.stop.cancel();
    bed.end().await.unwrap();
    bed.bus.resume();
    bed.wait_for_name(false).await;
}

#[tokio::test]
async fn background_work_that_ends_by_mistake_is_started_again() {
    let bed = Bed::with(Rig::new(2)).await;
    wait_for(PATIENCE, "a third run", || bed.rig.runs.load(Ordering::SeqCst) == 3).await;
    assert_eq!(words(&bed.caller().await.invoke("act", &json!({})).await), ("ok", "executed"));
}

#[test]
fn what_no_gateway_would_take_is_told_at_the_start() {
    #[derive(Debug)]
    struct Odd;
    impl Plugin for Odd {
        fn name(&self) -> &'static str {
            "odd"
        }
        fn methods(&self) -> Vec<Method> {
            let policy = Policy { on_timeout: Some("halt".into()), ..Policy::default() };
            let methods = Rig::new(0).methods().into_iter().take(1);
            methods.map(|method| Method { policy: policy.clone(), ..method }).collect()
        }
        fn invoke<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Completion> {
            Box::pin(std::future::ready(Completion::Ok(Value::Null)))
        }
    }
    let new = |plugin, name, path| Service::new(plugin, BusAddress::System, name, path).map(drop);
    for (made, expected) in [
        (new(Rig::new(0), "Rig", PATH), "cannot be a name on the bus"),
        (new(Rig::new(0), NAME, "com/example"), "cannot be the path of an object"),
        (new(Rig::new(0), NAME, "/"), "cannot be the path of an object"),
        (new(Arc::new(Odd), NAME, PATH), "`on_timeout` is \"halt\", which is no method of this plugin"),
    ] {
        let error = made.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 70);
    }
}
