//! The gateway's place on the bus: the contract, and a bus that goes, comes, is taken or not allowed.

use std::fs;

use nowd_testkit::{Process, wait_for};
use zbus_xml::Node;

use crate::bed::{Bed, PATIENCE, comes_back, nowd, request, words};
use crate::local::{NAME, PATH, SERVED, client, gateway, gateway_with, policed_bus, shell};

const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interfaces/io.nowd.Gateway1.xml");
const POLICY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/usr/share/dbus-1/system.d/io.nowd.Gateway1.conf");

fn times(process: &Process, text: &str) -> usize {
    process.lines().iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn what_it_says_of_itself_is_the_contract_and_all_of_it_is_there() {
    let bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    let client = client(&bed).await;
    let introspectable = Some("org.freedesktop.DBus.Introspectable");
    let reply = client.call_method(Some(NAME), PATH, introspectable, "Introspect", &()).await.unwrap();
    let said: String = reply.body().deserialize().unwrap();
    let contract = fs::read_to_string(CONTRACT).unwrap();
    let interface = |xml: &str| {
        let node = Node::from_reader(xml.as_bytes()).unwrap();
        node.interfaces().iter().find(|interface| interface.name().as_str() == NAME).unwrap().clone()
    };
    let (said, contract) = (interface(&said), interface(&contract));
    assert_eq!(said, contract);
    for method in contract.methods() {
        // Wrong arguments: what is not there would be said not to be.
        let told =
            client.call_method(Some(NAME), PATH, Some(NAME), method.name().as_str(), &(true, 7_u8)).await;
        let is_there = !told.is_err_and(|e| e.to_string().contains("UnknownMethod"));
        assert!(is_there, "{}", method.name());
    }
    let peer = Some("org.freedesktop.DBus.Peer");
    client.call_method(Some(NAME), PATH, peer, "Ping", &()).await.unwrap();
}

#[tokio::test]
async fn a_bus_that_goes_and_comes_back_changes_nothing_else() {
    let mut bed = Bed::new().await;
    let gateway = gateway(&bed).await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    for round in 2..=3 {
        bed.bus.stop();
        assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
        bed.bus.restart();
        wait_for(PATIENCE, "the gateway on the bus again", || times(&gateway, SERVED) == round).await;
        let (code, text) = shell(&bed, &["call", "echo", "5", "--timeout", "20s"]).await;
        assert_eq!(code, 0, "{text}");
    }
    // A bus that takes nothing holds up nobody else.
    bed.bus.pause();
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    bed.bus.resume();
    let (code, text) = shell(&bed, &["call", "echo", "5", "--timeout", "20s"]).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn without_a_bus_or_a_wish_for_one_it_runs_and_says_so_once() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway_with(&["--set", "bus.address=unix:path=/nowhere/bus"]).await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    gateway.wait_for_line(PATIENCE, "find no gateway; trying on").await;
    // The heartbeat has come, and so have further attempts.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(times(&gateway, "nowhere/bus"), 1, "{:?}", gateway.lines());
    drop(gateway);
    let gateway = bed.gateway_with(&["--set", "bus.serve=false"]).await;
    comes_back(&cloud).await;
    assert_eq!(times(&gateway, NAME), 0, "{:?}", gateway.lines());
    let (code, text) = shell(&bed, &["status"]).await;
    assert!(code == 69 && text.contains("no gateway runs"), "{text}");
    let mut wrong =
        nowd(&["check", "--config", bed.config().to_str().unwrap(), "--set", "bus.address=System"]);
    assert_eq!(wrong.exit(PATIENCE).await.code(), Some(78));
    assert!(wrong.lines().join("").contains("\"System\" is not a bus"), "{:?}", wrong.lines());
}

#[tokio::test]
async fn the_second_of_two_gateways_says_that_the_name_is_taken_and_goes_on() {
    let bed = Bed::new().await;
    let first = gateway(&bed).await;
    let second = bed.gateway_with(&["--set", "link.client_id=gw-2"]).await;
    second.wait_for_line(PATIENCE, "the name io.nowd.Gateway1 is taken").await;
    drop(first);
    second.wait_for_line(PATIENCE, SERVED).await;
    assert_eq!(times(&second, "is taken"), 1);
    let (code, text) = shell(&bed, &["call", "echo", "5", "--timeout", "20s"]).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn the_shipped_policy_gives_the_name_to_nobody_else() {
    let mut bed = Bed::new().await;
    let (daemon, address) =
        policed_bus(bed.folder.path(), &format!("<allow own=\"*\"/></policy><include>{POLICY}</include>"))
            .await;
    let gateway = bed.gateway_with(&["--set", &format!("bus.address={address}")]).await;
    gateway.wait_for_line(PATIENCE, "the bus does not give the name io.nowd.Gateway1 to this user").await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    assert_eq!(times(&gateway, SERVED), 0);
    drop(daemon);
}

#[tokio::test]
async fn whom_the_bus_keeps_off_hears_whom_the_gateway_serves() {
    let bed = Bed::new().await;
    let denied = "<allow own=\"*\"/></policy><policy context=\"mandatory\"><deny send_destination=\"io.nowd.Gateway1\"/></policy>";
    let (_daemon, address) = policed_bus(bed.folder.path(), denied).await;
    let gateway = bed.gateway_with(&["--set", &format!("bus.address={address}")]).await;
    gateway.wait_for_line(PATIENCE, SERVED).await;
    let elsewhere = bed.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    // Its configuration is not known to whoever asks.
    let state_dir = format!("state_dir={}", elsewhere.display());
    for command in [&["status"][..], &["watch"], &["reload"], &["call", "echo"], &["unlock"]] {
        let mut process = nowd(&[command, &["--set", &state_dir, "--bus", &address]].concat());
        assert_eq!(process.exit(PATIENCE).await.code(), Some(77), "{command:?}: {:?}", process.lines());
        let said = process.lines().join("\n");
        assert!(
            said.contains("does not serve this user, only root, its own user and"),
            "{command:?}: {said}"
        );
        assert!(!said.contains("Rejected") && !said.contains("it was not locked"), "{command:?}: {said}");
    }
}

#[tokio::test]
async fn a_group_that_is_not_there_has_no_members_and_that_is_said_once() {
    let mut bed = Bed::new().await;
    let gateway = gateway_with(&bed, &["--set", "bus.group=no-such-group-of-nowd"]).await;
    gateway.wait_for_line(PATIENCE, "there is no group").await;
    bed.bus.restart();
    wait_for(PATIENCE, "the gateway on the bus again", || times(&gateway, SERVED) == 2).await;
    assert_eq!(times(&gateway, "there is no group"), 1);
    assert_eq!(shell(&bed, &["call", "echo", "--timeout", "20s"]).await.0, 0, "its own user is served");
}
