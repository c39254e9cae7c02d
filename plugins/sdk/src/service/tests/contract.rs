//! The interface, as the contract has it, and what is not of the contract.

use futures_util::StreamExt;
use zbus::message::Type;
use zbus::{DBusError, MessageStream, Proxy};
use zbus_xml::{ArgDirection, Node};

use super::*;
use crate::service::{Description, MAX_MESSAGE_LEN, XML};

/// All that callers rely on, in words: members with the names, types and directions of their arguments.
fn members(xml: &str) -> Vec<String> {
    let node = Node::from_reader(xml.as_bytes()).unwrap();
    let interface = node.interfaces().iter().find(|interface| interface.name().as_str() == INTERFACE);
    let interface = interface.expect("the interface is there");
    let mut all = Vec::new();
    for method in interface.methods() {
        let args = method.args().iter().map(|arg| {
            let way = match arg.direction() {
                Some(ArgDirection::Out) => "out",
                Some(ArgDirection::In) | None => "in",
            };
            format!("{way} {} {}", arg.name().unwrap_or("?"), arg.ty())
        });
        all.push(format!("{}({})", method.name(), args.collect::<Vec<_>>().join(", ")));
    }
    for signal in interface.signals() {
        let args = signal.args().iter().map(|arg| format!("{} {}", arg.name().unwrap_or("?"), arg.ty()));
        all.push(format!("signal {}({})", signal.name(), args.collect::<Vec<_>>().join(", ")));
    }
    all.extend(interface.properties().map(|property| format!("property {}", property.name())));
    all
}

async fn introspect(caller: &Caller, path: &str) -> String {
    let interface = Some("org.freedesktop.DBus.Introspectable");
    let reply = caller.connection.call_method(Some(NAME), path, interface, "Introspect", &()).await;
    reply.unwrap().body().deserialize().unwrap()
}

#[tokio::test]
async fn the_service_says_what_the_contract_says() {
    let bed = Bed::new().await;
    let caller = bed.caller().await;
    let found = introspect(&caller, PATH).await;
    assert_eq!(members(&found), members(XML));
    assert_eq!(
        members(&found)[1],
        "Invoke(in id s, in method s, in request_json s, in not_after_us t, \
        out status s, out outcome s, out response_json s)"
    );
    assert!(found.contains("org.freedesktop.DBus.Peer"));
    assert!(introspect(&caller, "/").await.contains("<node name=\"com\"/>"));
    assert!(introspect(&caller, "/com/example").await.contains("<node name=\"Rig\"/>"));
    // What it says is also what it does.
    let described: String = caller.ask("Describe", &()).await.unwrap().body().deserialize().unwrap();
    assert_eq!(Description::parse(&described, NAME).unwrap().methods.len(), 6);
    let peer = Proxy::new(&caller.connection, NAME, PATH, "org.freedesktop.DBus.Peer").await.unwrap();
    peer.call_method("Ping", &()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_of_the_contract_gets_its_error_at_once() {
    let bed = Bed::new().await;
    let caller = bed.caller().await;
    let long = "x".repeat(MAX_MESSAGE_LEN);
    let ask = async |path: &str, interface: Option<&str>, member: &str| {
        caller.connection.call_method(Some(NAME), path, interface, member, &()).await
    };
    for (asked, expected) in [
        (ask("/com/example", Some(INTERFACE), "Health").await, "UnknownObject"),
        (ask("/other", None, "Health").await, "UnknownObject"),
        (ask("/other", Some("org.freedesktop.DBus.Introspectable"), "Introspect").await, "UnknownObject"),
        (ask(PATH, Some("com.example.Other"), "Health").await, "UnknownInterface"),
        (ask(PATH, Some("org.freedesktop.DBus.Properties"), "GetAll").await, "UnknownInterface"),
        (ask(PATH, Some(INTERFACE), "Helth").await, "UnknownMethod"),
        (ask(PATH, None, "Open").await, "UnknownMethod"),
        (ask(PATH, Some(INTERFACE), "Invoke").await, "InvalidArgs"),
        (caller.ask("Invoke", &("id", "act", "{}", 1_i64)).await, "InvalidArgs"),
        (caller.ask("Invoke", &("id", "act", "{}", 1_u64, 2)).await, "InvalidArgs"),
        (caller.ask("Cancel", &7_u32).await, "InvalidArgs"),
        (caller.ask("Describe", &"x").await, "InvalidArgs"),
        (caller.ask("Cancel", &long).await, "LimitsExceeded"),
    ] {
        let Err(zbus::Error::FDO(error)) = asked else {
            panic!("no error where {expected} should be: {asked:?}");
        };
        assert_eq!(error.name().as_str(), format!("org.freedesktop.DBus.Error.{expected}"), "{error}");
    }
    // Without an interface the member says enough.
    assert!(ask(PATH, None, "Health").await.is_ok());
}

#[tokio::test]
async fn how_it_is_and_that_this_has_changed() {
    let bed = Bed::new().await;
    let caller = bed.caller().await;
    let health = async || -> (String, String) {
        caller.ask("Health", &()).await.unwrap().body().deserialize().unwrap()
    };
    assert_eq!(health().await, ("ok".into(), String::new()));
    let rule = format!("type='signal',sender='{NAME}',interface='{INTERFACE}',member='Changed'");
    let bus = "org.freedesktop.DBus";
    let mut stream = MessageStream::from(&caller.connection);
    caller
        .connection
        .call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "AddMatch", &rule)
        .await
        .unwrap();
    bed.rig.set_health(Health::Degraded("the \0 motor is hot".into()));
    within(PATIENCE, "the signal", async {
        while let Some(Ok(message)) = stream.next().await {
            let header = message.header();
            if message.message_type() == Type::Signal && header.member().is_some_and(|m| m == "Changed") {
                assert_eq!(header.path().unwrap().as_str(), PATH);
                break;
            }
        }
    })
    .await;
    drop(stream);
    assert_eq!(health().await, ("degraded".into(), "the  motor is hot".into()));
}
