//! Plugins and buses that go in mid-call.

use nowd_plugin::BootInstant;

use super::*;

#[tokio::test]
async fn who_answers_and_then_dies_has_answered() {
    let bus = PrivateBus::start().await;
    let said = Said::new(&description());
    let client = Client::start(&bus);
    for round in 0..20 {
        let fake = Fake::start(&bus.address(), NAME, &said).await;
        client.described().await;
        let (completion, ()) = tokio::join!(client.call("hang", Value::Null), async {
            until("the call", || said.hanging() == 1).await;
            fake.answer("ok", "executed", "5").await;
            fake.die().await;
        });
        assert_eq!(completion, Completion::Ok(json!(5)), "{round}");
        client.state("its end", |state| !state.present).await;
    }
}

#[tokio::test]
async fn death_in_mid_call_is_told_at_once() {
    let bus = PrivateBus::start().await;
    let said = Said::new(&description());
    let client = Client::start(&bus);
    let mut took = Vec::new();
    for _ in 0..200 {
        let fake = Fake::start(&bus.address(), NAME, &said).await;
        client.state("the plugin", |state| state.present).await;
        let (completion, died) =
            tokio::join!(async { (client.call("hang", Value::Null).await, BootInstant::now()) }, async {
                until("the call", || said.hanging() == 1).await;
                said.hanging.lock().unwrap().clear();
                let died = BootInstant::now();
                fake.die().await;
                died
            });
        assert_eq!(code(&completion.0), ("failed", "plugin_gone"));
        took.push(completion.1.saturating_since(died));
        client.state("its end", |state| !state.present).await;
    }
    took.sort();
    println!("death in mid-call: median {:?}, worst {:?}", took[100], took[199]);
    assert!(took[100] < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn who_gives_up_the_name_and_lives_on_is_gone() {
    let bus = PrivateBus::start().await;
    let fake = Fake::start(&bus.address(), NAME, &Said::new(&description())).await;
    let client = Client::start(&bus);
    client.described().await;
    let (completion, ()) = tokio::join!(client.call("hang", Value::Null), async {
        until("the call", || fake.said.hanging() == 1).await;
        fake.connection.release_name(NAME).await.unwrap();
    });
    assert_eq!(code(&completion), ("failed", "plugin_gone"));
}

#[tokio::test]
async fn a_bus_that_is_started_again_is_used_again() {
    let mut bus = PrivateBus::absent();
    let client = Client::start(&bus);
    within(client.service.ready()).await;
    let why = client.state("the reason", |state| state.why_absent.is_some()).await.why_absent.unwrap();
    assert!(why.ends_with("start that bus, or correct `bus`"), "{why}");
    assert_eq!(code(&client.call("ok", Value::Null).await), ("unavailable", "bus_gone"));
    let said = Said::new(&description());
    for round in 1..=2 {
        bus.restart().await;
        let fake = Fake::start(&bus.address(), NAME, &said).await;
        client.described().await;
        until("the question", || said.described() >= round).await;
        assert_eq!(client.call("ok", json!(round)).await, Completion::Ok(json!(round)));
        let (completion, ()) = tokio::join!(client.call("hang", Value::Null), async {
            until("the call", || said.hanging() == 1).await;
            said.hanging.lock().unwrap().clear();
            bus.kill().await;
        });
        assert_eq!(code(&completion), ("failed", "bus_gone"));
        client.state("its end", |state| !state.present).await;
        drop(fake);
    }
    client.stop().await;
}

#[tokio::test]
async fn a_bus_that_is_no_unix_socket_is_refused() {
    let client = Client::of("tcp:host=127.0.0.1,port=1", NAME);
    within(client.service.ready()).await;
    let Completion::Unavailable(error) = client.call("ok", Value::Null).await else { panic!() };
    assert_eq!(error.code, "bus_gone");
    let expected = "plugins are reached only over a Unix socket, such as \"unix:path=/run/example/bus\"";
    assert!(error.message.ends_with(expected), "{}", error.message);
}

/// The connection ends because of the stop: that is no news of the plugin. Several, since it took both orders to see it.
#[tokio::test]
async fn a_plugin_is_not_gone_because_the_gateway_stops() {
    let bus = PrivateBus::start().await;
    let _fake = Fake::start(&bus.address(), NAME, &Said::new(&description())).await;
    for round in 0..10 {
        let client = Client::start(&bus);
        client.described().await;
        let service = std::sync::Arc::clone(&client.service);
        client.stop().await;
        assert!(service.news().borrow().present, "round {round}");
    }
}
