//! Buses and services that go, come, hang and freeze.

use nowd_plugin::Health;

use super::*;

#[tokio::test]
async fn a_bus_that_comes_back_is_used_again() {
    let mut bus = PrivateBus::absent();
    let rig = Rig::start(&bus.map(METHODS));
    // The first attempt has failed.
    within(rig.plugin.ready()).await;
    let completion = rig.call("move", json!({"percent": 40})).await;
    assert_eq!(code(&completion), ("unavailable", "bus_gone"));
    let Completion::Unavailable(error) = completion else { unreachable!() };
    let address = bus.address();
    let socket = address.strip_prefix("unix:path=").unwrap();
    let expected = format!(
        "the bus {address} is not there, so {NAME} cannot be called: there is no {socket}; start that bus, or correct `bus`"
    );
    assert_eq!(error.message, expected);
    let health = rig.plugin.health();
    assert!(matches!(&health, Health::Failed(why) if why.contains("start that bus")), "{health:?}");

    for round in 0..2 {
        bus.restart().await;
        let (service, seen) = serve(&bus).await;
        rig.up(true).await;
        assert_eq!(rig.plugin.health(), Health::Ok);
        assert_eq!(
            rig.call("move_asked", json!({"percent": 40})).await,
            Completion::Ok(json!(40)),
            "{round}"
        );
        let (completion, ()) = tokio::join!(rig.call("hang", Value::Null), async {
            until("the call", || seen.hanging.load(Ordering::SeqCst) == 1).await;
            bus.kill().await;
        });
        assert_eq!(code(&completion), ("failed", "bus_gone"));
        rig.up(false).await;
        assert_eq!(code(&rig.call("move", json!({"percent": 40})).await), ("unavailable", "bus_gone"));
        drop(service);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_hung_callee_delays_nobody_else() {
    let bus = PrivateBus::start().await;
    let (_service, seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    let short = Deadline::after(Duration::from_millis(100));
    let hanging = Call { deadline: short, ..call("hang", Value::Null) };
    let hang = rig.plugin.invoke(&hanging);
    tokio::pin!(hang);
    tokio::select! {
        completion = &mut hang => panic!("{completion:?}"),
        () = until("the call", || seen.hanging.load(Ordering::SeqCst) == 1) => {}
    }
    for _ in 0..100 {
        let other = tokio::select! {
            completion = &mut hang => panic!("the lane was given back: {completion:?}"),
            other = rig.call("nothing", Value::Null) => other,
        };
        assert_eq!(other, Completion::Ok(Value::Null));
    }
    // The lane is held past the deadline, for as long as the callee may still act.
    within(hanging.deadline.passed()).await;
    let held = tokio::select! {
        completion = &mut hang => panic!("the lane was given back: {completion:?}"),
        held = rig.call("get", Value::Null) => held,
    };
    assert_eq!(held, Completion::Ok(json!(7)));
}

#[tokio::test]
async fn what_a_frozen_bus_did_not_take_in_time_is_never_sent() {
    let bus = PrivateBus::start().await;
    let (_service, seen) = serve(&bus).await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    bus.freeze(true).await;
    // One after the other, until one does not fit into the socket's buffer any more.
    let mut calls = JoinSet::new();
    let limit = Deadline::after(rig::LONG);
    while rig.plugin.buses[0].is_up() && limit.check().is_ok() {
        let plugin = Arc::clone(&rig.plugin);
        let params = json!({"bytes": "AAAA".repeat(30_000), "name": "b", "n": 1, "any": 1});
        let deadline = Deadline::after(Duration::from_millis(200));
        let call = Call { deadline, ..call("containers", params) };
        calls.spawn(async move { plugin.invoke(&call).await });
        until("the deadline", || !rig.plugin.buses[0].is_up() || deadline.check().is_err()).await;
    }
    let (mut unknown, mut expired) = (0, 0);
    while let Some(completion) = within(calls.join_next()).await {
        match completion.unwrap() {
            Completion::Failed { outcome: Outcome::Unknown, error } if error.code == "bus_gone" => {
                unknown += 1;
            }
            Completion::Expired(_) => expired += 1,
            // It came after the connection had been given up.
            Completion::Unavailable(error) if error.code == "bus_gone" => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(expired > 0 && unknown > 0, "{expired} expired, {unknown} unknown");
    bus.freeze(false).await;
    rig.up(true).await;
    for _ in 0..50 {
        assert_eq!(rig.call("move", json!({"percent": 40})).await, Completion::Ok(json!(40)));
    }
    assert!(seen.calls() <= unknown + 50, "{} calls, {unknown} of them unknown", seen.calls());
}

#[tokio::test]
async fn an_owner_that_vanishes_in_mid_call_leaves_it_unknown() {
    let bus = PrivateBus::start().await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    // The service ends: the bus says so.
    let (service, seen) = serve(&bus).await;
    let (completion, ()) = tokio::join!(rig.call("hang", Value::Null), async {
        until("the call", || seen.hanging.load(Ordering::SeqCst) == 1).await;
        service.close().await.unwrap();
    });
    assert_eq!(code(&completion).0, "failed", "{completion:?}");
    // The service gives up its name and lives on: nobody but the bus's signal tells.
    let (service, seen) = serve(&bus).await;
    let (completion, ()) = tokio::join!(rig.call("hang", Value::Null), async {
        until("the call", || seen.hanging.load(Ordering::SeqCst) == 1).await;
        service.release_name(NAME).await.unwrap();
    });
    assert_eq!(code(&completion), ("failed", "owner_gone"));
    // Or before the signal that would have said that the work is done.
    drop(service);
    let (service, seen) = serve(&bus).await;
    let (completion, ()) = tokio::join!(rig.call("start", json!({"when": "never"})), async {
        until("the call", || seen.calls() == 1).await;
        service.close().await.unwrap();
    });
    assert_eq!(code(&completion).0, "failed", "{completion:?}");
}

#[tokio::test]
async fn why_a_bus_is_not_there_is_told() {
    let bus = PrivateBus::absent();
    let address = bus.address();
    let socket = address.strip_prefix("unix:path=").unwrap();
    let said = async || {
        let rig = Rig::start(&bus.map(METHODS));
        within(rig.plugin.ready()).await;
        let Completion::Unavailable(error) = rig.call("move", json!({"percent": 1})).await else { panic!() };
        let start = format!("the bus {address} is not there, so {NAME} cannot be called: ");
        let why = error.message.strip_prefix(&start).map(str::to_owned);
        why.unwrap_or_else(|| panic!("{}", error.message))
    };
    assert_eq!(said().await, format!("there is no {socket}; start that bus, or correct `bus`"));
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let hangs_up = async {
        loop {
            drop(listener.accept().await);
        }
    };
    tokio::select! {
        why = said() => assert!(why.ends_with("is it a bus, and may the gateway's user use it?"), "{why}"),
        () = hangs_up => {}
    }
    drop(listener);
    assert_eq!(said().await, format!("nobody listens at {socket}; start that bus"));
    std::fs::remove_file(socket).unwrap();
    std::fs::write(socket, "").unwrap();
    assert_eq!(said().await, format!("nobody listens at {socket}; start that bus"));
}

#[tokio::test]
async fn the_reader_goes_round_whatever_the_bus_does() {
    let mut bus = PrivateBus::start().await;
    let rig = Rig::start(&bus.map(METHODS));
    rig.up(true).await;
    let [pulse] = rig.plugin.pulses().try_into().unwrap();
    assert_eq!(pulse.name(), format!("the reader of the bus {}", bus.address()));
    let answers = async |what: &str| {
        let before = pulse.moves();
        pulse.ask();
        until(what, || pulse.moves() > before).await;
    };
    answers("an answer of a reader that has nothing to read").await;
    bus.freeze(true).await;
    answers("an answer of a reader whose bus is frozen").await;
    bus.freeze(false).await;
    bus.kill().await;
    rig.up(false).await;
    for _ in 0..3 {
        answers("another attempt to connect").await;
    }
    rig.stop().await;
}
