//! Services that this project did not write: the templates of python-dbusmock, driven by maps.

use std::process::Stdio;

use nowd_plugin::map::MapSource;
use tokio::process::{Child, Command};

use super::*;

/// A mocked service, ended with the value.
struct Mock(#[expect(dead_code, reason = "killed when it is dropped")] Child);

impl Mock {
    fn start(bus: &PrivateBus, template: &str) -> Self {
        let child = Command::new("/usr/bin/python3")
            .args(["-m", "dbusmock", "--template", template])
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .env("DBUS_SESSION_BUS_ADDRESS", bus.address())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 and python3-dbusmock must be installed");
        Self(child)
    }
}

fn map(bus: &PrivateBus, name: &str, path: &str, interface: &str, methods: &str) -> MapSource {
    let address = bus.address();
    let text = format!(
        "[dbus]\nbus = {address:?}\ndestination = {name:?}\npath = {path:?}\ninterface = {interface:?}\n{methods}"
    );
    MapSource { file: format!("{interface}.toml"), text }
}

/// A plugin of these maps, once all the objects that they name have described themselves.
async fn rig(maps: &[MapSource], object: (&str, &str)) -> Rig {
    let rig = Rig::of(maps);
    let object = Object { destination: object.0.into(), path: object.1.into() };
    until("the mock (is python3-dbusmock installed?)", || rig.plugin.buses[0].description(&object).is_some())
        .await;
    rig
}

const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";

#[tokio::test]
async fn systemd_starts_a_unit_and_its_job_is_awaited() {
    let bus = PrivateBus::start().await;
    let _mock = Mock::start(&bus, "systemd");
    let control = r#"
    [methods."mock.unit"]
    call = "AddMockUnit"
    args = ["$name"]
    params.name = {}
    [methods."mock.method"]
    call = "AddMethod"
    args = ["org.freedesktop.systemd1.Manager", "$name", "ss", "o", "$code"]
    signature = "sssss"
    "#;
    let manager = r#"
    [methods."unit.start"]
    call = "StartUnit"
    args = ["$unit", "replace"]
    params.unit = { type = "string" }
    done = { signal = "JobRemoved", match = ["$*", "$call.reply"], success = ["$*", "$*", "$*", "done"] }
    [methods."unit.restart"]
    call = "RestartUnit"
    args = ["$unit", "replace"]
    params.unit = { type = "string" }
    done = { signal = "JobRemoved", match = ["$*", "$call.reply"], success = ["$*", "$*", "$*", "done"] }
    refused = ["org.freedesktop.systemd1.*"]
    failed = { "org.freedesktop.systemd1.JobTypeNotApplicable" = "executed" }
    [methods."systemd.version"]
    get = "Version"
    "#;
    let manager = map(&bus, SYSTEMD, SYSTEMD_PATH, "org.freedesktop.systemd1.Manager", manager);
    let control = map(&bus, SYSTEMD, SYSTEMD_PATH, "org.freedesktop.DBus.Mock", control);
    let rig = rig(&[manager, control], (SYSTEMD, SYSTEMD_PATH)).await;

    let unit = json!({"unit": "gate.service"});
    assert_eq!(rig.call("systemd.version", Value::Null).await, Completion::Ok(json!("v246")));
    let added = rig.call("mock.unit", json!({"name": "gate.service"})).await;
    assert_eq!(added, Completion::Ok(Value::Null));
    for job in 1..=3 {
        let path = format!("/org/freedesktop/systemd1/Job/{job}");
        let ended = json!([job, path, "gate.service", "done"]);
        assert_eq!(rig.call("unit.start", unit.clone()).await, Completion::Ok(ended));
    }

    // A method that the mock lacks, and then has, in mid-life.
    let missing = rig.call("unit.restart", unit.clone()).await;
    assert_eq!(code(&missing), ("refused", "org.freedesktop.DBus.Error.UnknownMethod"));
    let raise = |name: &str| {
        json!({"name": "RestartUnit", "code":
            format!("raise dbus.exceptions.DBusException('not so', name='org.freedesktop.systemd1.{name}')")})
    };
    let emit = json!({"name": "RestartUnit", "code": "
for job, result in ((8, 'done'), (9, 'failed'), (10, 'done')):
    self.EmitSignal('org.freedesktop.systemd1.Manager', 'JobRemoved', 'uoss', [job, '/job/%d' % job, args[0], result])
ret = dbus.ObjectPath('/job/9')
"});
    for (params, expected) in [
        (raise("NoSuchUnit"), ("refused", "org.freedesktop.systemd1.NoSuchUnit")),
        (
            raise("JobTypeNotApplicable"),
            ("failed, executed", "org.freedesktop.systemd1.JobTypeNotApplicable"),
        ),
        (emit, ("failed", "done_otherwise")),
    ] {
        let replaced = rig.call("mock.method", params).await;
        assert_eq!(replaced, Completion::Ok(Value::Null));
        let completion = rig.call("unit.restart", unit.clone()).await;
        assert_eq!(code(&completion), expected, "{completion:?}");
    }
}

#[tokio::test]
async fn upower_is_read_and_written() {
    const NAME: &str = "org.freedesktop.UPower";
    const PATH: &str = "/org/freedesktop/UPower";
    let bus = PrivateBus::start().await;
    let _mock = Mock::start(&bus, "upower");
    let methods = r#"
    [methods."power.battery"]
    get = "OnBattery"
    [methods."power.set"]
    set = "OnBattery"
    value = "$on"
    params.on = { type = "boolean" }
    [methods."power.set_typed"]
    set = "OnBattery"
    value = "$on"
    signature = "b"
    [methods."power.devices"]
    call = "EnumerateDevices"
    "#;
    let add = r#"
    [methods."mock.ac"]
    call = "AddAC"
    args = ["mock_AC", "Mock AC"]
    "#;
    let main = map(&bus, NAME, PATH, NAME, methods);
    let add = map(&bus, NAME, PATH, "org.freedesktop.DBus.Mock", add);
    let rig = rig(&[main, add], (NAME, PATH)).await;
    assert_eq!(rig.call("power.battery", Value::Null).await, Completion::Ok(json!(false)));
    assert_eq!(rig.call("power.set_typed", json!({"on": true})).await, Completion::Ok(Value::Null));
    assert_eq!(rig.call("power.battery", Value::Null).await, Completion::Ok(json!(true)));
    assert_eq!(rig.call("power.devices", Value::Null).await, Completion::Ok(json!([])));
    let device = json!("/org/freedesktop/UPower/devices/mock_AC");
    assert_eq!(rig.call("mock.ac", Value::Null).await, Completion::Ok(device.clone()));
    assert_eq!(rig.call("power.devices", Value::Null).await, Completion::Ok(json!([device])));
}

#[tokio::test]
async fn network_manager_tells_by_a_property_that_it_is_connected() {
    const NAME: &str = "org.freedesktop.NetworkManager";
    const PATH: &str = "/org/freedesktop/NetworkManager";
    let bus = PrivateBus::start().await;
    let _mock = Mock::start(&bus, "networkmanager");
    let methods = r#"
    [methods."net.state"]
    get = "State"
    [methods."net.devices"]
    call = "GetDevices"
    "#;
    let control = r#"
    [methods."net.connect"]
    call = "SetGlobalConnectionState"
    args = ["$state"]
    signature = "u"
    done = { signal = "PropertiesChanged", interface = "org.freedesktop.DBus.Properties", match = ["org.freedesktop.NetworkManager", { State = "$state" }] }
    "#;
    let main = map(&bus, NAME, PATH, NAME, methods);
    let control = map(&bus, NAME, PATH, "org.freedesktop.DBus.Mock", control);
    let rig = rig(&[main, control], (NAME, PATH)).await;
    assert_eq!(rig.call("net.devices", Value::Null).await, Completion::Ok(json!([])));
    let connected = rig.call("net.connect", json!({"state": 20})).await;
    assert_eq!(connected, Completion::Ok(json!([NAME, {"State": 20}, []])));
    assert_eq!(rig.call("net.state", Value::Null).await, Completion::Ok(json!(20)));
}

#[tokio::test]
async fn a_notification_has_hints_whose_types_the_map_says() {
    const NAME: &str = "org.freedesktop.Notifications";
    const PATH: &str = "/org/freedesktop/Notifications";
    let bus = PrivateBus::start().await;
    let _mock = Mock::start(&bus, "notification_daemon");
    let methods = r#"
    [methods.notify]
    call = "Notify"
    args = ["nowd", 0, "", "$text", "", [], { urgency = { "$type" = "y", value = "$urgency" }, x = 5 }, -1]
    signature = "susssasa{sv}i"
    [methods.close]
    call = "CloseNotification"
    args = ["$id"]
    signature = "u"
    done = { signal = "NotificationClosed", match = ["$id"], success = ["$*", 1] }
    "#;
    let control = r#"
    [methods.calls]
    call = "GetMethodCalls"
    args = ["Notify"]
    "#;
    let main = map(&bus, NAME, PATH, NAME, methods);
    let control = map(&bus, NAME, PATH, "org.freedesktop.DBus.Mock", control);
    let rig = rig(&[main, control], (NAME, PATH)).await;
    let request = json!({"text": "the gate is open", "urgency": 2});
    let Completion::Ok(id) = rig.call("notify", request).await else { panic!() };
    let closed = rig.call("close", json!({ "id": id })).await;
    assert_eq!(closed, Completion::Ok(json!([id, 1])));
    let calls = rig.call("calls", Value::Null).await;
    let Completion::Ok(calls) = calls else { panic!("{calls:?}") };
    assert_eq!(calls[0][1][6], json!({"urgency": 2, "x": 5}));
}
