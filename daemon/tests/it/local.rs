//! Calls over the bus of the gateway's own machine, by the shell and by programs.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nowd_protocol::{Reply, Uuid};
use nowd_testkit::{Process, wait_for, within};
use serde_json::Value;
use tokio::task::JoinSet;
use zbus::Connection;

use crate::bed::{Bed, PATIENCE, comes_back, nowd, request, words};

pub(crate) const NAME: &str = "io.nowd.Gateway1";
pub(crate) const PATH: &str = "/io/nowd/Gateway1";
pub(crate) const SERVED: &str = "as io.nowd.Gateway1";

/// The gateway, connected to broker and bus.
pub(crate) async fn gateway(bed: &Bed) -> Process {
    gateway_with(bed, &[]).await
}

pub(crate) async fn gateway_with(bed: &Bed, more: &[&str]) -> Process {
    let gateway = bed.gateway_with(more).await;
    gateway.wait_for_line(PATIENCE, SERVED).await;
    gateway
}

/// A bus with a policy as the system's, with its address; `policies` goes on in the default one.
pub(crate) async fn policed_bus(folder: &Path, policies: &str) -> (Process, String) {
    let (socket, config) = (folder.join("policed"), folder.join("bus.conf"));
    let address = format!("unix:path={}", socket.display());
    let text = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
         <busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\"><allow user=\"*\"/><allow send_destination=\"*\"/><allow receive_type=\"method_call\"/>\
         <allow receive_type=\"method_return\"/><allow receive_type=\"error\"/><allow receive_type=\"signal\"/>\
         {policies}</busconfig>"
    );
    fs::write(&config, text).unwrap();
    let config = format!("--config-file={}", config.display());
    let daemon = Process::spawn("dbus-daemon", &["--nofork", "--nopidfile", &config], &[]);
    wait_for(PATIENCE, "dbus-daemon", || UnixStream::connect(&socket).is_ok()).await;
    (daemon, address)
}

/// Exit code and what was printed.
pub(crate) async fn shell(bed: &Bed, args: &[&str]) -> (i32, String) {
    let config = bed.config();
    let mut process = nowd(&[args, &["--config", config.to_str().unwrap()]].concat());
    let code = process.exit(PATIENCE).await.code().unwrap();
    (code, process.lines().join("\n"))
}

pub(crate) async fn client(bed: &Bed) -> Connection {
    zbus::connection::Builder::address(bed.bus.address().as_str()).build().await.unwrap()
}

/// What a program hears of `Call`: the reply, or the name of an error.
pub(crate) async fn call(
    client: &Connection,
    id: &str,
    method: &str,
    json: &str,
    not_after: u64,
) -> Result<String, String> {
    let body = (id, method, json, not_after);
    match client.call_method(Some(NAME), PATH, Some(NAME), "Call", &body).await {
        Ok(reply) => Ok(reply.body().deserialize().unwrap()),
        Err(e) => Err(error_name(&e)),
    }
}

/// By the words of zbus, which has a type for some of them.
pub(crate) fn error_name(e: &zbus::Error) -> String {
    e.to_string().split(": ").next().unwrap().to_owned()
}

/// What `nowd status --json` says.
pub(crate) async fn status(bed: &Bed) -> Value {
    let (code, text) = shell(bed, &["status", "--json"]).await;
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn the_shell_says_what_became_of_a_call() {
    let bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    for (args, code, expected) in [
        (
            &["window.set", r#"{"percent":40}"#, "--timeout", "20s"][..],
            0,
            "ok: executed\n  40\n  bus there and back ",
        ),
        (&["alarm.arm", r#"{"zone":3}"#, "--timeout", "20s"], 0, "ok: executed\n  state  armed\n  bus there"),
        (&["echo.closed", "7", "--timeout", "20s"], 0, "ok: executed\n  7\n"),
        (&["alarm.arm", r#"{"zone":9}"#, "--timeout", "20s"], 3, "refused: not executed\n  "),
        (&["alarm.hang", "--timeout", "2s"], 4, "timeout: unknown\n  it was started"),
        (&["alarm.hang", "--timeout", "5s"], 4, "\n  its id: "),
        (&["echo", "{}", "--timeout", "20s"], 0, "ok: executed\n  {}\n"),
        (&["window.sett"], 3, "\n  did you mean `window.set`?"),
        (&["echo", "--timeout", "10h"], 64, "nowd: `--timeout` is 10h, and no call may take longer than 1h"),
        (&["window.halt"], 3, "forbidden: not executed\n  \"window.halt\" is internal"),
        (&["window.paint"], 3, "unknown_method: not executed\n  there is no method \"window.paint\""),
        (&["window.set", r#"{"percent":101}"#], 3, "invalid_request: not executed\n  "),
        (&["echo", "--timeout", "40s"], 3, "invalid_request: not executed\n  `timeout` is "),
        (&["nowd.methods", "--timeout", "20s"], 0, "ok: executed\n"),
        (
            &["nowd.outcome", r#"{"id":"0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c"}"#, "--timeout", "20s"],
            0,
            "not_known",
        ),
        (&["echo", "{"], 64, "nowd: the parameters are not JSON"),
        (&["no/level"], 64, "nowd: method: "),
        (&["echo", "--id", "7"], 64, "error: invalid value '7'"),
        (&["window.set", r#"{"percent":4}"#, "--dry-run"], 0, "com.example.Window1"),
    ] {
        let (found, text) = shell(&bed, &[&["call"], args].concat()).await;
        assert!(found == code && text.contains(expected), "{args:?}: {found}\n{text}");
    }
    let id = Uuid::new_v4().to_string();
    for is_repeat in [false, true] {
        let (code, text) = shell(&bed, &["call", "echo", "5", "--timeout", "20s", "--id", &id]).await;
        assert!(code == 0 && text.contains("answered from memory") == is_repeat, "{text}");
    }
    let id = Uuid::new_v4();
    let args = ["call", "echo", r#"{"a":1}"#, "--json", "--timeout", "20s", "--id", &id.to_string()];
    let (code, text) = shell(&bed, &args).await;
    let reply = Reply::parse(text.as_bytes()).unwrap();
    assert_eq!((code, reply.id, reply.response.get(), reply.attempt), (0, id, r#"{"a":1}"#, Some(1)));
    assert!(reply.gateway.unwrap().since.is_some());
}

#[tokio::test]
async fn programs_get_replies_as_on_the_wire_or_errors_of_the_bus() {
    let bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    let client = client(&bed).await;
    let ask = async |not_after| {
        let reply = call(&client, "", "echo", "[1, 2]", not_after).await.unwrap();
        let reply = Reply::parse(reply.as_bytes()).unwrap();
        (reply.status.as_str().to_owned(), reply.response.get().to_owned())
    };
    let good = ("ok".to_owned(), "[1,2]".to_owned());
    assert_eq!(ask(far()).await, good);
    // At a deadline that has passed, and at one that is later than the method allows.
    for (not_after, expected) in [(1, "expired"), (far() + 1_000_000_000, "invalid_request")] {
        let reply = call(&client, "", "echo", "1", not_after).await.unwrap();
        assert_eq!(Reply::parse(reply.as_bytes()).unwrap().status.as_str(), expected, "{not_after}");
    }
    for not_after in [0, far() + 4_000_000_000, u64::MAX] {
        let answer = call(&client, "", "echo", "1", not_after).await;
        assert_eq!(answer, Err("org.freedesktop.DBus.Error.InvalidArgs".into()), "{not_after}");
    }
    let large = format!("\"{}\"", "x".repeat(131_072));
    for (id, method, json, expected) in [
        ("x", "echo", "1", "org.freedesktop.DBus.Error.InvalidArgs"),
        ("0B6C1E0E-7E4B-4B3E-9C0A-3F6D8F1A2B3C", "echo", "1", "org.freedesktop.DBus.Error.InvalidArgs"),
        ("", "a/b", "1", "org.freedesktop.DBus.Error.InvalidArgs"),
        ("", "echo", "{", "org.freedesktop.DBus.Error.InvalidArgs"),
        ("", "echo", large.as_str(), "org.freedesktop.DBus.Error.InvalidArgs"),
    ] {
        assert_eq!(call(&client, id, method, json, far()).await, Err(expected.into()), "{id} {method}");
    }
    for (path, member, body, expected) in [
        (PATH, "Calls", "", "org.freedesktop.DBus.Error.UnknownMethod"),
        (PATH, "Call", "", "org.freedesktop.DBus.Error.InvalidArgs"),
        ("/io/nowd/Gateway2", "Status", "", "org.freedesktop.DBus.Error.UnknownObject"),
        (PATH, "Lock", " \n", "org.freedesktop.DBus.Error.InvalidArgs"),
    ] {
        let told = client.call_method(Some(NAME), path, Some(NAME), member, &body).await;
        assert_eq!(error_name(&told.unwrap_err()), expected, "{path} {member}");
    }
}

#[tokio::test]
async fn it_works_while_the_link_is_down() {
    let bed = Bed::new().await;
    let config = bed.config();
    let args = ["run", "--config", config.to_str().unwrap(), "--set", "link.endpoint=localhost:1"];
    let gateway = nowd(&args);
    gateway.wait_for_line(PATIENCE, SERVED).await;
    gateway.wait_for_line(PATIENCE, "the link is down").await;
    let (code, text) = shell(&bed, &["call", "echo", "5", "--timeout", "20s"]).await;
    assert!(code == 0 && text.starts_with("ok: executed\n  5\n"), "{code} {text}");
    let status = status(&bed).await;
    assert_ne!(status["link"]["state"], "up");
    assert!(status["link"]["last_error"]["message"].as_str().unwrap().contains("refused"), "{status}");
    let (code, text) = shell(&bed, &["status"]).await;
    assert!(code == 0 && text.contains("localhost:1\n         last error, "), "{text}");
}

#[tokio::test]
async fn one_id_is_one_run_whichever_way_it_comes() {
    let mut bed = Bed::new().await;
    let gateway = gateway(&bed).await;
    let observer = bed.observer().await;
    let client = client(&bed).await;
    let stamp = Reply::parse(call(&client, "", "echo", "1", far()).await.unwrap().as_bytes()).unwrap();
    let stamp = stamp.gateway.unwrap();
    let id = Uuid::new_v4();
    let text = id.to_string();
    let mut asking = JoinSet::new();
    for _ in 0..2 {
        let (client, text) = (client.clone(), text.clone());
        asking.spawn(async move { call(&client, &text, "long", "7", far()).await.unwrap() });
    }
    // Both wait, as the gateway says.
    wait_until(&bed, |status| status["calls"]["running"] == 1).await;
    let at = stamp.now + 29_000_000;
    let payload = format!(
        r#"{{"id":"{id}","request":7,"timeout":30000,"not_after":{{"incarnation":"{}","at":{at}}},"caller":"ops"}}"#,
        stamp.incarnation
    );
    // Nobody far away is a user of this machine, whatever he says.
    observer.say(&format!("gw-1/long/cloud-8/{id}"), payload.replace("ops", "local:root"));
    observer.hears(&format!("cloud-8/{id}/gw-1/long/ack"), r#""status":"invalid_request""#).await;
    observer.say(&format!("gw-1/long/cloud-7/{id}"), payload);
    observer.hears(&format!("cloud-7/{id}/gw-1/long/ack"), r#""status":"conflict""#).await;
    while let Some(answer) = asking.join_next().await {
        assert_eq!(Reply::parse(answer.unwrap().as_bytes()).unwrap().status.as_str(), "ok");
    }
    // Again, when it is over; and as somebody else's call.
    let again = call(&client, &text, "long", "7", far()).await.unwrap();
    assert_eq!(Reply::parse(again.as_bytes()).unwrap().status.as_str(), "ok");
    let other = call(&client, &text, "long", "8", far()).await.unwrap();
    assert_eq!(Reply::parse(other.as_bytes()).unwrap().status.as_str(), "conflict");
    let said = |what: &str| {
        let what = format!("\"message\":\"{what} ");
        gateway.lines().iter().filter(|line| line.contains(&text) && line.contains(&what)).count()
    };
    wait_for(PATIENCE, "all records", || said("call") == 4 && said("repeat of") == 2).await;
}

/// A deadline that no test reaches, and that `long` allows.
pub(crate) fn far() -> u64 {
    nowd_plugin::clock::boottime_micros(
        nowd_plugin::BootInstant::now().saturating_add(Duration::from_secs(29)),
    )
}

pub(crate) async fn wait_until(bed: &Bed, is: impl Fn(&Value) -> bool) {
    within(PATIENCE, "the status that is awaited", async {
        while !is(&status(bed).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn no_message_comes_in_the_name_of_the_bus() {
    let mut bed = Bed::new().await;
    let gateway = gateway(&bed).await;
    let observer = bed.observer().await;
    let id = Uuid::new_v4();
    observer.say(&format!("gw-1/echo.closed/nowd-local/{id}"), format!(r#"{{"id":"{id}","timeout":5000}}"#));
    gateway.wait_for_line(PATIENCE, "which stands for calls over the gateway's own bus").await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    assert!(!observer.replies().iter().any(|topic| topic.contains(&id.to_string())));
}

#[tokio::test]
async fn a_response_that_does_not_fit_is_left_out_as_on_the_wire() {
    let bed = Bed::new().await;
    let map = format!("[simulator]\n[methods.\"large\"]\nanswer = \"{}\"\n", "x".repeat(131_072));
    std::fs::write(bed.folder.path().join("methods.d/large.toml"), map).unwrap();
    let _gateway = gateway(&bed).await;
    let (code, text) = shell(&bed, &["call", "large", "--timeout", "20s"]).await;
    assert!(code == 0 && text.contains("(response_too_large)"), "{text}");
}

#[tokio::test]
async fn whoever_waits_when_the_gateway_stops_hears_what_is_known() {
    let bed = Bed::new().await;
    let mut gateway = gateway(&bed).await;
    let mut asking = JoinSet::new();
    let client = client(&bed).await;
    asking.spawn(async move { call(&client, "", "alarm.hang", "null", far()).await });
    wait_until(&bed, |status| status["calls"]["running"] == 1).await;
    gateway.terminate();
    let answer = asking.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(Reply::parse(answer.as_bytes()).unwrap().status.as_str(), "timeout");
    assert!(gateway.exit(PATIENCE).await.success());
}

#[tokio::test]
async fn who_asks_more_than_fits_is_refused_and_others_are_served() {
    let mut bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    let mut asking = JoinSet::new();
    // The bus itself bounds what one connection may ask at a time.
    for _ in 0..6 {
        let client = client(&bed).await;
        for _ in 0..100 {
            let client = client.clone();
            asking.spawn(async move { call(&client, "", "echo.slow", "7", far()).await });
        }
    }
    let cloud = bed.cloud().await;
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    let mut done = 0;
    // Of those beyond what is refused at a time no word is said: they are not waited for.
    let all = within(PATIENCE, "the answers of those that fit", async {
        while let Some(answer) = asking.join_next().await {
            match answer.unwrap() {
                Ok(reply) => {
                    assert_eq!(Reply::parse(reply.as_bytes()).unwrap().status.as_str(), "ok");
                    done += 1;
                }
                Err(name) => assert_eq!(name, "org.freedesktop.DBus.Error.LimitsExceeded"),
            }
            if done >= 64 {
                break;
            }
        }
    });
    all.await;
    asking.abort_all();
    let (code, text) = shell(&bed, &["call", "echo", "5", "--timeout", "20s"]).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn a_call_that_was_held_up_by_a_frozen_gateway_is_not_started() {
    let bed = Bed::new().await;
    let gateway = gateway(&bed).await;
    let client = client(&bed).await;
    // Whoever asks is known from now on.
    assert!(call(&client, "", "echo", "1", far()).await.is_ok());
    gateway.pause();
    let soon = nowd_plugin::Deadline::after(Duration::from_millis(300)).boottime_micros();
    let resume = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        gateway.resume();
    };
    let (reply, ()) = tokio::join!(call(&client, "", "echo", "1", soon), resume);
    assert_eq!(Reply::parse(reply.unwrap().as_bytes()).unwrap().status.as_str(), "expired");
}

#[tokio::test]
async fn calls_leave_room_for_whoever_wants_to_lock() {
    let bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    let mut calls = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..5 {
        let client = client(&bed).await;
        for _ in 0..40 {
            let client = client.clone();
            calls.spawn(async move { call(&client, "", "echo.hold", "1", far()).await });
        }
        clients.push(client);
    }
    let mut refused = 0;
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap(), Err("org.freedesktop.DBus.Error.LimitsExceeded".into()));
        refused += 1;
        if refused == 5 * 40 - 96 {
            break;
        }
    }
    let lock = clients[0].call_method(Some(NAME), PATH, Some(NAME), "Lock", &("a hand in the gate",)).await;
    assert!(lock.is_ok(), "{lock:?}");
    let status = clients[0].call_method(Some(NAME), PATH, Some(NAME), "Status", &()).await;
    assert!(status.is_ok(), "{status:?}");
}
