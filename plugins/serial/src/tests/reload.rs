//! A port outlives a reload of the maps: it is not closed, and no call is cut.

use super::*;

struct Running {
    plugin: Arc<SerialPlugin>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

fn load(config: &PortConfig, map: &str, previous: Option<&SerialPlugin>) -> Running {
    let ports = BTreeMap::from([("relay".to_owned(), config.clone())]);
    let map = MapSource { file: "m.toml".into(), text: map.into() };
    let plugin = SerialPlugin::load(&ports, &[map], previous).unwrap();
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(Arc::clone(&plugin).run(stop.clone()));
    Running { plugin, stop, tasks }
}

impl Running {
    async fn stopped(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn open(&self) {
        let bound = Deadline::after(LONG);
        while !matches!(
            self.plugin.invoke(&call("ring", Value::Null, Duration::ZERO)).await,
            Completion::Expired(_)
        ) {
            assert!(bound.check().is_ok());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn works(plugin: &SerialPlugin, device: &mut Device) {
    let state = call("state", json!({"ch": "9"}), LONG);
    let (completion, ()) = tokio::join!(plugin.invoke(&state), async {
        device.expect("STATE 9\r\n").await;
        device.say("OK fine\r\n").await;
    });
    assert_eq!(completion, Completion::Ok(json!({"state": "fine", "rest": null})));
}

#[tokio::test]
async fn the_line_stays_open_and_the_call_in_progress_ends() {
    let mut device = Device::new();
    let config = PortConfig::new(device.path());
    let old = load(&config, MAP, None);
    old.plugin.ready().await;
    old.open().await;
    let other = MAP.replace(
        "[methods.\"pulse\"]",
        "[methods.\"event\"]\nhears = '^EVENT (?<n>\\d)$'\n[methods.\"pulse\"]",
    );
    let running = call("state", json!({"ch": "1"}), LONG);
    let old_plugin = Arc::clone(&old.plugin);
    let (completion, new) = tokio::join!(old_plugin.invoke(&running), async {
        device.expect("STATE 1\r\n").await;
        let new = load(&config, &other, Some(&old_plugin));
        assert!(Arc::ptr_eq(&old_plugin.ports["relay"], &new.plugin.ports["relay"]));
        new.plugin.ready().await;
        // Told to stop in mid-call, which so is the new one's.
        old.stop.cancel();
        tokio::task::yield_now().await;
        device.say("EVENT 7\r\nOK on\r\n").await;
        new
    });
    assert_eq!(completion, Completion::Ok(json!({"state": "on", "rest": null})));
    old.stopped().await;
    // The new patterns heard what came meanwhile, on the same open line.
    let event = new.plugin.invoke(&call("event", Value::Null, LONG)).await;
    assert!(matches!(&event, Completion::Ok(response) if response["value"]["n"] == "7"), "{event:?}");
    works(&new.plugin, &mut device).await;
    // The old plugin's calls go through as long as anybody runs the port.
    works(&old_plugin, &mut device).await;
    let plugin = Arc::clone(&new.plugin);
    new.stopped().await;
    assert!(gone(&plugin.invoke(&call("ring", Value::Null, LONG)).await));

    // A plugin that is run again, or after all others, opens it again.
    let again = load(&config, MAP, Some(&plugin));
    again.open().await;
    works(&again.plugin, &mut device).await;
    again.stopped().await;
}

#[tokio::test]
async fn a_set_that_is_rejected_changes_nothing() {
    let mut device = Device::new();
    let config = PortConfig::new(device.path());
    let old = load(&config, MAP, None);
    old.open().await;
    let new = load(&config, MAP, Some(&old.plugin));
    new.plugin.ready().await;
    new.stopped().await;
    works(&old.plugin, &mut device).await;
    old.stopped().await;
}

#[tokio::test]
async fn a_port_with_other_settings_waits_until_the_device_is_free() {
    let mut device = Device::new();
    let config = PortConfig::new(device.path());
    let old = load(&config, MAP, None);
    old.open().await;
    let changed = PortConfig { baud: 19_200, ..config.clone() };
    let new = load(&changed, MAP, Some(&old.plugin));
    new.plugin.ready().await;
    let refused = new.plugin.invoke(&call("ring", Value::Null, LONG)).await;
    assert!(
        matches!(&refused, Completion::Unavailable(e) if e.message.contains("its settings were changed")),
        "{refused:?}"
    );
    works(&old.plugin, &mut device).await;
    assert_eq!(device.slave.baud_rate().unwrap(), 9600);
    old.stopped().await;
    new.open().await;
    works(&new.plugin, &mut device).await;
    assert_eq!(device.slave.baud_rate().unwrap(), 19_200);
    new.stopped().await;
}

/// A panic of the one whose turn it was: the next one opens the port anew.
#[tokio::test]
async fn the_next_one_takes_over_when_a_task_panics() {
    let mut device = Device::new();
    let config = PortConfig::new(device.path());
    let old = load(&config, MAP, None);
    old.open().await;
    let new = load(&config, MAP, Some(&old.plugin));
    new.plugin.ready().await;
    let log = tracing::subscriber::set_default(super::panics::PanicsAtNoise);
    let noisy = call("state", json!({"ch": "3"}), LONG);
    let (completion, ()) = tokio::join!(old.plugin.invoke(&noisy), async {
        device.expect("STATE 3\r\n").await;
        device.say("NOISE\r\n").await;
    });
    drop(log);
    assert!(matches!(&completion, Completion::Internal(e) if e.code == "port_stopped"), "{completion:?}");
    new.open().await;
    works(&new.plugin, &mut device).await;
    old.stopped().await;
    works(&new.plugin, &mut device).await;
    new.stopped().await;
}

/// A device that the plugin before last still uses is not opened a second time, whatever the one before did with it.
#[tokio::test]
async fn a_device_is_left_to_the_first_of_three() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    for between in [Some(19_200), None] {
        let mut device = Device::new();
        let config = PortConfig::new(device.path());
        let old = load(&config, MAP, None);
        old.open().await;
        let running = call("state", json!({"ch": "1"}), LONG);
        let old_plugin = Arc::clone(&old.plugin);
        let (completion, (old, new)) = tokio::join!(old_plugin.invoke(&running), async {
            device.expect("STATE 1\r\n").await;
            let middle = if let Some(baud) = between {
                load(&PortConfig { baud, ..config.clone() }, MAP, Some(&old.plugin))
            } else {
                let plugin = SerialPlugin::load(&BTreeMap::new(), &[], Some(&old.plugin)).unwrap();
                Running { plugin, stop: CancellationToken::new(), tasks: JoinSet::new() }
            };
            // By another name, too.
            drop(std::fs::remove_file(&link));
            std::os::unix::fs::symlink(device.path(), &link).unwrap();
            let new = load(&PortConfig { baud: 4800, ..PortConfig::new(&link) }, MAP, Some(&middle.plugin));
            middle.stopped().await;
            new.plugin.ready().await;
            let refused = new.plugin.invoke(&call("ring", Value::Null, LONG)).await;
            assert!(
                matches!(&refused, Completion::Unavailable(e) if e.message.contains("its settings were changed")),
                "{refused:?}"
            );
            assert_eq!(device.slave.baud_rate().unwrap(), 9600);
            device.say("OK on\r\n").await;
            (old, new)
        });
        assert_eq!(completion, Completion::Ok(json!({"state": "on", "rest": null})));
        old.stopped().await;
        new.open().await;
        works(&new.plugin, &mut device).await;
        assert_eq!(device.slave.baud_rate().unwrap(), 4800);
        new.stopped().await;
    }
}
