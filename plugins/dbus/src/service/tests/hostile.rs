//! Plugins that mean no good, next to one that does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt;
use nowd_plugin::service::INTERFACE;
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream};

use super::rig::{Apart, state};
use super::*;
use crate::bus::BUS_NAME;
use crate::service::State;
use crate::tests::rig::LONG;

const BAD: &str = "com.example.Bad";

#[tokio::test]
async fn an_answer_that_is_too_long_costs_its_own_connection() {
    let bus = PrivateBus::start().await;
    let said = Said::new(&description());
    let fake = Fake::start(&bus.address(), NAME, &said).await;
    let client = Client::start(&bus);
    client.described().await;
    let (huge, hang) = tokio::join!(client.call("huge", Value::Null), client.call("hang", Value::Null));
    for completion in [huge, hang] {
        let Completion::Failed { outcome: Outcome::Unknown, error } = completion else {
            panic!("{completion:?}")
        };
        assert_eq!(error.code, "bus_gone");
        assert!(error.message.ends_with("and at most 524288 are taken"), "{}", error.message);
    }
    client.state("the plugin", |state| state.present).await;
    assert_eq!(client.call("ok", json!(1)).await, Completion::Ok(json!(1)));
    drop(fake);
}

#[tokio::test]
async fn signals_that_are_not_its_own_raise_nobodys_flag() {
    let bus = PrivateBus::start().await;
    let said = Said::new(&description());
    let fake = Fake::start(&bus.address(), NAME, &said).await;
    let client = Client::start(&bus);
    client.described().await;
    let other = Fake::start(&bus.address(), BAD, &Said::new(&description())).await;
    // When it appeared, and when its signal was asked for; longer than until the next question, if there were a reason.
    let long = Duration::from_millis(2_500);
    tokio::time::sleep(long).await;
    let asked = said.described();
    for _ in 0..5 {
        other.changed().await;
        for number in 1..40 {
            let to = format!(":1.{number}");
            let signal =
                Message::signal(PATH, INTERFACE, "Changed").destination(to.as_str()).build(&()).unwrap();
            other.connection.send(&signal).await.unwrap();
        }
    }
    tokio::time::sleep(long).await;
    assert_eq!(said.described(), asked);
    fake.changed().await;
    until("the question", || said.described() == asked + 1).await;
}

#[tokio::test]
async fn nobody_answers_in_a_plugins_place() {
    let bus = PrivateBus::start().await;
    let said = Said::new(&description());
    let fake = Fake::start(&bus.address(), NAME, &said).await;
    let client = Client::start(&bus);
    client.described().await;
    let forger = zbus::connection::Builder::address(bus.address().as_str()).build().await.unwrap();
    let forge = async {
        until("the call", || said.hanging() == 1).await;
        let call = said.hanging.lock().unwrap()[0].clone();
        let reply = Message::method_return(&call.header()).build(&("ok", "executed", "\"forged\"")).unwrap();
        forger.send(&reply).await.unwrap();
        // When this is answered, the bus has passed the other on.
        forger.call_method(Some(BUS_NAME), "/", Some(BUS_NAME), "GetId", &()).await.unwrap();
        fake.answer("ok", "executed", "\"its own\"").await;
    };
    let (completion, ()) = tokio::join!(client.call("hang", Value::Null), forge);
    assert_eq!(completion, Completion::Ok(json!("its own")));
}

/// How a plugin is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Small signals straight to its caller, without end.
    Signals,
    /// Large ones.
    LargeSignals,
    /// Answers that nobody has asked for.
    Answers,
    /// `Changed`, without end, and another description each time.
    Changed,
    /// It is there, and gone, and there, ...
    Flaps,
    /// Its description is a message of 20 MB.
    Long,
    /// It describes 100,000 methods.
    Methods,
    /// It never answers.
    Silent,
}

/// Another description each time, of the costly kind.
fn costly(number: u32) -> String {
    let patterns: Vec<Value> = (0..60)
        .map(|pattern| json!({"pattern": format!("^(?:[a-z]{{1,40}}-){{1,20}}{pattern}{number}$")}))
        .collect();
    let mut methods: serde_json::Map<String, Value> = (0..200)
        .map(|method| (format!("m{method}"), json!({"params": {"x": {"type": "integer"}}})))
        .collect();
    methods.insert("patterns".into(), json!({"params": {"x": {"anyOf": patterns}}}));
    json!({ "methods": methods }).to_string()
}

async fn misbehave(address: String, how: How, asked: Arc<AtomicU32>) {
    let connection = zbus::connection::Builder::address(address.as_str()).build().await.unwrap();
    let mut calls = MessageStream::from(&connection);
    connection.request_name(BAD).await.unwrap();
    let caller = std::cell::RefCell::new(None::<String>);
    let serve = async {
        while let Some(Ok(call)) = calls.next().await {
            if call.message_type() != Type::MethodCall {
                continue;
            }
            let header = call.header();
            *caller.borrow_mut() = header.sender().map(ToString::to_string);
            let member = header.member().unwrap().to_string();
            let number = if member == "Describe" { asked.fetch_add(1, Ordering::SeqCst) } else { 0 };
            let back = Message::method_return(&header);
            let reply = match (member.as_str(), how) {
                (_, How::Silent) => continue,
                ("Describe", How::Long) => back.build(&"x".repeat(20_000_000)),
                ("Describe", How::Methods) => {
                    let all: serde_json::Map<String, Value> =
                        (0..100_000).map(|method| (format!("m{method}"), json!({}))).collect();
                    back.build(&json!({ "methods": all }).to_string())
                }
                ("Describe", _) => back.build(&costly(number)),
                ("Health", _) => back.build(&("ok", "")),
                ("Invoke", _) => back.build(&("ok", "executed", "1")),
                (other, _) => panic!("{other}"),
            };
            drop(connection.send(&reply.unwrap()).await);
        }
    };
    tokio::select! {
        () = serve => {}
        () = pester(&connection, how, &caller) => {}
    }
}

/// Without end, with a look at one's own calls now and then.
async fn pester(connection: &Connection, how: How, caller: &std::cell::RefCell<Option<String>>) {
    let large = "x".repeat(400_000);
    loop {
        tokio::task::yield_now().await;
        let to = caller.borrow().clone();
        let Some(to) = to else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let signal = |body: &str| {
            Message::signal(PATH, INTERFACE, "Changed").destination(to.as_str()).build(&body).unwrap()
        };
        let message = match how {
            How::Signals => signal("x"),
            How::LargeSignals => signal(&large),
            How::Answers => {
                let call = Message::method_call(PATH, "Invoke").sender(to.as_str()).build(&()).unwrap();
                Message::method_return(&call.header()).build(&("ok", "executed", "1")).unwrap()
            }
            How::Changed => Message::signal(PATH, INTERFACE, "Changed").build(&()).unwrap(),
            How::Flaps => {
                connection.release_name(BAD).await.unwrap();
                connection.request_name(BAD).await.unwrap();
                continue;
            }
            How::Long | How::Methods | How::Silent => return std::future::pending().await,
        };
        if connection.send(&message).await.is_err() {
            // The bus has had enough of it.
            return std::future::pending().await;
        }
    }
}

/// The median, and the worst, of so many calls.
async fn median(client: &Client, count: usize) -> (Duration, Duration) {
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        let began = BootInstant::now();
        assert_eq!(client.call("ok", json!(number)).await, Completion::Ok(json!(number)));
        took.push(BootInstant::now().saturating_since(began));
    }
    took.sort();
    (took[count / 2], took[count - 1])
}

async fn next_to(how: How) {
    let bus = PrivateBus::start().await;
    let (address, said) = (bus.address(), Said::new(&description()));
    let good = {
        let (address, said) = (address.clone(), Arc::clone(&said));
        Apart::start(move || async move {
            let _fake = Fake::start(&address, NAME, &said).await;
            std::future::pending::<()>().await;
        })
    };
    let mut client = Client::start(&bus);
    client.described().await;
    median(&client, 100).await;
    let (alone, _) = median(&client, 300).await;

    let bad = client.add(&address, BAD);
    let asked = Arc::new(AtomicU32::new(0));
    let began = BootInstant::now();
    let neighbour = {
        let asked = Arc::clone(&asked);
        Apart::start(move || misbehave(address, how, asked))
    };
    until("the bad plugin", || asked.load(Ordering::SeqCst) > 0 || how == How::Flaps).await;
    // Calls of the bad one, too, which are as slow as it wants.
    let hanging = call("hang", Value::Null);
    let hang = bad.invoke(&hanging);
    let (mut medians, mut worst) = (Vec::new(), Duration::ZERO);
    let measure = async {
        let until = Deadline::after(Duration::from_millis(2_500));
        while until.check().is_ok() {
            let (median, longest) = median(&client, 100).await;
            medians.push(median);
            worst = worst.max(longest);
        }
    };
    tokio::select! {
        () = measure => {}
        () = async { hang.await; std::future::pending::<()>().await } => {}
    }
    medians.sort();
    let beside = medians[medians.len() / 2];
    let (asked, seconds) =
        (asked.load(Ordering::SeqCst), BootInstant::now().saturating_since(began).as_secs());
    println!(
        "next to {how:?}: {alone:?} alone, {beside:?} beside (x{:.1}), worst {worst:?}; asked {asked} times in {seconds} s",
        beside.as_secs_f64() / alone.as_secs_f64()
    );
    assert!(beside < alone * 100 + Duration::from_millis(100), "{alone:?} alone, {beside:?} beside");
    assert!(u64::from(asked) <= seconds + 3, "asked {asked} times in {seconds} s");

    match how {
        How::Long | How::Methods => assert!(bad.news().borrow().described.is_none()),
        How::Silent => {
            let state = state(&bad, "the mistake", |state| state.mistake.is_some()).await;
            assert!(state.mistake.unwrap().contains("did not describe itself"));
        }
        // Whoever shouts is not listened to.
        How::Signals | How::LargeSignals => {
            let shouts = |state: &State| {
                state.why_absent.as_deref().is_some_and(|why| why.contains("nobody has asked for"))
            };
            state(&bad, "the end of its connection", shouts).await;
        }
        // The bus itself lets no answer through that it knows no question of.
        How::Answers | How::Changed | How::Flaps => {
            state(&bad, "the description", |state| state.described.is_some()).await;
        }
    }
    // Its connections can still be ended at once.
    drop((neighbour, good));
    client.stop().await;
}

macro_rules! next_to {
    ($($name:ident: $how:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                next_to(How::$how).await;
            }
        )*
    };
}

next_to! {
    a_flood_of_signals: Signals,
    a_flood_of_large_signals: LargeSignals,
    a_flood_of_answers: Answers,
    a_flood_of_changes: Changed,
    a_name_that_flaps: Flaps,
    a_description_that_is_too_long: Long,
    too_many_methods: Methods,
    silence: Silent,
}

/// Somebody on the bus who is no plugin sends every connection as much as the bus takes.
#[tokio::test]
async fn what_strangers_send_holds_up_no_answer() {
    let bus = PrivateBus::start().await;
    let (address, said) = (bus.address(), Said::new(&description()));
    let _good = Apart::start(move || async move {
        let _fake = Fake::start(&address, NAME, &said).await;
        std::future::pending::<()>().await;
    });
    let client = Client::start(&bus);
    client.described().await;
    let (alone, _) = median(&client, 100).await;
    let (address, sent) = (bus.address(), Arc::new(AtomicU32::new(0)));
    let _stranger = {
        let sent = Arc::clone(&sent);
        Apart::start(move || async move {
            let connection = zbus::connection::Builder::address(address.as_str()).build().await.unwrap();
            loop {
                for number in 1..12 {
                    let to = format!(":1.{number}");
                    let signal = Message::signal(PATH, INTERFACE, "Changed").destination(to.as_str());
                    connection.send(&signal.build(&()).unwrap()).await.unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    };
    until("the stranger", || sent.load(Ordering::SeqCst) > 1_000).await;
    let until = Deadline::after(Duration::from_millis(2_500));
    let mut medians = Vec::new();
    while until.check().is_ok() {
        medians.push(median(&client, 20).await.0);
    }
    medians.sort();
    let beside = medians[medians.len() / 2];
    println!("{alone:?} alone, {beside:?} beside {} messages of a stranger", sent.load(Ordering::SeqCst));
    assert!(beside < alone * 50 + Duration::from_millis(50), "{alone:?} alone, {beside:?} beside");
}

#[tokio::test]
async fn who_changes_is_heard_while_another_shouts() {
    let bus = PrivateBus::start().await;
    let said = Said::new(&description());
    let fake = Fake::start(&bus.address(), NAME, &said).await;
    let mut client = Client::start(&bus);
    client.described().await;
    let bad = client.add(&bus.address(), BAD);
    let neighbour = {
        let address = bus.address();
        Apart::start(move || misbehave(address, How::Changed, Arc::default()))
    };
    state(&bad, "the bad plugin", |state| state.described.is_some()).await;
    for number in 0..3 {
        let name = format!("lamp{number}");
        *said.description.lock().unwrap() = json!({"methods": {name.clone(): {}}}).to_string();
        let began = BootInstant::now();
        fake.changed().await;
        client
            .state("the news", |state| {
                state.described.as_ref().is_some_and(|all| all.methods[0].name == name)
            })
            .await;
        println!("heard after {:?}", BootInstant::now().saturating_since(began));
    }
    drop(neighbour);
}

#[tokio::test]
async fn a_call_costs_little_more_than_a_bare_one() {
    let bus = PrivateBus::start().await;
    let (address, said) = (bus.address(), Said::new(&description()));
    let _good = Apart::start(move || async move {
        let _fake = Fake::start(&address, NAME, &said).await;
        std::future::pending::<()>().await;
    });
    let client = Client::start(&bus);
    client.described().await;
    let bare = zbus::connection::Builder::address(bus.address().as_str()).build().await.unwrap();
    let mut took = (Vec::new(), Vec::new());
    for number in 0..2_000_u32 {
        let began = BootInstant::now();
        assert_eq!(client.call("ok", json!(number)).await, Completion::Ok(json!(number)));
        took.0.push(BootInstant::now().saturating_since(began));
        let began = BootInstant::now();
        let arguments = ("id", "ok", number.to_string(), 5_u64);
        let message = crate::bus::call_message(NAME, PATH, INTERFACE, "Invoke").build(&arguments).unwrap();
        let mut replies = MessageStream::from(&bare);
        bare.send(&message).await.unwrap();
        let reply = within(replies.next()).await.unwrap().unwrap();
        assert!(reply.body().deserialize::<(&str, &str, &str)>().is_ok());
        took.1.push(BootInstant::now().saturating_since(began));
    }
    took.0.sort();
    took.1.sort();
    println!("a call: {:?} through the service, {:?} bare", took.0[1_000], took.1[1_000]);
    assert!(took.0[1_000] < took.1[1_000] * 10 + Duration::from_millis(10) && took.0[1_000] < LONG);
}
