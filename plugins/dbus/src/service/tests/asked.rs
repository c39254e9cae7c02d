//! What plugins are asked about themselves, and how often.

use std::sync::Arc;

use nowd_plugin::service::MAX_METHODS;

use super::*;

fn with(method: &str) -> Value {
    json!({"methods": {method: {}}})
}

fn say(said: &Said, description: impl ToString) {
    *said.description.lock().unwrap() = description.to_string();
}

#[tokio::test]
async fn a_change_is_asked_for_and_the_same_again_is_no_news() {
    let bus = PrivateBus::start().await;
    let said = Said::new(description());
    let fake = Fake::start(&bus.address(), NAME, &said).await;
    let client = Client::start(&bus);
    let first = client.described().await.described.unwrap();

    // Signals may not be heard yet: it is said until it is.
    let mut asked = said.described();
    let limit = Deadline::after(crate::tests::rig::LONG);
    while said.described() == asked {
        assert!(limit.check().is_ok(), "never asked again");
        fake.changed().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let state = client.service.news().borrow().clone();
    assert!(Arc::ptr_eq(&first, &state.described.unwrap()), "it said the same");

    // Heard by now. However often it is said, it is asked at most once a second.
    say(&said, with("lamp"));
    *said.health.lock().unwrap() = ("degraded".into(), "a lamp is broken".into());
    asked = said.described();
    let began = BootInstant::now();
    for _ in 0..10 {
        fake.changed().await;
    }
    let state = client.state("the news", |state| state.health != Health::Ok).await;
    assert_eq!(state.health, Health::Degraded("a lamp is broken".into()));
    let state = client
        .state("the news", |state| state.described.as_ref().is_some_and(|all| all.methods[0].name == "lamp"))
        .await;
    assert_eq!(state.mistake, None);
    let passed = BootInstant::now().saturating_since(began).as_secs();
    assert!(u64::from(said.described() - asked) <= passed + 2, "asked too often");

    // With a mistake, what was described stays.
    say(&said, json!({"methods": {}}));
    fake.changed().await;
    let state = client.state("the mistake", |state| state.mistake.is_some()).await;
    assert_eq!(state.mistake.unwrap(), format!("{NAME} describes itself wrongly: it has no methods"));
    assert_eq!(state.described.unwrap().methods[0].name, "lamp");
    say(&said, with("lamp"));
    client.state("the end of the mistake", |state| state.mistake.is_none()).await;
    client.stop().await;
}

#[tokio::test]
async fn health_is_asked_when_it_is_wanted() {
    let bus = PrivateBus::start().await;
    let said = Said::new(description());
    let client = Client::start(&bus);
    within(client.service.ready()).await;
    let ask = async || within(client.service.ask_health(Deadline::after(Duration::from_secs(20)))).await;
    assert!(matches!(ask().await, Health::Failed(_)));
    let fake = Fake::start(&bus.address(), NAME, &said).await;
    client.described().await;
    assert_eq!(ask().await, Health::Ok);
    *said.health.lock().unwrap() = ("failed".into(), format!("no\npower{}", "!".repeat(1_000)));
    let Health::Failed(why) = ask().await else { panic!() };
    assert!(why.starts_with("no power!!") && why.len() < 400, "{why}");
    drop(fake);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_description_is_told() {
    let bus = PrivateBus::start().await;
    let many: serde_json::Map<String, Value> =
        (0..=MAX_METHODS).map(|number| (format!("m{number}"), json!({}))).collect();
    for (index, (text, expected)) in [
        ("error".into(), "does not describe itself (org.freedesktop.DBus.Error.UnknownObject); it must implement io.nowd.Plugin1 at "),
        ("number".into(), "its description must be one text"),
        ("{".into(), "it is not JSON of the right form"),
        (json!({"methods": many}).to_string(), "it has 257 methods, and at most 256 are taken"),
        ("silence".into(), "did not describe itself within 5 s"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("com.example.Gate{index}");
        let text: String = text;
        let _fake = Fake::start(&bus.address(), &name, &Said::new(&text)).await;
        let client = Client::of(&bus.address(), &name);
        within(client.service.ready()).await;
        let mistake = client.state("the mistake", |state| state.mistake.is_some()).await.mistake.unwrap();
        assert!(mistake.starts_with(&name) && mistake.contains(expected), "{mistake}");
        // It can be called all the same: who else calls it knows its methods from elsewhere.
        assert_eq!(client.call("ok", json!(1)).await, Completion::Ok(json!(1)));
    }
}
