//! `nowd status`, `watch`, `reload`, `lock` and `unlock` over the bus.

use std::fs;

use nowd_testkit::{Process, wait_for, within};
use serde_json::Value;
use zbus::Connection;

use crate::bed::{Bed, PATIENCE, comes_back, nowd, request, words};
use crate::local::{NAME, PATH, call, client, far, gateway, shell, status};

async fn ask<T: serde::de::DeserializeOwned + zbus::zvariant::Type>(
    client: &Connection,
    member: &str,
) -> Result<T, zbus::Error> {
    client.call_method(Some(NAME), PATH, Some(NAME), member, &()).await?.body().deserialize()
}

fn watch(bed: &Bed, more: &[&str]) -> Process {
    let bus = bed.bus.address();
    nowd(&[&["watch", "--bus", &bus], more].concat())
}

#[tokio::test]
async fn status_and_methods_say_what_there_is() {
    let mut bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    for method in ["echo", "echo", "echo.slow", "window.absent"] {
        cloud.invoke(request(method, "null")).await;
    }
    // The records are written beside the calls.
    let mut said = Value::Null;
    within(PATIENCE, "all calls", async {
        while said["calls"]["methods"]["echo.slow"]["calls"] != 1 || said["calls"]["statuses"]["refused"] != 1
        {
            said = status(&bed).await;
        }
    })
    .await;
    assert_eq!(said["target"], "gw-1");
    assert_eq!(
        (&said["link"]["state"], &said["lockout"], &said["journal"]),
        (&"up".into(), &Value::Null, &false.into())
    );
    assert_eq!(said["clock"]["trusted"], false);
    let plugins: Vec<_> = said["plugins"].as_array().unwrap().iter().map(|plugin| &plugin["name"]).collect();
    assert_eq!(plugins, ["serial", "dbus", "simulator"]);
    assert!(said["plugins"].as_array().unwrap().iter().all(|plugin| plugin["kind"] == "maps"));
    let slow = &said["calls"]["methods"]["echo.slow"];
    assert!(slow["plugin"]["p50"].as_u64().unwrap() >= 50_000, "{slow}");
    assert!(slow["total"]["max"].as_u64() >= slow["plugin"]["max"].as_u64(), "{slow}");
    assert!(said["lanes"].as_array().unwrap().iter().any(|lane| lane["name"] == "port:panel"), "{said}");
    let (code, text) = shell(&bed, &["status"]).await;
    assert!(code == 0 && !text.contains(['{', '}']), "{text}");
    for part in
        ["gateway  gw-1, nowd ", "link     up for ", "lockout  none", "since the start: ok ", "\nserial "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The same list as without a gateway.
    let listed: String = ask(&client(&bed).await, "Methods").await.unwrap();
    let mut printed = nowd(&["methods", "--json", "--config", bed.config().to_str().unwrap()]);
    assert!(printed.exit(PATIENCE).await.success());
    assert_eq!(listed, printed.lines().join(""));
}

#[tokio::test]
async fn a_lockout_over_the_bus_is_the_one_of_the_file() {
    let mut bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let client = client(&bed).await;
    let locked = client.call_method(Some(NAME), PATH, Some(NAME), "Lock", &"a hand in the gate").await;
    locked.unwrap();
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "locked not_executed null");
    let (code, text) = shell(&bed, &["call", "echo", "1"]).await;
    assert!(
        code == 3 && text.starts_with("locked: not executed\n  ") && text.contains("a hand in the gate"),
        "{text}"
    );
    assert_eq!(status(&bed).await["lockout"], "a hand in the gate");
    assert!(shell(&bed, &["status"]).await.1.contains("lockout  LOCKED: a hand in the gate"));
    assert!(bed.folder.path().join("state/lockout").exists());
    assert!(ask::<bool>(&client, "Unlock").await.unwrap());
    assert!(!ask::<bool>(&client, "Unlock").await.unwrap());
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
}

#[tokio::test]
async fn who_may_not_write_the_file_locks_by_way_of_the_bus() {
    let bed = Bed::new().await;
    let gateway = gateway(&bed).await;
    // Nobody may write there, root neither.
    let nowhere = ["--set", "state_dir=/sys/nowd"];
    let args = |args: &[&'static str]| [args, &nowhere].concat();
    let (code, text) = shell(&bed, &args(&["lock", "--reason", "a hand"])).await;
    assert_eq!((code, text.as_str()), (0, "locked: the gateway starts nothing, and no call runs"));
    assert_eq!(status(&bed).await["lockout"], "a hand");
    // Without a configuration the folder is a guess, and the gateway knows better.
    let bus = bed.bus.address();
    for expected in ["unlocked", "it was not locked"] {
        let mut process = nowd(&["unlock", "--set", "state_dir=/sys/nowd", "--bus", &bus]);
        assert!(process.exit(PATIENCE).await.success());
        assert_eq!(process.lines().last().unwrap(), expected);
    }
    drop(gateway);
    let (code, text) = shell(&bed, &args(&["lock", "--reason", "a hand"])).await;
    assert!(
        code == 74 && text.contains("NOT locked") && text.contains("no gateway runs on the bus"),
        "{text}"
    );
}

#[tokio::test]
async fn a_reload_says_how_it_went() {
    let bed = Bed::new().await;
    let gateway = gateway(&bed).await;
    let map = bed.folder.path().join("methods.d/new.toml");
    fs::write(&map, "[simulator]\n[methods.\"new\"]\ndealy = \"1s\"\n").unwrap();
    let (code, text) = shell(&bed, &["reload"]).await;
    assert!(code == 78 && text.starts_with("nowd: nothing was changed: "), "{code} {text}");
    assert!(text.contains("new.toml:3:1") && text.contains("dealy = "), "{text}");
    let (code, _) = shell(&bed, &["call", "new"]).await;
    assert_eq!(code, 3);
    fs::write(&map, "[simulator]\n[methods.\"new\"]\n").unwrap();
    fs::remove_file(bed.folder.path().join("methods.d/one.toml")).unwrap();
    let (code, text) = shell(&bed, &["reload"]).await;
    assert!(code == 0 && text.contains("methods are on offer: 1 new, 1 gone, 0 changed"), "{code} {text}");
    let (code, text) = shell(&bed, &["call", "new", "4", "--timeout", "20s"]).await;
    assert_eq!(code, 0, "{text}");
    // Several at once: each hears of one that began after it asked.
    let client = client(&bed).await;
    let (one, two) = tokio::join!(ask::<String>(&client, "Reload"), ask::<String>(&client, "Reload"));
    assert_eq!((one.is_ok(), two.is_ok()), (true, true));
    let config = fs::read_to_string(bed.config()).unwrap();
    fs::write(bed.config(), config.replace("silence = \"2s\"", "silence = \"3s\"")).unwrap();
    let (code, text) = shell(&bed, &["reload"]).await;
    assert!(
        code == 0 && text.ends_with("`link` was changed as well, which takes effect at the next start"),
        "{text}"
    );
    drop(gateway);
}

#[tokio::test]
async fn who_watches_sees_each_call_end() {
    let mut bed = Bed::new().await;
    let gateway = gateway(&bed).await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let mut people = watch(&bed, &[]);
    let mut programs = watch(&bed, &["--json"]);
    people.wait_for_line(PATIENCE, "METHOD").await;
    // They may not have been let in yet: a call that each has seen says so.
    within(PATIENCE, "both", async {
        while people.lines().len() < 2 || programs.lines().is_empty() {
            assert_eq!(shell(&bed, &["call", "echo", "1", "--timeout", "20s"]).await.0, 0);
        }
    })
    .await;
    cloud.invoke(request("window.absent", "null")).await;
    let line = people.wait_for_line(PATIENCE, "window.absent").await;
    assert!(line.contains("  refused          not executed  cloud-") && !line.contains('\x1b'), "{line}");
    assert!(people.lines().iter().any(|line| line.contains("  ok               executed      local:")));
    let line = programs.wait_for_line(PATIENCE, "window.absent").await;
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&told["kind"], &told["status"], &told["attempt"]),
        (&"call".into(), &"refused".into(), &1.into())
    );
    assert!(told["timing"]["total"].is_u64());
    drop(gateway);
    for process in [&mut people, &mut programs] {
        let code = process.exit(PATIENCE).await.code();
        assert_eq!(code, Some(69), "{:?}", process.lines());
    }
}

#[tokio::test]
async fn a_watcher_that_reads_nothing_holds_nobody_up() {
    let bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    let (frozen, awake) = (watch(&bed, &[]), watch(&bed, &[]));
    let client = client(&bed).await;
    within(PATIENCE, "both", async {
        while frozen.lines().len() < 2 || awake.lines().len() < 2 {
            assert!(call(&client, "", "echo", "1", far()).await.is_ok());
        }
    })
    .await;
    frozen.pause();
    // More than the sockets between them hold.
    let long = format!("\"{}\"", "x".repeat(1_000));
    for _ in 0..1_500 {
        assert!(call(&client, "", "window.set", &long, far()).await.is_ok());
    }
    assert!(call(&client, "", "echo.slow", "1", far()).await.is_ok());
    awake.wait_for_line(PATIENCE, "echo.slow").await;
    frozen.resume();
    frozen.wait_for_line(PATIENCE, "echo.slow").await;
}

#[tokio::test]
async fn watchers_are_bounded_and_leave_with_their_connections() {
    let bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    let mut watchers = Vec::new();
    for _ in 0..16 {
        let client = client(&bed).await;
        ask::<()>(&client, "Watch").await.unwrap();
        ask::<()>(&client, "Watch").await.unwrap();
        watchers.push(client);
    }
    let another = client(&bed).await;
    let refused = ask::<()>(&another, "Watch").await.unwrap_err().to_string();
    assert!(refused.contains("LimitsExceeded"), "{refused}");
    drop(watchers.pop());
    within(PATIENCE, "a place", async { while ask::<()>(&another, "Watch").await.is_err() {} }).await;
    ask::<()>(&watchers[0], "Unwatch").await.unwrap();
    ask::<()>(&client(&bed).await, "Watch").await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_said_not_to_be() {
    let mut bed = Bed::new().await;
    for args in [
        &["call", "echo"][..],
        &["call", "echo", "--timeout", "1s", "--json"],
        &["status"],
        &["reload"],
        &["watch"],
    ] {
        let (code, text) = shell(&bed, args).await;
        assert!(
            code == 69 && text.contains("no gateway runs on the bus unix:path="),
            "{args:?}: {code} {text}"
        );
        assert_eq!(text.lines().filter(|line| line.starts_with("nowd: ")).count(), 1, "{text}");
    }
    bed.bus.stop();
    let (code, text) = shell(&bed, &["call", "echo"]).await;
    assert!(code == 69 && text.contains("no gateway can be asked"), "{code} {text}");
    // One that has just been frozen says nothing, so the call may have been executed.
    bed.bus.restart();
    let frozen = gateway(&bed).await;
    frozen.pause();
    let (code, text) = shell(&bed, &["call", "echo", "--timeout", "200ms"]).await;
    assert!(code == 4 && text.contains("250 ms past the deadline"), "{code} {text}");
    wait_for(PATIENCE, "nothing", || true).await;
    frozen.resume();
}
