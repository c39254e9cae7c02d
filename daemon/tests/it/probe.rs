//! The loop-back probe: a subscription that the broker lost is found, and a broker that takes no probes is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nowd_cloud::{Config, Invoker};
use nowd_link::Options;
use nowd_protocol::Level;
use nowd_testkit::{Access, Listener, Mosquitto, Process, wait_for, within};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bed::{PATIENCE, comes_back, nowd, request, within_ms, words};

/// What becomes of a packet of the gateway, on its connection of this number, from 0.
type Rule = fn(usize, &mut Vec<u8>) -> Verdict;

enum Verdict {
    Pass,
    /// The connection is closed.
    Cut,
}

/// Stands between gateway and broker, and lets packets through, changed, or not.
struct Front {
    port: u16,
    connections: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Front {
    async fn new(broker: u16, rule: Rule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                let (gateway, _) = listener.accept().await.unwrap();
                let number = counter.fetch_add(1, Ordering::Relaxed);
                carried.spawn(carry(gateway, broker, number, rule));
            }
        });
        Self { port, connections, tasks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn carry(gateway: TcpStream, broker: u16, number: usize, rule: Rule) {
    let broker = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
    gateway.set_nodelay(true).unwrap();
    broker.set_nodelay(true).unwrap();
    let (mut from_gateway, mut to_gateway) = gateway.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let there = async {
        while let Some(mut packet) = packet(&mut from_gateway).await {
            if matches!(rule(number, &mut packet), Verdict::Cut)
                || to_broker.write_all(&packet).await.is_err()
            {
                return;
            }
        }
    };
    // The end of either ends both.
    tokio::select! {
        () = there => {}
        _ = tokio::io::copy(&mut from_broker, &mut to_gateway) => {}
    }
}

/// The next MQTT packet as it is; nothing at the end.
async fn packet(stream: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut packet = vec![stream.read_u8().await.ok()?];
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        packet.push(byte);
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let head = packet.len();
    packet.resize(head + length, 0);
    stream.read_exact(packet.get_mut(head..)?).await.ok()?;
    Some(packet)
}

/// Puts a text of the same length in place of another. Says whether it was there.
fn replace(packet: &mut [u8], text: &str, by: &str) -> bool {
    assert_eq!(text.len(), by.len());
    let Some(at) = packet.windows(text.len()).position(|window| window == text.as_bytes()) else {
        return false;
    };
    packet.get_mut(at..at + by.len()).unwrap().copy_from_slice(by.as_bytes());
    true
}

const SUBSCRIBE: u8 = 0x82;

struct Rig {
    broker: Mosquitto,
    front: Front,
    gateway: Process,
    cloud: Invoker,
    _folder: TempDir,
}

impl Rig {
    async fn new(rule: Rule) -> Self {
        let gateways = Listener { access: Access::GatewaysByClientId, ..Listener::default() };
        let broker = Mosquitto::with(&[Listener::default(), gateways]);
        let mut front = Front::new(broker.port_of(1), rule).await;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("nowd.toml");
        let text = format!(
            "target = \"gw-1\"\nclock = \"untrusted\"\n[access]\ndefault = [\"cloud-*\"]\n\
             [compat]\nclients = [\"old-\"]\n[log]\nformat = \"json\"\n\
             [link]\nendpoint = \"127.0.0.1:{}\"\ntls = false\nsilence = \"3s\"\nprobe = \"1s\"\n",
            front.port,
        );
        std::fs::write(&config, text).unwrap();
        std::fs::create_dir(folder.path().join("methods.d")).unwrap();
        let map = "[simulator]\n[methods.\"echo\"]\n";
        std::fs::write(folder.path().join("methods.d/echo.toml"), map).unwrap();
        let link = Options::new("cloud", "127.0.0.1", broker.port());
        let config_of_cloud = Config::new(link, Level::new("cloud").unwrap());
        let (cloud, background) = Invoker::new(config_of_cloud).unwrap();
        front.tasks.spawn(background.run(CancellationToken::new()));
        within(PATIENCE, "the cloud side's connection", cloud.connected()).await;
        let gateway = nowd(&["run", "--config", config.to_str().unwrap()]);
        gateway.wait_for_line(PATIENCE, "the link is up").await;
        Self { broker, front, gateway, cloud, _folder: folder }
    }

    fn said(&self, text: &str) -> usize {
        self.gateway.lines().iter().filter(|line| line.contains(text)).count()
    }
}

#[tokio::test]
async fn a_gateway_that_became_deaf_finds_it_and_hears_again() {
    let rig = Rig::new(|connection, packet| {
        if connection == 0 && packet.first() == Some(&SUBSCRIBE) {
            assert!(replace(packet, "gw-1/+/+/+", "gw-0/+/+/+"));
        }
        Verdict::Pass
    })
    .await;
    rig.gateway.wait_for_line(PATIENCE, "the broker has lost the subscription to gw-1/+/+/+").await;
    comes_back(&rig.cloud).await;
    // The second connection is sound: probes come back on it, and it stays.
    let of_gateway =
        |line: &&String| line.contains("Received PUBLISH from gw-1") && line.contains("nowd.probe");
    let probes = || rig.broker.log().iter().filter(of_gateway).count();
    let so_far = probes();
    wait_for(PATIENCE, "three more probes", || probes() >= so_far + 3).await;
    assert_eq!(words(&rig.cloud.invoke(request("echo", "1")).await), "ok executed 1");
    let excused = rig.said("the link is opened anew");
    assert_eq!(rig.front.connections(), 2 + excused, "{:?}", rig.gateway.lines());
}

#[tokio::test]
async fn a_policy_that_refuses_the_probe_is_told_once_and_costs_no_connection() {
    let rig = Rig::new(|_, packet| {
        // Not what the access rules allow.
        replace(packet, "gw-1/nowd.probe/", "gw-1/nowd.prob_/");
        Verdict::Pass
    })
    .await;
    let refused = "refused a message of this gateway to itself";
    let line = rig.gateway.wait_for_line(PATIENCE, refused).await;
    assert!(line.contains("publish to gw-1/nowd.probe/gw-1/+"), "{line}");
    comes_back(&rig.cloud).await;
    // On a busy machine the process may have stood still of itself.
    let excused = || rig.said("the link is opened anew") + rig.said("the link is down");
    assert_eq!(rig.front.connections(), 1 + excused(), "{:?}", rig.gateway.lines());
    // What may be too old after a stall is then got rid of with the link.
    rig.gateway.pause();
    tokio::time::sleep(Duration::from_millis(400)).await;
    rig.gateway.resume();
    rig.gateway.wait_for_line(PATIENCE, "the link is opened anew").await;
    wait_for(PATIENCE, "the next connection", || rig.said("the link is up") >= 2).await;
    comes_back(&rig.cloud).await;
    assert_eq!((rig.front.connections(), rig.said(refused)), (1 + excused(), 1), "{:?}", rig.gateway.lines());
}

#[tokio::test]
async fn a_broker_that_closes_instead_of_refusing_is_understood_at_the_second_time() {
    let rig = Rig::new(|_, packet| {
        if replace(packet, "gw-1/nowd.probe/", "gw-1/nowd.probe/") { Verdict::Cut } else { Verdict::Pass }
    })
    .await;
    rig.gateway.wait_for_line(PATIENCE, "it ends the connection instead of taking a message").await;
    wait_for(PATIENCE, "the third connection", || rig.said("the link is up") >= 3).await;
    comes_back(&rig.cloud).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(words(&rig.cloud.invoke(request("echo", "1")).await), "ok executed 1");
    // On a busy machine the process may have stood still of itself.
    let excused = rig.said("the link is opened anew");
    assert_eq!(rig.front.connections(), 3 + excused, "{:?}", rig.gateway.lines());
}

#[tokio::test]
async fn a_gateway_is_deaf_until_it_finds_out() {
    let rig = Rig::new(|_, packet| {
        if packet.first() == Some(&SUBSCRIBE) {
            replace(packet, "gw-1/+/+/+", "gw-0/+/+/+");
        }
        Verdict::Pass
    })
    .await;
    // So that the first test means something.
    assert_eq!(words(&rig.cloud.invoke(within_ms("echo", "1", 300)).await), "no_reply unknown null");
    // A broker that swallows every probe gets new connections ever more rarely, and is never given up.
    wait_for(PATIENCE, "the second loss", || rig.said("the broker has lost the subscription") >= 2).await;
}
