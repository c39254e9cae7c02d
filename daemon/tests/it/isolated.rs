//! What a process of its own costs a shipped plugin: the same call on the same kind of line, in this process and in another, and the
//! bare round trip over the bus between them. All in one run, in turns, so that the machine is as busy for each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use nowd_plugin::map::MapSource;
use nowd_plugin::{BootInstant, Call, CancellationToken, Completion, Deadline, Plugin};
use nowd_plugin_dbus::service::{Service, ServiceTarget, Signals};
use nowd_plugin_serial::SerialPlugin;
use nowd_plugin_simulator::alarm;
use nowd_protocol::Uuid;
use nowd_testkit::{Bus, within};
use serde_json::json;
use tokio::task::JoinSet;

use crate::bed::{PATIENCE, nowd};

const MAP: &str = "[serial]\nport = \"panel\"\nframing = { line = \"\\r\\n\" }\n\
                   [methods.\"alarm.arm\"]\nsend = \"ARM $zone\"\nreply = '^OK (?<state>\\w+)$'\n\
                   params.zone = { type = \"integer\" }\n";

/// How often each is asked.
const TIMES: usize = 400;

/// A device at a line of its own. Devices are elsewhere: whoever asks them has to wait for them to wake.
fn panel() -> PathBuf {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (device, master) = alarm::on_pty().unwrap();
            tell.send(device).unwrap();
            // Ends with the test's process.
            alarm::serve(master, CancellationToken::new()).await.unwrap();
        });
    });
    told.recv().unwrap()
}

fn port(device: &Path) -> String {
    format!("device = \"{}\"\nbaud = 115200\n", device.display())
}

fn call() -> Call {
    let deadline = Deadline::after(Duration::from_secs(10));
    Call::new(Uuid::new_v4(), "alarm.arm", json!({"zone": 3}), deadline)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.swap_remove(times.len() / 2)
}

#[tokio::test]
async fn a_process_of_its_own_costs_a_round_trip_over_the_bus() {
    let mut tasks = JoinSet::new();
    let bus = Bus::start();
    // In this process.
    let config = toml::from_str(&port(&panel())).unwrap();
    let ports = BTreeMap::from([("panel".to_owned(), config)]);
    let map = MapSource { file: "panel.toml".into(), text: MAP.into() };
    let inside = SerialPlugin::load(&ports, &[map], None).unwrap();
    tasks.spawn(Arc::clone(&inside).run(CancellationToken::new()));
    inside.ready().await;
    // In another.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("methods.d")).unwrap();
    let config = folder.path().join("nowd.toml");
    fs::write(&config, format!("[ports.panel]\n{}", port(&panel()))).unwrap();
    fs::write(folder.path().join("methods.d/panel.toml"), MAP).unwrap();
    let address = bus.address();
    let _process =
        nowd(&["plugin", "serve", "serial", "--config", config.to_str().unwrap(), "--bus", &address]);
    let target = ServiceTarget {
        bus: address.parse().unwrap(),
        name: "io.nowd.Plugin.serial".into(),
        path: "/io/nowd/Plugin".into(),
    };
    let service = Service::new(target, Signals::new(address.parse().unwrap()));
    tasks.spawn(Arc::clone(&service).run(CancellationToken::new()));
    let raw = zbus::connection::Builder::address(address.as_str()).build().await.unwrap();
    let health = async || {
        let name = Some("io.nowd.Plugin.serial");
        raw.call_method(name, "/io/nowd/Plugin", Some("io.nowd.Plugin1"), "Health", &()).await
    };
    within(PATIENCE, "the other process", async {
        while !matches!(service.invoke(&call()).await, Completion::Ok(_)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let [mut here, mut there, mut bare] = [(); 3].map(|()| Vec::with_capacity(TIMES));
    for round in 0..TIMES {
        // In turns, since whoever comes after a process that slept has to wake it for the others.
        for turn in 0..3 {
            let begun = BootInstant::now();
            let took = match (round + turn) % 3 {
                0 => {
                    assert!(matches!(inside.invoke(&call()).await, Completion::Ok(_)));
                    &mut here
                }
                1 => {
                    assert!(matches!(service.invoke(&call()).await, Completion::Ok(_)));
                    &mut there
                }
                _ => {
                    health().await.unwrap();
                    &mut bare
                }
            };
            took.push(BootInstant::now().saturating_since(begun));
        }
    }
    let (here, there, bare) = (median(here), median(there), median(bare));
    println!("in process {here:?}, isolated {there:?}, a bare round trip {bare:?}");
    // One is what it should cost; three, because a busy machine makes three processes wait for each other more often than two.
    assert!(there < here + 3 * bare, "{there:?} against {here:?} + {bare:?}");
}
