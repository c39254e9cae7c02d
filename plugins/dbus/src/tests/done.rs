//! Work that a call only starts, and the signal that says how it ended.

use super::*;
use crate::tests::rig::Seen;

#[tokio::test]
async fn a_signal_completes_work_that_was_only_started() {
    let bus = PrivateBus::start().await;
    let (_service, _seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    for (when, percent) in [("before", 40), ("after", 41)] {
        let started = call("start", json!({ "when": when }));
        assert_eq!(rig.invoke(&started).await, Completion::Ok(json!([started.id, percent])), "{when}");
    }
    let short = Deadline::after(Duration::from_millis(300));
    let never = Call { deadline: short, ..call("start", json!({"when": "never"})) };
    assert_eq!(code(&rig.invoke(&never).await), ("timeout", "no_signal"));
    let cancelled = call("start", json!({"when": "never"}));
    cancelled.cancelled.cancel();
    assert_eq!(code(&rig.invoke(&cancelled).await), ("timeout", "no_signal"));
}

#[tokio::test]
async fn a_strangers_signal_does_not_count() {
    let bus = PrivateBus::start().await;
    let (service, seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    let stranger = zbus::connection::Builder::address(bus.address().as_str()).build().await.unwrap();
    // Everybody on the bus learns what a service is called by; here the gateway, from a call of its own.
    let gateway = rig.plugin.buses[0].unique_name().unwrap();
    let started = call("start", json!({"when": "never"}));
    let id = started.id.to_string();
    let (completion, ()) = tokio::join!(rig.invoke(&started), async {
        until("the call", || seen.calls() == 1).await;
        stranger.emit_signal(Some(gateway.as_str()), PATH, NAME, "Moved", &(&id, 99_u32)).await.unwrap();
        // After the bus has answered this, it has also passed the signal on.
        stranger.call_method(Some("org.freedesktop.DBus"), "/", None::<&str>, "GetId", &()).await.unwrap();
        service.emit_signal(Some(gateway.as_str()), PATH, NAME, "Moved", &(&id, 40_u32)).await.unwrap();
    });
    assert_eq!(completion, Completion::Ok(json!([id, 40])));
}

const JOBS: &str = r#"
[methods.job]
call = "Job"
args = ["$how"]
signature = "s"
done = { signal = "JobEnded", match = ["$*", "$call.reply[1]", "$how"], success = ["$call.reply[0]", "$*", "done"] }
[methods.job_flood]
call = "Job"
args = ["$how"]
signature = "s"
done = { signal = "JobEnded", match = ["$*", "$call.reply[1]", { "$any" = ["flood"] }] }
[methods.job_elsewhere]
call = "Job"
args = ["$how"]
signature = "s"
done = { signal = "JobEnded", path = "$call.reply[1]" }
[methods.job_states]
call = "Job"
args = ["$how"]
signature = "s"
done = { signal = "JobEnded", match = ["$*", "$call.reply[1]", { "$any" = ["done", "broken"] }], success = ["$*", "$*", "done"] }
[methods.job_mistaken]
call = "Job"
args = ["$how"]
signature = "s"
done = { signal = "JobEnded", match = ["$call.reply[2]"] }
[methods.move]
set = "Position"
value = "$percent"
signature = "u"
done = { signal = "PropertiesChanged", interface = "org.freedesktop.DBus.Properties", match = ["com.example.Window1", { Position = "$percent" }] }
"#;

#[tokio::test]
async fn the_reply_tells_which_signal_it_is() {
    let bus = PrivateBus::start().await;
    let (_service, _seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(JOBS));
    rig.up(true).await;
    let mine = |how: &str| Completion::Ok(json!([7_000, "/job/7000", how]));
    assert_eq!(rig.call("job", json!({"how": "done"})).await, mine("done"));
    let otherwise = rig.call("job", json!({"how": "broken"})).await;
    assert_eq!(code(&otherwise), ("failed", "done_otherwise"));
    let Completion::Failed { error, .. } = otherwise else { unreachable!() };
    let expected =
        r#"it ended otherwise than well: the signal "JobEnded" carries [7000,"/job/7000","broken"]"#;
    assert_eq!(error.message, expected);
    // Of too many, those that came last before the reply are kept.
    assert_eq!(rig.call("job_flood", json!({"how": "flood"})).await, mine("flood"));
    // What is only half-way is neither.
    assert_eq!(rig.call("job_states", json!({"how": "done"})).await, mine("done"));
    assert_eq!(code(&rig.call("job_states", json!({"how": "broken"})).await), ("failed", "done_otherwise"));
    // From the object that the reply names.
    assert_eq!(rig.call("job_elsewhere", json!({"how": "elsewhere"})).await, mine("done"));
    let mistaken = rig.call("job_mistaken", json!({"how": "done"})).await;
    assert_eq!(code(&mistaken), ("failed", "no_such_reply"));
    let short = Deadline::after(Duration::from_millis(300));
    let never = Call { deadline: short, ..call("job", json!({"how": "never"})) };
    assert_eq!(code(&rig.invoke(&never).await), ("timeout", "no_signal"));
}

#[tokio::test]
async fn a_change_of_a_property_completes() {
    let bus = PrivateBus::start().await;
    let (_service, _seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(JOBS));
    rig.up(true).await;
    let completion = rig.call("move", json!({"percent": 42})).await;
    assert_eq!(completion, Completion::Ok(json!([NAME, {"Position": 42}, []])));
}

/// The gateway hears of it all at once, as after a moment in which it stood still.
#[tokio::test]
async fn the_signal_of_the_names_next_owner_does_not_count() {
    let bus = PrivateBus::start().await;
    let seen = Arc::new(Seen::default());
    let _first = rig::window(&bus, Arc::clone(&seen)).allow_name_replacements(true).build().await.unwrap();
    let rig = Rig::start(&bus.map(
        "[methods.go]\ncall = \"Start\"\nargs = [\"never\", \"\"]\nsignature = \"ss\"\ndone = { signal = \"Moved\" }\n\
         [methods.nothing]\ncall = \"Nothing\"",
    ));
    rig.up(true).await;
    let (completion, second) = tokio::join!(rig.call("go", Value::Null), async {
        until("the call", || seen.calls() == 1).await;
        assert_eq!(rig.call("nothing", Value::Null).await, Completion::Ok(Value::Null), "its reply is there");
        let builder = rig::window(&bus, Arc::default()).replace_existing_names(true);
        let restarted = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let second = runtime.block_on(async {
                let second = builder.build().await.unwrap();
                second.emit_signal(None::<&str>, PATH, NAME, "Moved", &("", 0_u32)).await.unwrap();
                second
                    .call_method(Some("org.freedesktop.DBus"), "/", None::<&str>, "GetId", &())
                    .await
                    .unwrap();
                second
            });
            (runtime, second)
        };
        std::thread::spawn(restarted).join().unwrap()
    });
    let (runtime, _second) = second;
    runtime.shutdown_background();
    assert_eq!(code(&completion), ("failed", "owner_gone"));
}

const OTHERWISE: &str = r#"
[methods.other_values]
call = "Start"
args = ["before", "$call.id"]
signature = "ss"
done = { signal = "Moved", match = ["$*", { "$any" = [41, 42] }] }
[methods.other_reply]
call = "Job"
args = ["never"]
signature = "s"
done = { signal = "JobEnded", match = ["$call.reply[0]", "$*", "done"] }
[methods.other_path]
call = "Job"
args = ["done"]
signature = "s"
done = { signal = "JobEnded", path = "$call.reply[1]" }
"#;

#[tokio::test]
async fn signals_that_do_not_fit_are_told() {
    let bus = PrivateBus::start().await;
    let (_service, _seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(OTHERWISE));
    rig.up(true).await;
    for (method, expected) in [
        (
            "other_values",
            r#"the signal "Moved" came only otherwise, 2 times, last with ["ID",40], which `match = ["$*", {"$any": [41, 42]}]` does not fit"#,
        ),
        (
            "other_reply",
            r#"the signal "JobEnded" came only otherwise, 2 times, last with [2,"/job/2","done"], which `match = [7000, "$*", "done"]` does not fit"#,
        ),
        (
            "other_path",
            r#"the signal "JobEnded" came only otherwise, 4 times, last from "/com/example/window/left", and not from "/job/7000""#,
        ),
    ] {
        // All of them come before the reply.
        let started = call(method, Value::Null);
        started.cancelled.cancel();
        let Completion::Timeout(error) = rig.invoke(&started).await else { panic!("{method}") };
        assert_eq!(error.code, "no_signal");
        let expected = expected.replace("ID", &started.id.to_string());
        let message = format!("started, but before the call was cancelled {expected}");
        assert_eq!(error.message, message);
    }
}
