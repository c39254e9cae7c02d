//! One call under way at a time: the ratios that are promised.

use std::collections::BTreeMap;

use nowd_link::Qos;

use super::Both;
use crate::Effort;
use crate::awake::{Awake, KEPT};
use crate::bed::Bed;
use crate::calls::{Tally, Way};
use crate::drive;
use crate::floor::{Dbus, Line};
use crate::measure::{Times, now};
use crate::report::{Findings, Target};

/// So many of each kind before the next kind's turn.
const BATCH: u32 = 20;
pub(crate) const FLOOR: &str = "the floor, one at a time";
pub(crate) const THROUGH: &str = "through a gateway, one at a time";
const ASLEEP: &str = "floor and gateway, one at a time, and the processors may fall asleep";
const RATIOS: &str = "ratios beside the promised ones";

const ECHO: &str = "MQTT echo, rumqttc, QoS 1";
const BARE: &str = "MQTT echo, bare packets, QoS 1";
const DBUS: &str = "D-Bus call";
const PTY: &str = "pty echo";
const WITH_DBUS: &str = "bare echo with a D-Bus call on its way";
const WITH_PTY: &str = "bare echo with a pty echo on its way";

/// Times of each kind, of one set of processes.
#[derive(Default)]
struct Kinds(BTreeMap<&'static str, Times>);

impl Kinds {
    fn add(&mut self, name: &'static str, times: &Times) -> anyhow::Result<()> {
        if let Some(all) = self.0.get_mut(name) {
            return all.add(times);
        }
        self.0.insert(name, times.clone());
        Ok(())
    }

    fn median(&self, name: &str) -> f64 {
        self.0.get(name).map(Times::median).unwrap_or_default()
    }

    /// One kind's median to the sum of others'.
    fn ratio(&self, name: &str, floor: &[&str]) -> f64 {
        self.median(name) / floor.iter().map(|name| self.median(name)).sum::<f64>()
    }
}

/// What one set of processes after the other has brought, and all of them together.
#[derive(Default)]
struct Sets {
    sets: Vec<Kinds>,
    whole: Kinds,
}

impl Sets {
    fn add(&mut self, set: Kinds) -> anyhow::Result<()> {
        for (name, times) in &set.0 {
            self.whole.add(name, times)?;
        }
        self.sets.push(set);
        Ok(())
    }

    /// A set is fast or slow for its life: the middle one of them jumps from run to run, the median of all calls does not.
    fn target(&self, says: &'static str, name: &str, floor: &[&str], bound: f64) -> Target {
        let sets: Vec<_> = self.sets.iter().map(|kinds| kinds.ratio(name, floor)).collect();
        Target::at_most(says, self.whole.ratio(name, floor), bound).spread(&sets)
    }
}

/// Measures everything in turns, of one set of processes after the other.
pub(crate) async fn alone(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let (mut awake, mut asleep) = (Sets::default(), Sets::default());
    let lasts = effort.alone() / u64::from(effort.sets());
    let mut kept = 1.0_f64;
    for _ in 0..effort.sets() {
        bed.anew().await?;
        let mut set = Set::begin(bed).await?;
        {
            let held = Awake::held();
            kept = kept.min(held.told());
            awake.add(set.measure(lasts, &mut findings.tally).await?)?;
        }
        asleep.add(set.measure(lasts, &mut findings.tally).await?)?;
    }
    for (name, times) in &awake.whole.0 {
        let section = if name.ends_with("method") { THROUGH } else { FLOOR };
        findings.row(section, *name, times);
    }
    findings.fact(FLOOR, KEPT, kept, "");
    for (name, times) in &asleep.whole.0 {
        findings.row(ASLEEP, *name, times);
    }
    findings.targets.extend([
        awake.target("a D-Bus method / (MQTT echo + D-Bus call)", "D-Bus method", &[ECHO, DBUS], 1.20),
        awake.target("a serial method / (MQTT echo + pty echo)", "serial method", &[ECHO, PTY], 1.25),
    ]);
    for (says, name, floor) in [
        ("a D-Bus method / (bare echo + D-Bus call)", "D-Bus method", &[BARE, DBUS][..]),
        ("a serial method / (bare echo + pty echo)", "serial method", &[BARE, PTY]),
        ("a D-Bus method / bare echo with a D-Bus call on its way", "D-Bus method", &[WITH_DBUS]),
        ("a serial method / bare echo with a pty echo on its way", "serial method", &[WITH_PTY]),
        ("bare echo with a D-Bus call on its way / (bare echo + D-Bus call)", WITH_DBUS, &[BARE, DBUS]),
        ("a simulated method / MQTT echo", "simulated method", &[ECHO]),
        ("isolated / in process", "isolated simulated method", &["simulated method"]),
    ] {
        findings.fact(RATIOS, says, awake.whole.ratio(name, floor), "");
    }
    for (says, name, floor) in [
        ("a D-Bus method / (MQTT echo + D-Bus call), asleep between", "D-Bus method", &[ECHO, DBUS]),
        ("a serial method / (MQTT echo + pty echo), asleep between", "serial method", &[ECHO, PTY]),
    ] {
        findings.fact(RATIOS, says, asleep.whole.ratio(name, floor), "");
    }
    Ok(())
}

/// One set of processes.
struct Set {
    caller: crate::calls::Caller,
    both: Both,
    dbus: Dbus,
    line: Line,
}

impl Set {
    async fn begin(bed: &mut Bed) -> anyhow::Result<Self> {
        let mut caller = bed.caller().await?;
        let both = Both::start(bed, &mut caller).await?;
        let (dbus, line) = (Dbus::open(&bed.bus()).await?, Line::open(&bed.floor_line())?);
        Ok(Self { caller, both, dbus, line })
    }

    /// Everything in turns, for so many nanoseconds.
    async fn measure(&mut self, lasts: u64, tally: &mut Tally) -> anyhow::Result<Kinds> {
        let echoes = [
            (ECHO, Way::echo("echo-rumqttc", Qos::AtLeastOnce)),
            ("MQTT echo, rumqttc, QoS 0", Way::echo("echo-rumqttc", Qos::AtMostOnce)),
            (BARE, Way::echo("echo-bare", Qos::AtLeastOnce)),
            ("MQTT echo, bare packets, QoS 0", Way::echo("echo-bare", Qos::AtMostOnce)),
            (WITH_DBUS, Way::echo("echo-dbus", Qos::AtLeastOnce)),
            (WITH_PTY, Way::echo("echo-pty", Qos::AtLeastOnce)),
        ];
        let ways = self.both.ways();
        let mut kinds = Kinds::default();
        let end = now() + lasts;
        for round in 0.. {
            // Once through everything before anything counts.
            let counts = round > 0;
            for (name, way) in echoes.iter().chain(&ways) {
                let measured = drive::alone(&mut self.caller, way, BATCH).await?;
                tally.add(&measured.tally);
                if counts {
                    kinds.add(name, &measured.times)?;
                }
            }
            for (name, times) in [(DBUS, self.dbus.alone(BATCH).await?), (PTY, self.line.alone(BATCH).await?)]
            {
                if counts {
                    kinds.add(name, &times)?;
                }
            }
            if counts && now() > end {
                break;
            }
        }
        Ok(kinds)
    }
}
