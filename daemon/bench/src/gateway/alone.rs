//! One call under way at a time: the ratios that are promised.

use std::collections::BTreeMap;

use nowd_link::Qos;

use super::Both;
use crate::Effort;
use crate::bed::Bed;
use crate::calls::Way;
use crate::drive;
use crate::floor::{Dbus, Line};
use crate::measure::{Times, median, now};
use crate::report::{Findings, Target};

/// So many of each kind before the next kind's turn.
const BATCH: u32 = 20;
pub(crate) const FLOOR: &str = "the floor, one at a time";
pub(crate) const THROUGH: &str = "through a gateway, one at a time";

const ECHO: &str = "MQTT echo, rumqttc, QoS 1";
const BARE: &str = "MQTT echo, bare packets, QoS 1";
const DBUS: &str = "D-Bus call";
const PTY: &str = "pty echo";
const WITH_DBUS: &str = "bare echo with a D-Bus call on its way";
const WITH_PTY: &str = "bare echo with a pty echo on its way";

/// Times of each kind, and the median of each round.
#[derive(Default)]
struct Kinds(BTreeMap<&'static str, (Option<Times>, Vec<f64>)>);

impl Kinds {
    fn add(&mut self, name: &'static str, times: &Times) -> anyhow::Result<()> {
        let (all, rounds) = self.0.entry(name).or_default();
        rounds.push(times.median());
        match all {
            Some(all) => all.add(times)?,
            None => *all = Some(times.clone()),
        }
        Ok(())
    }

    fn median(&self, name: &str) -> f64 {
        let times = self.0.get(name).and_then(|(all, _)| all.as_ref());
        times.map(Times::median).unwrap_or_default()
    }

    /// The ratio of one kind to the sum of others, round by round, in ten parts of the run: a batch alone is too short.
    fn rounds(&self, name: &str, floor: &[&str]) -> Vec<f64> {
        let part = |name: &str, at: usize, of: usize| -> f64 {
            let rounds = self.0.get(name).map(|(_, rounds)| rounds.as_slice()).unwrap_or_default();
            let (from, to) = (rounds.len() * at / of, rounds.len() * (at + 1) / of);
            rounds.get(from..to).and_then(median).unwrap_or_default()
        };
        let parts = 10.min(self.0.get(name).map_or(0, |(_, rounds)| rounds.len()));
        (0..parts)
            .map(|at| part(name, at, parts) / floor.iter().map(|name| part(name, at, parts)).sum::<f64>())
            .collect()
    }

    fn target(&self, says: &'static str, name: &str, floor: &[&str], bound: f64) -> Target {
        let value = self.median(name) / floor.iter().map(|name| self.median(name)).sum::<f64>();
        Target::at_most(says, value, bound).spread(&self.rounds(name, floor))
    }
}

/// Measures everything in turns.
pub(crate) async fn alone(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let mut caller = bed.caller().await?;
    let both = Both::start(bed, &mut caller).await?;
    let (dbus, line) = (Dbus::open(&bed.bus()).await?, Line::open(&bed.floor_line())?);
    let echoes = [
        (ECHO, Way::echo("echo-rumqttc", Qos::AtLeastOnce)),
        ("MQTT echo, rumqttc, QoS 0", Way::echo("echo-rumqttc", Qos::AtMostOnce)),
        (BARE, Way::echo("echo-bare", Qos::AtLeastOnce)),
        ("MQTT echo, bare packets, QoS 0", Way::echo("echo-bare", Qos::AtMostOnce)),
        (WITH_DBUS, Way::echo("echo-dbus", Qos::AtLeastOnce)),
        (WITH_PTY, Way::echo("echo-pty", Qos::AtLeastOnce)),
    ];
    let ways = both.ways();
    let mut kinds = Kinds::default();
    let end = now() + effort.alone();
    for round in 0.. {
        // Once through everything before anything counts.
        let counts = round > 0;
        for (name, way) in echoes.iter().chain(&ways) {
            let measured = drive::alone(&mut caller, way, BATCH).await?;
            findings.tally.add(&measured.tally);
            if counts {
                kinds.add(name, &measured.times)?;
            }
        }
        for (name, times) in [(DBUS, dbus.alone(BATCH).await?), (PTY, line.alone(BATCH).await?)] {
            if counts {
                kinds.add(name, &times)?;
            }
        }
        if counts && now() > end {
            break;
        }
    }
    let floor = echoes.iter().map(|(name, _)| *name).chain([DBUS, PTY]).map(|name| (FLOOR, name));
    for (section, name) in floor.chain(ways.iter().map(|(name, _)| (THROUGH, *name))) {
        if let Some((Some(times), _)) = kinds.0.get(name) {
            findings.row(section, name, times);
        }
    }
    findings.targets.extend([
        kinds.target("a D-Bus method / (MQTT echo + D-Bus call)", "D-Bus method", &[ECHO, DBUS], 1.20),
        kinds.target("a serial method / (MQTT echo + pty echo)", "serial method", &[ECHO, PTY], 1.25),
    ]);
    for (says, name, floor) in [
        ("a D-Bus method / (bare echo + D-Bus call)", "D-Bus method", &[BARE, DBUS][..]),
        ("a serial method / (bare echo + pty echo)", "serial method", &[BARE, PTY]),
        ("a D-Bus method / bare echo with a D-Bus call on its way", "D-Bus method", &[WITH_DBUS]),
        ("a serial method / bare echo with a pty echo on its way", "serial method", &[WITH_PTY]),
        ("a simulated method / MQTT echo", "simulated method", &[ECHO]),
        ("isolated / in process", "isolated simulated method", &["simulated method"]),
    ] {
        let value = kinds.median(name) / floor.iter().map(|name| kinds.median(name)).sum::<f64>();
        findings.fact("ratios beside the promised ones", says, value, "");
    }
    Ok(())
}
