//! `nowd plugin serve`: a shipped plugin in a process of its own, called as a gateway calls it.

use std::fs;
use std::path::Path;

use nowd_plugin::clock::boottime_micros;
use nowd_plugin::map::MapSource;
use nowd_plugin::service::{Answer, Description, INTERFACE, fingerprint};
use nowd_plugin::{BootInstant, Plugin};
use nowd_plugin_simulator::SimulatorPlugin;
use nowd_testkit::{Bus, Process, within};
use tempfile::TempDir;
use uuid::Uuid;
use zbus::Connection;
use zbus::connection::Builder;

use crate::bed::{PATIENCE, nowd};
use crate::local::policed_bus;

const PATH: &str = "/io/nowd/Plugin";
const POLICY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/usr/share/dbus-1/system.d/io.nowd.Plugin.conf");

const ECHO: &str =
    "[simulator]\n[methods.\"echo\"]\non_timeout = \"bus.id\"\n[methods.\"echo.slow\"]\ndelay = \"300ms\"\n";
const BUS_ID: &str = "[dbus]\nbus = \"@BUS@\"\ndestination = \"org.freedesktop.DBus\"\npath = \"/org/freedesktop/DBus\"\n\
                      interface = \"org.freedesktop.DBus\"\n[methods.\"bus.id\"]\ncall = \"GetId\"\nsignature = \"\"\n";

struct Stage {
    bus: Bus,
    folder: TempDir,
}

impl Stage {
    fn new(maps: &[(&str, &str)]) -> Self {
        let stage = Self { bus: Bus::start(), folder: tempfile::tempdir().unwrap() };
        let methods = stage.folder.path().join("methods.d");
        fs::create_dir(&methods).unwrap();
        fs::write(stage.folder.path().join("nowd.toml"), "[log]\nformat = \"json\"\n").unwrap();
        for (name, text) in maps {
            fs::write(methods.join(name), text.replace("@BUS@", &stage.bus.address())).unwrap();
        }
        stage
    }

    fn serve(&self, plugin: &str) -> Process {
        let config = self.folder.path().join("nowd.toml");
        let args = ["plugin", "serve", plugin, "--bus", &self.bus.address(), "--config", text(&config)];
        Process::spawn(env!("CARGO_BIN_EXE_nowd"), &args, &[])
    }

    async fn ask<B>(&self, plugin: &str, member: &str, body: &B) -> zbus::Message
    where
        B: serde::Serialize + zbus::zvariant::DynamicType + Sync,
    {
        let address = self.bus.address();
        let connection: Connection = Builder::address(address.as_str()).build().await.unwrap();
        let name = format!("io.nowd.Plugin.{plugin}");
        let asked = connection.call_method(Some(name.as_str()), PATH, Some(INTERFACE), member, body);
        within(PATIENCE, member, asked).await.unwrap()
    }

    async fn invoke(&self, plugin: &str, method: &str, request: &str) -> Answer {
        let not_after = boottime_micros(BootInstant::now().saturating_add(PATIENCE));
        let body = (Uuid::new_v4().to_string(), method, request, not_after);
        let (status, outcome, response_json) =
            self.ask(plugin, "Invoke", &body).await.body().deserialize().unwrap();
        Answer { status, outcome, response_json }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn each_serves_the_methods_of_its_maps_and_no_others() {
    let mut stage = Stage::new(&[("echo.toml", ECHO), ("bus.toml", BUS_ID)]);
    let mut simulator = stage.serve("simulator");
    simulator.wait_for_line(PATIENCE, "ready on").await;
    let mut dbus = stage.serve("dbus");
    dbus.wait_for_line(PATIENCE, "ready on").await;

    let echo = stage.invoke("simulator", "echo", r#"{"a":1}"#).await;
    assert_eq!((&*echo.status, &*echo.outcome, &*echo.response_json), ("ok", "executed", r#"{"a":1}"#));
    assert_eq!(stage.invoke("dbus", "bus.id", "null").await.status, "ok");
    let other = stage.invoke("dbus", "echo", "null").await;
    assert_eq!((&*other.status, &*other.outcome), ("unavailable", "not_executed"));

    // What the daemon compares before it calls.
    let described: String = stage.ask("simulator", "Describe", &()).await.body().deserialize().unwrap();
    let described = Description::parse(&described, "io.nowd.Plugin.simulator").unwrap();
    let map = MapSource { file: "echo.toml".into(), text: ECHO.into() };
    let same: &dyn Plugin = &*SimulatorPlugin::load(&[map]).unwrap();
    assert_eq!(described.fingerprint, Some(fingerprint(same)));

    // The bus goes: the plugin of that bus says so, and both come back with it.
    stage.bus.restart();
    for plugin in ["simulator", "dbus"] {
        let address = stage.bus.address();
        within(PATIENCE, "the name", async {
            loop {
                if let Ok(connection) = Builder::address(address.as_str()).build().await {
                    let name = format!("io.nowd.Plugin.{plugin}");
                    let health = connection
                        .call_method(Some(name.as_str()), PATH, Some(INTERFACE), "Health", &())
                        .await;
                    let state =
                        health.ok().and_then(|reply| reply.body().deserialize::<(String, String)>().ok());
                    if state.is_some_and(|(state, _)| state == "ok") {
                        break;
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
    }
    assert_eq!(stage.invoke("simulator", "echo", "7").await.response_json, "7");
    assert_eq!(stage.invoke("dbus", "bus.id", "null").await.status, "ok");

    for process in [&mut simulator, &mut dbus] {
        process.terminate();
        assert_eq!(process.exit(PATIENCE).await.code(), Some(0), "{:?}", process.lines());
    }
}

#[tokio::test]
async fn asked_to_read_its_maps_again_it_says_so_and_ends() {
    let stage = Stage::new(&[("echo.toml", ECHO), ("bus.toml", BUS_ID)]);
    let mut simulator = stage.serve("simulator");
    simulator.wait_for_line(PATIENCE, "ready on").await;
    simulator.hang_up();
    assert_eq!(simulator.exit(PATIENCE).await.code(), Some(0), "{:?}", simulator.lines());
    simulator.wait_for_line(PATIENCE, "asked to read its maps again: ends").await;
}

#[tokio::test]
async fn what_cannot_be_served_is_told_in_one_sentence() {
    let stage = Stage::new(&[("echo.toml", ECHO), ("bus.toml", BUS_ID)]);
    let mut serial = stage.serve("serial");
    assert_eq!(serial.exit(PATIENCE).await.code(), Some(78));
    let said = serial.lines().join("\n");
    assert!(said.contains("is for the plugin serial, so there is nothing to serve"), "{said}");

    let first = stage.serve("simulator");
    first.wait_for_line(PATIENCE, "ready on").await;
    let mut second = stage.serve("simulator");
    assert_eq!(second.exit(PATIENCE).await.code(), Some(74));
    let said = second.lines().join("\n");
    assert!(said.contains("has the name io.nowd.Plugin.simulator already"), "{said}");

    // As shipped, and this is not the user nowd-simulator.
    let (_policed, address) =
        policed_bus(stage.folder.path(), &format!("</policy><include>{POLICY}</include>")).await;
    let config = stage.folder.path().join("nowd.toml");
    let args = ["plugin", "serve", "simulator", "--bus", &address, "--config", text(&config)];
    let mut third = nowd(&args);
    assert_eq!(third.exit(PATIENCE).await.code(), Some(78));
    let said = third.lines().join("\n");
    assert!(said.contains("only the user nowd-simulator may, by /usr/share/dbus-1/system.d/"), "{said}");
}
