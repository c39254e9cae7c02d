use nowd_link::Options;
use nowd_protocol::{Level, Uuid};
use nowd_testkit::{Mosquitto, Proxy, within};

use super::*;
use crate::uplink::{Facts, Uplink, UplinkEvent, Way};

const SECOND: Duration = Duration::from_secs(1);

/// Looks once a second, as long as `time`, at parts whose moves are told by the second.
fn watch(watch: &mut Watch, from: u64, to: u64, parts: impl Fn(u64) -> Vec<Part>) -> Vec<u64> {
    let at = |second: u64| BootInstant::from_micros(second * 1_000_000);
    (from..to).filter(|second| !watch.look(at(*second), SECOND, parts(*second))).collect()
}

fn part(name: &str, moves: u64, bound: u64) -> Part {
    Part::new(name, moves, SECOND * u32::try_from(bound).unwrap())
}

#[test]
fn one_part_that_stands_still_is_enough() {
    let mut w = Watch::new(BootInstant::from_micros(0));
    let parts = |second: u64| vec![part("a", second, 3), part("b", second.min(10), 3)];
    assert_eq!(watch(&mut w, 1, 17, parts), [14, 15, 16], "b moves last at 10, and may stand for 3 s");
    let parts = |second: u64| vec![part("a", second, 3), part("b", second.min(18), 3)];
    assert_eq!(
        watch(&mut w, 17, 24, parts),
        [22, 23],
        "one that moves again is well, and may stand still again"
    );
    assert_eq!(
        watch(&mut w, 24, 30, |second| vec![part("a", second, 3)]),
        [0; 0],
        "one that has ended is no part"
    );
}

#[test]
fn each_has_a_bound_of_its_own_and_the_one_of_now_counts() {
    let mut w = Watch::new(BootInstant::from_micros(0));
    let parts = |second: u64| {
        // What it does is known to take until 20.
        let bound = if second < 20 { 60 } else { 3 };
        vec![part("short", second, 1), part("long", 7, bound)]
    };
    assert_eq!(watch(&mut w, 1, 23, parts), [20, 21, 22]);
}

#[test]
fn a_process_that_stood_still_has_not_waited() {
    let mut w = Watch::new(BootInstant::from_micros(0));
    let parts = |second: u64| vec![part("a", if second < 3_600 { 1 } else { second }, 5)];
    assert_eq!(watch(&mut w, 1, 4, parts), [0; 0]);
    assert_eq!(watch(&mut w, 3_600, 3_603, parts), [0; 0], "an hour frozen or suspended is not counted");
}

#[test]
fn two_of_one_name_are_two() {
    let mut w = Watch::new(BootInstant::from_micros(0));
    let parts = |second: u64| vec![part("port", second, 2), Part { id: 1, ..part("port", 5, 2) }];
    assert_eq!(watch(&mut w, 1, 6, parts), [4, 5], "the other one's moves do not count for it");
}

#[test]
fn what_others_say_stays_one_line() {
    assert_eq!(shown("down: no\nWATCHDOG=trigger"), "down: no WATCHDOG=trigger");
    assert_eq!(shown(&"x".repeat(300)).len(), LONGEST_STATUS + 3);
}

#[tokio::test]
async fn a_manager_that_reads_nothing_makes_nobody_wait_and_is_told_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let listener = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let manager = ServiceManager::new(path.as_os_str(), Some(SECOND)).unwrap();
    let mut supervisor = Supervisor::new(Some(manager));
    let status = |reason: &str| Status {
        up_since: None,
        endpoint: "broker:8883".into(),
        last_error: Some(reason.into()),
        lockout: Some("maintenance".into()),
    };
    supervisor.status(&status("not told before the start"));
    supervisor.ready(&status("fine"));
    // Until the kernel takes no more.
    for round in 0..2_000 {
        supervisor.look([part("a", round, 5)]);
    }
    supervisor.status(&status("fine"));
    supervisor.status(&status("worse"));
    let heard = || {
        let mut text = [0; 300];
        let len = listener.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..len]).into_owned())
    };
    assert_eq!(heard().as_deref(), Some("READY=1\nSTATUS=locked out: maintenance; the link is down: fine"));
    let rest: Vec<String> = std::iter::from_fn(heard).collect();
    assert!(rest.len() < 2_000 && rest.iter().all(|text| text == "WATCHDOG=1"), "{rest:?}");
    supervisor.look([part("a", 0, 5)]);
    let rest: Vec<String> = std::iter::from_fn(heard).collect();
    assert_eq!(rest, ["STATUS=locked out: maintenance; the link is down: worse", "WATCHDOG=1"]);
}

/// The parts when the link is up next.
async fn up(uplink: &mut Uplink) -> Vec<Part> {
    within(Duration::from_secs(60), "the link", async {
        while uplink.since().is_none() {
            tokio::select! {
                _ = uplink.next() => {}
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    })
    .await;
    uplink.parts()
}

#[tokio::test]
async fn connections_that_are_cut_after_as_much_each_do_not_stand_still() {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.port()).await;
    let facts =
        Facts { target: Level::new("gw-1").unwrap(), incarnation: Uuid::nil(), methods: String::new() };
    let options = Options::new("gw-1", "127.0.0.1", proxy.port());
    let mut uplink = Uplink::new(Way::Direct(options), None, facts, Duration::from_secs(60));
    let mut watch = Watch::new(BootInstant::from_micros(0));
    // Their counts are as they would be of connections that end at the same one.
    let same = |part: Part| if part.name == "the link" { part } else { Part { moves: 7, ..part } };
    let same = |parts: Vec<Part>| parts.into_iter().map(same).collect::<Vec<_>>();
    for round in 1..=5_u64 {
        let parts = up(&mut uplink).await;
        // What is bound longest may stand for 70 s.
        assert!(parts.len() > 1, "{parts:?}");
        let at = BootInstant::from_micros(round * 30_000_000);
        assert!(watch.look(at, Duration::from_secs(30), same(parts)), "30 s each, round {round}");
        proxy.cut();
        within(Duration::from_secs(60), "the end of the connection", async {
            while !matches!(uplink.next().await, UplinkEvent::Down) {}
        })
        .await;
    }
}
