//! The kit itself, against the real programs.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use nowd_testkit::{Access, Bus, Ca, KeyForm, Listener, Mosquitto, Process, Pty, wait_for, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn mosquitto_starts_with_several_listeners_and_comes_back() {
    let ca = Ca::new();
    let gateways = Access::GatewaysByCertificate { cloud: vec!["cloud".to_owned()] };
    let mut broker = Mosquitto::with(&[
        Listener::default(),
        Listener { tls: Some(ca.server()), access: gateways },
        Listener { tls: None, access: Access::GatewaysByClientId },
    ]);
    for listener in 0..3 {
        TcpStream::connect(("127.0.0.1", broker.port_of(listener))).await.unwrap();
    }
    let port = broker.port();
    broker.stop();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    broker.restart();
    assert_eq!(broker.port(), port);
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    broker.pause();
    broker.resume();
    wait_for(BOUND, "the log", || broker.log().iter().any(|line| line.contains("New connection"))).await;
}

#[test]
fn a_bus_keeps_its_address() {
    let mut bus = Bus::start();
    let address = bus.address();
    let socket = address.strip_prefix("unix:path=").unwrap().to_owned();
    bus.stop();
    assert!(UnixStream::connect(&socket).is_err());
    bus.restart();
    assert_eq!(bus.address(), address);
    UnixStream::connect(&socket).unwrap();
}

#[tokio::test]
async fn bytes_pass_a_pty_unchanged_both_ways_and_unplugging_is_seen() {
    let mut device = Pty::open();
    let port = tokio::fs::OpenOptions::new().read(true).write(true).open(device.path()).await;
    let mut port = port.unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    let mut heard = vec![0; bytes.len()];

    port.write_all(&bytes).await.unwrap();
    port.flush().await.unwrap();
    within(BOUND, "the device's bytes", device.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, bytes);

    heard.fill(0);
    device.write_all(&bytes).await.unwrap();
    within(BOUND, "the port's bytes", port.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, bytes);

    drop(device);
    let after = within(BOUND, "the end of the port", port.read(&mut heard)).await;
    assert!(matches!(after, Ok(0) | Err(_)), "{after:?}");
}

#[tokio::test]
async fn a_process_is_heard_and_ended() {
    let script = "echo out; echo err >&2; trap 'exit 3' TERM; while :; do sleep 0.01; done";
    let mut process = Process::spawn("sh", &["-c", script], &[("LANG", "C")]);
    process.wait_for_line(BOUND, "out").await;
    process.wait_for_line(BOUND, "err").await;
    process.pause();
    process.resume();
    // The trap is set after the lines; until it is, SIGTERM would end the shell without it.
    wait_for(BOUND, "the loop", || {
        std::fs::read_to_string(format!("/proc/{}/task/{0}/children", process.id()))
            .is_ok_and(|c| !c.is_empty())
    })
    .await;
    process.terminate();
    assert_eq!(process.exit(BOUND).await.code(), Some(3));
}

#[test]
fn keys_come_in_all_forms() {
    let ca = Ca::new();
    for (form, begin) in [
        (KeyForm::Ec, "-----BEGIN PRIVATE KEY-----"),
        (KeyForm::EcSec1, "-----BEGIN EC PRIVATE KEY-----"),
        (KeyForm::Rsa, "-----BEGIN PRIVATE KEY-----"),
        (KeyForm::RsaPkcs1, "-----BEGIN RSA PRIVATE KEY-----"),
    ] {
        let key = std::fs::read_to_string(ca.client_with("gate-1", form).key).unwrap();
        assert!(key.starts_with(begin), "{form:?}: {}", key.lines().next().unwrap_or_default());
    }
}

#[tokio::test]
#[should_panic(expected = "waited 10ms in vain for: the moon")]
async fn a_bound_that_passes_names_what_was_missing() {
    wait_for(Duration::from_millis(10), "the moon", || false).await;
}

#[test]
#[should_panic(expected = "`.ci/setup` installs all that the tests need")]
fn a_missing_command_is_named() {
    nowd_testkit::require("no-such-command");
}
