//! The cloud side: HTTP -> `nowd-cloud serve` -> broker -> gateway and back, in turns with the same call straight over MQTT, and
//! with a connection made for each call.
//!
//! The public sample's function makes a connection for each call: a WebSocket with a signature, from Python, with a library of
//! its own. What stands for it here is the least that any such function has to do: TLS with a certificate, CONNECT,
//! SUBSCRIBE, PUBLISH, and hearing the answer, on the machine itself, where a round trip to the broker costs nothing.

mod http;

use std::path::Path;

use crate::Effort;
use crate::bed::{Bed, Maps};
use crate::calls::{Caller, Status, Way};
use crate::drive::{self, greet};
use crate::footprint::Shares;
use crate::measure::{Times, median, now};
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

/// Times of one kind, and the median of each round.
struct Kind {
    times: Times,
    rounds: Vec<f64>,
}

impl Kind {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { times: Times::new()?, rounds: Vec::new() })
    }

    fn add(&mut self, times: &Times) -> anyhow::Result<()> {
        self.rounds.push(times.median());
        self.times.add(times)
    }
}

/// Warm calls over HTTP against calls over MQTT, and against a connection for each.
pub(crate) async fn cloud(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let gateway = bed.gateway(Maps::All).await?;
    let (process, mut http) = serve(bed).await?;
    let mut parts = vec![
        ("nowd-cloud", process.id()),
        ("nowd", gateway.process.id()),
        ("the HTTP client", std::process::id()),
    ];
    parts.extend(bed.part("mosquitto").map(|process| ("mosquitto", process)));
    let mut shares = Shares::new(parts);
    let mut caller = bed.caller().await?;
    let ways =
        [("simulated method", Way::simulator(&gateway.target)), ("D-Bus method", Way::dbus(&gateway.target))];
    for (_, way) in &ways {
        greet(&mut caller, way, BATCH).await?;
        http.alone(way, BATCH).await?;
    }
    let mut kinds = Vec::new();
    for _ in 0..3 * ways.len() {
        kinds.push(Kind::new()?);
    }
    let mut refused = Times::new()?;
    let end = now() + effort.alone();
    for _ in 0..ROUNDS {
        if now() > end {
            break;
        }
        for ((_, way), kinds) in ways.iter().zip(kinds.chunks_mut(3)) {
            let straight = drive::alone(&mut caller, way, BATCH).await?;
            findings.tally.add(&straight.tally);
            let each = connection_each(bed, &caller, way, findings).await?;
            refused.add(&http.refused(FEW).await?)?;
            let before = shares.look()?;
            let warm = http.alone(way, BATCH).await?;
            if way.method == SIMULATED {
                shares.add(&before, u64::from(BATCH))?;
            }
            for (kind, times) in kinds.iter_mut().zip([&straight.times, &warm, &each]) {
                kind.add(times)?;
            }
        }
    }
    findings.tally.sent += http.calls;
    findings.row(SECTION, "HTTP alone: answered without a gateway", &refused);
    shares.tell(SHARES, findings);
    for ((name, way), kinds) in ways.iter().zip(kinds.chunks(3)) {
        let [straight, warm, each] = kinds else { continue };
        findings.row(SECTION, format!("{name}: straight over MQTT"), &straight.times);
        findings.row(SECTION, format!("{name}: over HTTP, warm"), &warm.times);
        findings.row(SECTION, format!("{name}: with a connection for each call"), &each.times);
        let ratio = |a: &Kind, b: &Kind| a.times.median() / b.times.median();
        let rounds = |a: &Kind, b: &Kind| {
            let parts = 10.min(a.rounds.len());
            let part = |kind: &Kind, at: usize| {
                let of = kind.rounds.len();
                kind.rounds.get(of * at / parts..of * (at + 1) / parts).and_then(median).unwrap_or_default()
            };
            (0..parts).map(|at| part(a, at) / part(b, at)).collect::<Vec<_>>()
        };
        if way.method == SIMULATED {
            let says = "warm cloud call / MQTT round trip to the same gateway (simulated method)";
            let target = Target::at_most(says, ratio(warm, straight), 1.5);
            findings.targets.push(target.spread(&rounds(warm, straight)));
            let says = "warm cloud call / a connection for each call (simulated method)";
            findings.targets.push(Target::at_most(says, ratio(warm, each), 0.05).spread(&rounds(warm, each)));
        } else {
            let says = format!("warm cloud call / MQTT round trip, {name}");
            findings.fact("ratios beside the promised ones", says, ratio(warm, straight), "");
        }
    }
    Ok(())
}

/// `nowd-cloud serve` as it comes, and a client that keeps its connection.
async fn serve(bed: &Bed) -> anyhow::Result<(Part, Http)> {
    let Login { port, ca, certificate, key } = bed.bench_login();
    let [ca, certificate, key] = [ca, certificate, key].map(|path| path.display().to_string());
    let (endpoint, listen) = (format!("localhost:{port}"), Bed::free_port()?);
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
    process.says("listening").await?;
    Ok((process, Http::open(listen).await?))
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
        let begun = now();
        let mut caller = bed.caller().await?;
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
