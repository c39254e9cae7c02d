//! The ready-made maps of `plugins/maps` against the services that python-dbusmock makes of its templates: unchanged but
//! for the address of the bus.

use std::process::Stdio;

use nowd_plugin::Method;
use nowd_plugin::map::MapSource;
use serde::Serialize;
use tokio::process::{Child, Command};
use zbus::zvariant::DynamicType;

use super::*;

const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
const ASK_SOMEBODY: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

/// A map on a private bus, and the mocked service that it is for.
struct Bench {
    rig: Rig,
    /// Of the test itself, to tell the mock what to do.
    control: zbus::Connection,
    name: &'static str,
    path: &'static str,
    _mock: Child,
    _bus: PrivateBus,
}

impl Bench {
    /// Waits until the service answers to `read`, a method without parameters.
    async fn start(template: &str, map: &str, name: &'static str, path: &'static str, read: &str) -> Self {
        let bus = PrivateBus::start().await;
        let mock = Command::new("/usr/bin/python3")
            .args(["-m", "dbusmock", "--template", template])
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let address = bus.address();
        let text = map.replace("bus = \"system\"", &format!("bus = {address:?}"));
        assert_ne!(text, map, "the map is no more on the system bus");
        let rig = Rig::start(&MapSource { file: format!("{template}.toml"), text });
        let bound = Deadline::after(rig::LONG);
        loop {
            let completion = rig.call(read, Value::Null).await;
            if matches!(completion, Completion::Ok(_)) {
                break;
            }
            assert!(bound.check().is_ok(), "{completion:?} (is python3-dbusmock installed?)");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let builder = zbus::connection::Builder::address(bus.address().as_str());
        let control = builder.build().await.unwrap();
        Self { rig, control, name, path, _mock: mock, _bus: bus }
    }

    /// Calls the mock's own interface.
    async fn mock(&self, member: &str, args: &(impl Serialize + DynamicType)) -> zbus::Message {
        let interface = Some("org.freedesktop.DBus.Mock");
        within(self.control.call_method(Some(self.name), self.path, interface, member, args)).await.unwrap()
    }

    /// Gives the service a method, or another body to one that it has.
    async fn method(&self, interface: &str, member: &str, types: (&str, &str), body: &str) {
        self.mock("AddMethod", &(interface, member, types.0, types.1, body)).await;
    }

    /// The service answers to this method with an error.
    async fn raise(&self, interface: &str, member: &str, types: (&str, &str), error: &str) {
        let body = format!("raise dbus.exceptions.DBusException('not so', name={error:?})");
        self.method(interface, member, types, &body).await;
    }

    /// How often a method was called with just this argument.
    async fn called(&self, member: &str, argument: bool) -> usize {
        let reply = self.mock("GetMethodCalls", &(member,)).await;
        let calls: Vec<(u64, Vec<zbus::OwnedVariant>)> = reply.body().deserialize().unwrap();
        let argument =
            |args: &[zbus::OwnedVariant]| matches!(args, [one] if bool::try_from(one).unwrap() == argument);
        calls.iter().filter(|(_, args)| argument(args)).count()
    }

    async fn call(&self, method: &str, params: Value) -> Completion {
        self.rig.call(method, params).await
    }

    fn described(&self, method: &str) -> Method {
        self.rig.plugin.methods().into_iter().find(|described| described.name == method).unwrap()
    }
}

#[tokio::test]
async fn systemd1_restarts_a_unit_and_knows_how_its_job_ended() {
    const MANAGER: &str = "org.freedesktop.systemd1.Manager";
    const TYPES: (&str, &str) = ("ss", "o");
    let map = include_str!("../../../maps/systemd1.toml");
    let (name, path) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
    let bench = Bench::start("systemd", map, name, path, "systemd.version").await;
    bench.mock("AddMockUnit", &("example.service",)).await;
    assert_eq!(bench.call("systemd.version", Value::Null).await, Completion::Ok(json!("v246")));

    let unit = json!({"unit": "example.service"});
    for (id, method) in ["unit.start", "unit.stop", "unit.start"].into_iter().enumerate() {
        let job = format!("/org/freedesktop/systemd1/Job/{}", id + 1);
        let ended = json!([id + 1, job, "example.service", "done"]);
        assert_eq!(bench.call(method, unit.clone()).await, Completion::Ok(ended), "{method}");
    }

    // The template has no RestartUnit. Other jobs end as well, and this one before its reply.
    for (result, expected) in [("done", None), ("failed", Some(("failed", "done_otherwise")))] {
        let body = format!(
            "
if args[1] != 'replace' or args[0] != 'example.service':
    raise dbus.exceptions.DBusException('Unit not found.', name='org.freedesktop.systemd1.NoSuchUnit')
for job, ended in ((8, 'timeout'), (9, {result:?}), (10, 'canceled')):
    self.EmitSignal({MANAGER:?}, 'JobRemoved', 'uoss', [job, '/org/freedesktop/systemd1/job/%d' % job, args[0], ended])
ret = dbus.ObjectPath('/org/freedesktop/systemd1/job/9')
"
        );
        bench.method(MANAGER, "RestartUnit", TYPES, &body).await;
        let restarted = bench.call("unit.restart", unit.clone()).await;
        match expected {
            None => {
                let ended = json!([9, "/org/freedesktop/systemd1/job/9", "example.service", "done"]);
                assert_eq!(restarted, Completion::Ok(ended));
            }
            Some(expected) => assert_eq!(code(&restarted), expected, "{restarted:?}"),
        }
        let unknown = bench.call("unit.restart", json!({"unit": "other.service"})).await;
        assert_eq!(code(&unknown), ("refused", "org.freedesktop.systemd1.NoSuchUnit"), "{unknown:?}");
    }
    for (method, member) in
        [("unit.restart", "RestartUnit"), ("unit.start", "StartUnit"), ("unit.stop", "StopUnit")]
    {
        for error in [ACCESS_DENIED, ASK_SOMEBODY, "org.freedesktop.systemd1.TransactionIsDestructive"] {
            bench.raise(MANAGER, member, TYPES, error).await;
            let denied = bench.call(method, unit.clone()).await;
            assert_eq!(code(&denied), ("refused", error), "{method}: {denied:?}");
        }
        let params = bench.described(method).params.unwrap();
        assert!(params.check(unit.clone()).is_ok());
        assert!(params.check(json!({"unit": "ssh.service"})).is_err(), "{method} takes any unit");
    }
}

#[tokio::test]
async fn login1_restarts_the_machine_once_and_for_those_who_may() {
    const MANAGER: &str = "org.freedesktop.login1.Manager";
    let map = include_str!("../../../maps/login1.toml");
    let (name, path) = ("org.freedesktop.login1", "/org/freedesktop/login1");
    let bench = Bench::start("logind", map, name, path, "host.idle").await;
    assert_eq!(bench.call("host.idle", Value::Null).await, Completion::Ok(json!(false)));
    assert_eq!(bench.call("host.can-reboot", Value::Null).await, Completion::Ok(json!("yes")));
    for (method, member) in [("host.reboot", "Reboot"), ("host.power-off", "PowerOff")] {
        assert_eq!(bench.called(member, false).await, 0);
        assert_eq!(bench.call(method, Value::Null).await, Completion::Ok(Value::Null), "{method}");
        assert_eq!(bench.called(member, false).await, 1, "asked without a password, once");
        for error in [ACCESS_DENIED, ASK_SOMEBODY, "org.freedesktop.login1.OperationInProgress"] {
            bench.raise(MANAGER, member, ("b", ""), error).await;
            let denied = bench.call(method, Value::Null).await;
            assert_eq!(code(&denied), ("refused", error), "{method}: {denied:?}");
        }
        let policy = bench.described(method).policy;
        assert_eq!(policy.allow, Some(Vec::new()), "{method} is nobody's until its map is edited");
        assert!(!policy.idempotent, "{method} must be in the journal: it ends the process that remembers it");
    }
}

#[tokio::test]
async fn network_manager_is_read() {
    let map = include_str!("../../../maps/network-manager.toml");
    let (name, path) = ("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager");
    let bench = Bench::start("networkmanager", map, name, path, "network.state").await;
    for (method, expected) in [
        ("network.state", json!(70)),
        ("network.connectivity", json!(4)),
        ("network.devices", json!([])),
        ("network.wireless", json!(true)),
    ] {
        assert_eq!(bench.call(method, Value::Null).await, Completion::Ok(expected), "{method}");
    }
    bench.mock("SetGlobalConnectionState", &(20_u32,)).await;
    bench.mock("SetConnectivity", &(1_u32,)).await;
    bench.mock("AddEthernetDevice", &("mock_eth", "eth7", 100_i32)).await;
    for (method, expected) in [
        ("network.state", json!(20)),
        ("network.connectivity", json!(1)),
        ("network.devices", json!(["/org/freedesktop/NetworkManager/Devices/mock_eth"])),
    ] {
        assert_eq!(bench.call(method, Value::Null).await, Completion::Ok(expected), "{method}");
    }
    assert_eq!(bench.described("network.wireless").policy.poll, Some(Duration::from_secs(10)));
}
