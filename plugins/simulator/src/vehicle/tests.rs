use std::io::{BufRead, BufReader};
use std::process::{Child, Command as Process, Stdio};

use futures_util::StreamExt;
use zbus::Proxy;

use super::*;

/// A dbus-daemon of the test's own.
struct Bus {
    daemon: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Bus {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("bus.conf");
        let listen = folder.path().join("bus");
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
            listen.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut daemon = Process::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1", "--config-file"])
            .arg(&config)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { daemon, address: address.trim().into(), _folder: folder }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

const NAME: &str = "com.example.Window1";

async fn window(client: &Connection, path: &'static str) -> Proxy<'static> {
    zbus::proxy::Builder::new(client)
        .destination(NAME)
        .path(path)
        .interface("com.example.Window1")
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .unwrap()
}

async fn percent(window: &Proxy<'_>) -> u32 {
    window.get_property("Percent").await.unwrap()
}

fn error_name(error: &zbus::Error) -> Option<&str> {
    if let zbus::Error::MethodError(name, ..) = error { Some(name.as_str()) } else { None }
}

#[tokio::test]
async fn windows_move_and_tell() {
    let bus = Bus::start();
    let vehicle = serve(&bus.address, NAME, Duration::from_millis(2)).await.unwrap();
    assert!(vehicle.connection().unique_name().is_some());
    let client = Builder::address(bus.address.as_str()).build().await.unwrap();
    let (left, right) = (window(&client, LEFT).await, window(&client, RIGHT).await);

    let mut moved = left.receive_signal("Moved").await.unwrap();
    let () = left.call("MoveTo", &(35_u32, "call-1")).await.unwrap();
    let signal = moved.next().await.unwrap();
    assert_eq!(signal.body().deserialize::<(String, u32)>().unwrap(), ("call-1".into(), 35));
    assert_eq!((percent(&left).await, percent(&right).await), (35, 0));

    let arrived: u32 = right.call("Set", &(100_u32,)).await.unwrap();
    assert_eq!((arrived, percent(&right).await), (100, 100));
    let arrived: u32 = right.call("Set", &(55_u32,)).await.unwrap();
    assert_eq!((arrived, percent(&right).await), (55, 55));
}

#[tokio::test]
async fn the_child_lock_and_the_range_are_kept() {
    let bus = Bus::start();
    let _vehicle = serve(&bus.address, NAME, Duration::from_millis(1)).await.unwrap();
    let client = Builder::address(bus.address.as_str()).build().await.unwrap();
    let (left, right) = (window(&client, LEFT).await, window(&client, RIGHT).await);
    let () = left.call("SetChildLock", &(true,)).await.unwrap();
    assert!(right.get_property::<bool>("ChildLock").await.unwrap());
    let set = right.call::<_, _, u32>("Set", &(10_u32,)).await.unwrap_err();
    let moved = right.call::<_, _, ()>("MoveTo", &(10_u32, "id")).await.unwrap_err();
    for refused in [set, moved] {
        assert_eq!(error_name(&refused), Some("com.example.Error.Interlock"), "{refused:?}");
    }
    let () = left.call("SetChildLock", &(false,)).await.unwrap();
    let far = right.call::<_, _, u32>("Set", &(101_u32,)).await.unwrap_err();
    assert_eq!(error_name(&far), Some("com.example.Error.OutOfRange"), "{far:?}");
    assert_eq!(percent(&right).await, 0);
    assert_eq!(right.call::<_, _, u32>("Set", &(10_u32,)).await.unwrap(), 10);
}

#[tokio::test]
async fn a_halt_ends_a_move() {
    let bus = Bus::start();
    let _vehicle = serve(&bus.address, NAME, Duration::from_secs(3600)).await.unwrap();
    let client = Builder::address(bus.address.as_str()).build().await.unwrap();
    let left = window(&client, LEFT).await;
    let mut set = std::pin::pin!(left.call::<_, _, u32>("Set", &(50_u32,)));
    // The two calls may be handled side by side, so one `Halt` may come before the move.
    let set = loop {
        tokio::select! {
            set = &mut set => break set,
            () = sleep(Duration::from_millis(5)) => {
                let () = left.call("Halt", &()).await.unwrap();
            }
        }
    };
    assert_eq!(error_name(&set.unwrap_err()), Some("com.example.Error.Interrupted"));
    assert_eq!(percent(&left).await, 0);
}
