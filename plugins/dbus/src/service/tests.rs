//! Plugins on a real bus.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it expects, and fails on the rest")]

mod asked;
mod drop_in;
mod gone;
mod hostile;
mod rig;

use std::time::Duration;

use nowd_plugin::{BootInstant, Call, CallError, Completion, Deadline, Health, Method, Outcome, Plugin};
use serde_json::{Value, json};

use self::rig::{Client, Fake, NAME, PATH, Said, call, description};
use super::ServicePlugin;
use crate::tests::rig::{PrivateBus, until, within};

fn code(completion: &Completion) -> (&'static str, &str) {
    match completion {
        Completion::Failed { outcome: Outcome::Unknown, error } => ("failed", &error.code),
        Completion::Failed { outcome: Outcome::Executed, error } => ("failed, executed", &error.code),
        Completion::Refused(error) => ("refused", &error.code),
        Completion::Unavailable(error) => ("unavailable", &error.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_comes_back_with_what_the_plugin_says() {
    let bus = PrivateBus::start().await;
    let fake = Fake::start(&bus.address(), NAME, &Said::new(&description())).await;
    let client = Client::start(&bus);
    within(client.service.ready()).await;
    let state = client.described().await;
    let described = state.described.unwrap();
    assert_eq!(described.methods.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["hang", "ok"]);
    assert_eq!((state.mistake, state.why_absent, state.health), (None, None, Health::Ok));

    let call = call("ok", json!({"x": "a \u{0} b"}));
    let before = boottime();
    assert_eq!(client.service.invoke(&call).await, Completion::Ok(call.params.clone()));
    let (id, method, request, not_after) = fake.said.arguments.lock().unwrap().take().unwrap();
    assert_eq!((id, method.as_str()), (call.id.to_string(), "ok"));
    assert_eq!(serde_json::from_str::<Value>(&request).unwrap(), call.params);
    let budget = u64::try_from(crate::tests::rig::LONG.as_micros()).unwrap();
    assert!((before..=boottime() + budget).contains(&not_after), "{not_after}");

    for (method, expected) in [
        ("refused", ("refused", "com.example.Hand")),
        ("contradiction", ("failed", "bad_answer")),
        ("long", ("failed, executed", "bad_answer")),
        ("two", ("failed", "bad_answer")),
        ("structure", ("failed", "bad_answer")),
        ("nothing", ("failed", "bad_answer")),
        ("numbers", ("failed", "bad_answer")),
        ("jam", ("failed", "com.example.Error.Jammed")),
        ("numbered_error", ("failed", "com.example.Error.Jammed")),
        ("no_method", ("failed", "org.freedesktop.DBus.Error.UnknownMethod")),
        ("denied", ("failed", "org.freedesktop.DBus.Error.AccessDenied")),
        ("nested", ("failed", "org.freedesktop.DBus.Error.ServiceUnknown")),
    ] {
        let completion = client.call(method, Value::Null).await;
        assert_eq!(code(&completion), expected, "{method}: {completion:?}");
    }
    client.stop().await;
}

fn boottime() -> u64 {
    Deadline::after(Duration::ZERO).boottime_micros()
}

#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let bus = PrivateBus::start().await;
    let fake = Fake::start(&bus.address(), NAME, &Said::new(&description())).await;
    let client = Client::start(&bus);
    client.described().await;
    let late = Call {
        deadline: Deadline::new(BootInstant::now(), Duration::from_secs(1)),
        ..call("ok", Value::Null)
    };
    let completion = client.service.invoke(&late).await;
    assert!(matches!(completion, Completion::Expired(_)), "{completion:?}");
    // Whatever had been sent before this one would have been seen before it.
    assert_eq!(client.call("ok", json!(1)).await, Completion::Ok(json!(1)));
    assert_eq!(fake.said.calls(), 1);
}

#[tokio::test]
async fn a_plugin_that_is_not_there_is_unavailable_and_not_started() {
    let bus = PrivateBus::start().await;
    let client = Client::start(&bus);
    within(client.service.ready()).await;
    let why = client.state("the reason", |state| state.why_absent.is_some()).await.why_absent.unwrap();
    let address = bus.address();
    assert_eq!(
        why,
        format!(
            "nobody on the bus {address} has the name {NAME}; start that plugin, or correct `plugin.name`"
        )
    );
    let Completion::Unavailable(error) = client.call("ok", Value::Null).await else { panic!() };
    assert_eq!(error.code, "no_owner");
    assert_eq!(
        error.message,
        format!(
            "the plugin {NAME} has not been there since the gateway started: nobody on the bus {address} has the name {NAME}; start that plugin, or correct `plugin.name`"
        )
    );
    let near = Fake::start(&address, "com.example.Gates", &Said::new(&description())).await;
    let Completion::Unavailable(error) = client.call("ok", Value::Null).await else { panic!() };
    assert!(error.message.ends_with("did you mean \"com.example.Gates\"?"), "{}", error.message);
    near.die().await;

    // At once, whether or not the news of its owner has come.
    let fake = Fake::start(&address, NAME, &Said::new(&description())).await;
    assert_eq!(client.call("ok", json!(1)).await, Completion::Ok(json!(1)));
    client.described().await;
    fake.die().await;
    let state = client.state("its end", |state| !state.present).await;
    assert!(state.described.is_some(), "what it offers stays");
    assert_eq!(
        state.why_absent.unwrap(),
        format!("{NAME} has left the bus {address}; start that plugin again")
    );
    let Completion::Unavailable(error) = client.call("ok", Value::Null).await else { panic!() };
    assert_eq!(error.code, "no_owner");
    assert!(
        error.message.starts_with(&format!("the plugin {NAME} has left the bus {address}, ")),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn whoever_is_cancelled_is_told_once_and_waited_for() {
    let bus = PrivateBus::start().await;
    let fake = Fake::start(&bus.address(), NAME, &Said::new(&description())).await;
    let client = Client::start(&bus);
    client.described().await;
    let hang = call("hang", Value::Null);
    let calling = client.service.invoke(&hang);
    tokio::pin!(calling);
    tokio::select! {
        completion = &mut calling => panic!("{completion:?}"),
        () = until("the call", || fake.said.hanging() == 1) => {}
    }
    hang.cancelled.cancel();
    tokio::select! {
        completion = &mut calling => panic!("the lane was given back: {completion:?}"),
        () = until("the news", || !fake.said.cancelled.lock().unwrap().is_empty()) => {}
    }
    // Others go on meanwhile.
    tokio::select! {
        completion = &mut calling => panic!("the lane was given back: {completion:?}"),
        completion = client.call("ok", json!(1)) => assert_eq!(completion, Completion::Ok(json!(1))),
    }
    let (completion, ()) = tokio::join!(&mut calling, fake.answer("ok", "executed", "7"));
    assert_eq!(completion, Completion::Ok(json!(7)));
    assert_eq!(*fake.said.cancelled.lock().unwrap(), [hang.id.to_string()]);
}

#[tokio::test]
async fn methods_in_the_registry() {
    let bus = PrivateBus::start().await;
    let fake = Fake::start(&bus.address(), NAME, &Said::new(&description())).await;
    let client = Client::start(&bus);
    let mut methods = client.described().await.described.unwrap().methods.clone();
    // As a drop-in that names what nobody describes.
    methods.push(Method { name: "refused".into(), params: None, ..methods[0].clone() });
    let plugin = ServicePlugin { service: std::sync::Arc::clone(&client.service), methods };
    assert_eq!((plugin.name(), plugin.methods().len()), (NAME, 3));
    within(plugin.ready()).await;
    let undescribed =
        CallError::new("not_described", format!("the plugin {NAME} describes no method \"refused\""));
    let completion = plugin.invoke(&call("refused", Value::Null)).await;
    assert_eq!(completion, Completion::Unavailable(undescribed));
    assert_eq!(plugin.invoke(&call("ok", json!(1))).await, Completion::Ok(json!(1)));
    let shown = plugin.preview(&call("ok", json!({"x": 1}))).unwrap().join(" ");
    assert!(shown.contains("\"ok\", {\"x\":1}") && shown.contains(PATH), "{shown}");
    assert!(plugin.explain("ok")[0].contains("io.nowd.Plugin1.Invoke"));
    assert_eq!(plugin.health(), Health::Ok);
    fake.die().await;
    client.state("its end", |state| !state.present).await;
    assert!(matches!(plugin.health(), Health::Failed(_)));
}
