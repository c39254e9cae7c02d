//! The cloud side: HTTP -> `nowd-cloud serve` -> broker -> gateway and back, in turns with the same call straight over MQTT, and
//! with a connection made for each call.
//!
//! The public sample's function makes a connection for each call: a WebSocket with a signature, from Python, with a library of
//! its own. What stands for it here is the least that any such function has to do: TLS with a certificate, CONNECT,
//! SUBSCRIBE, PUBLISH, and hearing the answer, on the machine itself, where a round trip to the broker costs nothing.

mod http;

use std::path::Path;

use anyhow::Context as _;

use crate::Effort;
use crate::awake::{Awake, KEPT};
use crate::bed::{ATTEMPTS, Bed, Maps};
use crate::calls::{Caller, Status, Way};
use crate::drive::{self, greet};
use crate::footprint::Shares;
use crate::measure::{Times, now};
use crate::part::Part;
use crate::report::{Findings, Target};
use crate::wire::Login;

use http::Http;

const SECTION: &str = "the cloud side, one call at a time";
const SHARES: &str = "what each process takes of one warm cloud call to a simulated method";
/// So many of each kind before the next kind's turn.
const BATCH: u32 = 50;
/// A connection takes some milliseconds.
const FEW: u32 = 10;

const SIMULATED: &str = "sim.set";
/// The cloud side asks in its own name, of which a gateway remembers 8,192 ids.
const ROUNDS: u32 = 75;

/// Straight over MQTT, over HTTP and warm, with a connection for each call: times of one way, and their medians of each set of processes.
struct Kinds {
    times: [Times; 3],
    medians: Vec<[f64; 3]>,
}

impl Kinds {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { times: [Times::new()?, Times::new()?, Times::new()?], medians: Vec::new() })
    }

    fn add(&mut self, set: &[Times; 3]) -> anyhow::Result<()> {
        for (all, times) in self.times.iter_mut().zip(set) {
            all.add(times)?;
        }
        self.medians.push(set.each_ref().map(Times::median));
        Ok(())
    }

    /// Warm to straight: of all calls.
    fn straight(&self) -> f64 {
        let [straight, warm, _] = self.times.each_ref().map(Times::median);
        warm / straight
    }

    /// Warm to a connection for each: of all calls.
    fn each(&self) -> f64 {
        let [_, warm, each] = self.times.each_ref().map(Times::median);
        warm / each
    }
}

/// What is measured, over all sets of processes.
struct All {
    simulated: Kinds,
    dbus: Kinds,
    refused: Times,
    shares: Shares,
}

/// Warm calls over HTTP against calls over MQTT, and against a connection for each.
pub(crate) async fn cloud(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let awake = Awake::held();
    findings.fact(SECTION, KEPT, awake.told(), "");
    let mut all = All {
        simulated: Kinds::new()?,
        dbus: Kinds::new()?,
        refused: Times::new()?,
        shares: Shares::new(Vec::new()),
    };
    for _ in 0..effort.sets() {
        bed.anew().await?;
        set(bed, effort, &mut all, findings).await?;
    }
    findings.row(SECTION, "HTTP alone: answered without a gateway", &all.refused);
    all.shares.tell(SHARES, findings);
    for (name, kinds) in [("simulated method", &all.simulated), ("D-Bus method", &all.dbus)] {
        let kind = ["straight over MQTT", "over HTTP, warm", "with a connection for each call"];
        for (kind, times) in kind.into_iter().zip(&kinds.times) {
            findings.row(SECTION, format!("{name}: {kind}"), times);
        }
    }
    let simulated = &all.simulated;
    let sets: Vec<_> = simulated.medians.iter().map(|[straight, warm, _]| warm / straight).collect();
    let says = "warm cloud call / MQTT round trip to the same gateway (simulated method)";
    findings.targets.push(Target::at_most(says, simulated.straight(), 1.5).spread(&sets));
    let sets: Vec<_> = simulated.medians.iter().map(|[_, warm, each]| warm / each).collect();
    let says = "warm cloud call / a connection for each call (simulated method)";
    findings.targets.push(Target::at_most(says, simulated.each(), 0.05).spread(&sets));
    let says = "warm cloud call / MQTT round trip, D-Bus method";
    findings.fact("ratios beside the promised ones", says, all.dbus.straight(), "");
    Ok(())
}

/// The same of one set of processes.
async fn set(bed: &mut Bed, effort: &Effort, all: &mut All, findings: &mut Findings) -> anyhow::Result<()> {
    let gateway = bed.gateway(Maps::All).await?;
    let (process, mut http) = serve(bed).await?;
    let mut parts = vec![
        ("nowd-cloud", process.id()),
        ("nowd", gateway.process.id()),
        ("the HTTP client", std::process::id()),
    ];
    parts.extend(bed.part("mosquitto").map(|process| ("mosquitto", process)));
    all.shares.follow(parts);
    let mut caller = bed.caller().await?;
    let ways = [Way::simulator(&gateway.target), Way::dbus(&gateway.target)];
    for way in &ways {
        greet(&mut caller, way, BATCH).await?;
        http.alone(way, BATCH).await?;
    }
    let times = || anyhow::Ok([Times::new()?, Times::new()?, Times::new()?]);
    let mut sets = [times()?, times()?];
    let end = now() + effort.alone() / u64::from(effort.sets());
    for _ in 0..ROUNDS {
        for (way, times) in ways.iter().zip(&mut sets) {
            let straight = drive::alone(&mut caller, way, BATCH).await?;
            findings.tally.add(&straight.tally);
            let each = connection_each(bed, &caller, way, findings).await?;
            all.refused.add(&http.refused(FEW).await?)?;
            let before = all.shares.look()?;
            let warm = http.alone(way, BATCH).await?;
            if way.method == SIMULATED {
                all.shares.add(&before, u64::from(BATCH))?;
            }
            for (times, more) in times.iter_mut().zip([&straight.times, &warm, &each]) {
                times.add(more)?;
            }
        }
        if now() > end {
            break;
        }
    }
    findings.tally.sent += http.calls;
    let [simulated, dbus] = &sets;
    all.simulated.add(simulated)?;
    all.dbus.add(dbus)
}

/// `nowd-cloud serve` as it comes, and a client that keeps its connection.
async fn serve(bed: &Bed) -> anyhow::Result<(Part, Http)> {
    let Login { port, ca, certificate, key } = bed.bench_login();
    let [ca, certificate, key] = [ca, certificate, key].map(|path| path.display().to_string());
    let endpoint = format!("localhost:{port}");
    let mut failed = None;
    for _ in 0..ATTEMPTS {
        let listen = Bed::free_port()?;
        let address = format!("127.0.0.1:{listen}");
        let arguments = [
            "serve",
            "--listen",
            &address,
            "--endpoint",
            &endpoint,
            "--ca",
            &ca,
            "--cert",
            &certificate,
            "--key",
            &key,
            "--client",
            "bench-cloud",
        ];
        let program: &Path = &bed.programs.cloud;
        let mut process = Part::start(bed.folder(), "nowd-cloud", program, &arguments)?;
        match process.says("listening").await {
            Ok(_) => return Ok((process, Http::open(listen).await?)),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.context("no attempt was made")?)
}

/// Each call on a connection of its own, whose TLS knows of no other.
async fn connection_each(
    bed: &mut Bed,
    known: &Caller,
    way: &Way,
    findings: &mut Findings,
) -> anyhow::Result<Times> {
    let mut times = Times::new()?;
    for _ in 0..FEW {
        let options = bed.options()?;
        let begun = now();
        let mut caller = Caller::open(&options).await?;
        // Whoever makes a connection for each call knows nothing of the gateway's clock; here it does.
        caller.adopt(known);
        let answer = caller.call(way).await?;
        times.record(now().saturating_sub(begun));
        anyhow::ensure!(
            answer.status == Status::Ok,
            "a call on a new connection: {:?}",
            caller.tally.statuses
        );
        findings.tally.add(&caller.tally);
    }
    Ok(times)
}
