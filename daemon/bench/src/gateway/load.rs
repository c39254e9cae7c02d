//! More than one call under way, calls at a steady pace after idle gaps, and more calls than can be served.
//!
//! A gateway remembers the ids of a minute, 131,072 at most, so each measurement has a gateway of its own.

use std::slice;

use anyhow::ensure;
use nowd_link::Qos;

use super::WARM_UP;
use crate::Effort;
use crate::awake::{Awake, KEPT};
use crate::bed::{Bed, Maps};
use crate::calls::{Make, Way};
use crate::drive::{self, Measured, Since, greet};
use crate::floor::{Dbus, Line};
use crate::footprint::Others;
use crate::measure::{SECOND, Times, float, median};
use crate::report::{Findings, Load, Target};

const FLIGHT: &str = "so many calls under way at once";
const PACED: &str = "50 calls a second, with idle gaps; times count from when each was sent";
pub(crate) const OPEN: &str =
    "open loop: so many calls a second, whatever comes back; times count from when each was to be sent";
const BEYOND: &str = "beyond saturation: a device that takes 5 ms, 16 calls may wait, budget 500 ms";

/// Calls of one measurement at most: what a gateway can remember, and some room.
const MOST: u64 = 100_000;
/// The longest time until a call is refused "at once"; in nanoseconds: a tenth of its budget.
const AT_ONCE: u64 = SECOND / 20;
/// The pace of which a quantile is promised.
const PACE: u64 = 50;
/// Of one kind in a row, of what takes turns.
const TURN: u64 = 5 * SECOND;
/// Calls a second, from a little to more than small machines can do.
const RATES: [u64; 9] = [100, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000];
/// Calls a second to a device that can do 200.
const BEYOND_RATES: [u64; 3] = [150, 250, 1_000];

/// The ways through nowd, each with the maps that it needs.
const WAYS: [(&str, Maps, Make); 4] = [
    ("D-Bus method", Maps::All, Way::dbus),
    ("serial method", Maps::All, Way::serial),
    ("simulated method", Maps::All, Way::simulator),
    ("isolated simulated method", Maps::Isolated, Way::simulator),
];

/// Calls under way.
const WIDTHS: [u32; 4] = [1, 10, 50, 200];

fn echo() -> Way {
    Way::echo("echo-rumqttc", Qos::AtLeastOnce)
}

fn add(all: &mut Option<Measured>, more: Measured) -> anyhow::Result<()> {
    match all {
        Some(all) => all.add(&more)?,
        None => *all = Some(more),
    }
    Ok(())
}

/// What was measured of one kind with so many calls under way, of one set of processes after the other.
#[derive(Default)]
struct Flights {
    whole: Option<Measured>,
    rates: Vec<f64>,
    /// Of the echo, measured just before each.
    floors: Vec<f64>,
}

impl Flights {
    fn add(&mut self, measured: Measured, floor: f64) -> anyhow::Result<()> {
        self.rates.push(measured.rate());
        self.floors.push(floor);
        add(&mut self.whole, measured)
    }

    /// Of all that was executed in all sets, each of which has the same time: a median jumps where half of them are slower.
    fn ratio(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.floors.iter().sum::<f64>()
    }

    fn ratios(&self) -> Vec<f64> {
        self.rates.iter().zip(&self.floors).map(|(rate, floor)| rate / floor).collect()
    }

    fn tell(&self, name: String, width: u32, findings: &mut Findings) {
        if let Some(measured) = &self.whole {
            let load = Load { load: width.into(), rate: median(&self.rates).unwrap_or_default() };
            findings.loaded(FLIGHT, name, measured, load);
        }
    }
}

/// 1, 10, 50, 200 calls under way.
pub(crate) async fn flight(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let awake = Awake::held();
    findings.fact(FLIGHT, KEPT, awake.told(), "");
    let sets = u64::from(effort.sets());
    let (part, most) = (effort.flight() / sets, MOST / sets);
    let mut all: [(Flights, [Flights; 4]); 4] = Default::default();
    for _ in 0..sets {
        bed.anew().await?;
        let mut caller = bed.caller().await?;
        for (width, (floor, through)) in WIDTHS.into_iter().zip(&mut all) {
            for ((_, maps, make), flights) in WAYS.into_iter().zip(through) {
                let gateway = bed.gateway(maps).await?;
                // A serial line takes one call after the other, so the last of 200 waits for 199.
                let way = make(&gateway.target).within(10_000);
                greet(&mut caller, &way, WARM_UP).await?;
                let bare = drive::flight(&mut caller, &[echo()], width, part, most).await?;
                let measured = drive::flight(&mut caller, slice::from_ref(&way), width, part, most).await?;
                bare.echoes_whole()?;
                let rate = bare.rate();
                floor.add(bare, rate)?;
                flights.add(measured, rate)?;
            }
        }
    }
    for (width, (floor, through)) in WIDTHS.into_iter().zip(&all) {
        for ((name, maps, make), flights) in WAYS.into_iter().zip(through) {
            flights.tell(format!("{width}: {name}"), width, findings);
            if width == 200 {
                let ratio = flights.ratio();
                let says = format!("{name}: calls a second / echoes a second, 200 under way");
                findings.fact("ratios beside the promised ones", says, ratio, "");
                if make("").method == "sim.set" && maps == Maps::All {
                    let says = "calls a second / echoes a second, 200 under way (simulated method)";
                    findings.targets.push(Target::at_least(says, ratio, 0.5).spread(&flights.ratios()));
                }
            }
        }
        floor.tell(format!("{width}: MQTT echo, rumqttc, QoS 1"), width, findings);
    }
    Ok(())
}

/// A kind at a pace, of one set of processes after the other.
#[derive(Default)]
struct Paced {
    whole: Option<Measured>,
    /// Of each set.
    tails: Vec<f64>,
}

impl Paced {
    fn add(&mut self, of_a_set: Measured) -> anyhow::Result<()> {
        let times = &of_a_set.times;
        self.tails.push(times.at(0.99) / times.median());
        add(&mut self.whole, of_a_set)
    }

    fn tell(&self, name: &str, findings: &mut Findings) {
        if let Some(measured) = &self.whole {
            let load = Load { load: float(PACE), rate: measured.rate() };
            findings.loaded(PACED, name, measured, load);
        }
    }

    /// The 99 % to the median. Of the sets, the middle one: what disturbs the machine for a while disturbs one of them.
    fn tail(&self) -> f64 {
        median(&self.tails).unwrap_or_default()
    }

    /// The median of all calls.
    fn median(&self) -> f64 {
        self.whole.as_ref().map_or(f64::NAN, |measured| measured.times.median())
    }
}

/// One call every 20 ms: whoever serves it was asleep.
pub(crate) async fn paced(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let (mut bus_times, mut line_times) = (Times::new()?, Times::new()?);
    let mut all: [Paced; 3] = Default::default();
    let before = Others::look()?;
    for _ in 0..effort.minutes() {
        bed.anew().await?;
        let [bus, line] = minute(bed, effort.paced(), &mut all).await?;
        bus_times.add(&bus)?;
        line_times.add(&line)?;
    }
    before.tell(PACED, findings)?;
    findings.row(PACED, "D-Bus call", &bus_times);
    findings.row(PACED, "pty echo", &line_times);
    let [echo, dbus, serial] = &all;
    echo.tell("MQTT echo, rumqttc, QoS 1", findings);
    dbus.tell("D-Bus method", findings);
    serial.tell("serial method", findings);
    for (says, ratio) in [
        (
            "D-Bus method / (MQTT echo + D-Bus call), 50 a second",
            dbus.median() / (echo.median() + bus_times.median()),
        ),
        (
            "serial method / (MQTT echo + pty echo), 50 a second",
            serial.median() / (echo.median() + line_times.median()),
        ),
        ("99 % / median at 50 echoes a second", echo.tail()),
    ] {
        findings.fact("ratios beside the promised ones", says, ratio, "");
    }
    for (says, paced) in [
        ("99 % / median at 50 calls a second: D-Bus method", dbus),
        ("99 % / median at 50 calls a second: serial method", serial),
    ] {
        findings.targets.push(Target::at_most(says, paced.tail(), 4.0).spread(&paced.tails));
    }
    Ok(())
}

/// Calls through a gateway for so many nanoseconds of each kind, and less of the floor, in turns; adds to `all`
/// (echo, D-Bus, serial), and gives the bare calls at the bus and at the line.
async fn minute(bed: &mut Bed, lasts: u64, all: &mut [Paced; 3]) -> anyhow::Result<[Times; 2]> {
    let mut caller = bed.caller().await?;
    let gateway = bed.gateway(Maps::DbusAndSerial).await?;
    let turns = lasts.div_ceil(TURN);
    let turn = lasts / turns;
    let ways = [(echo(), turn / 5), (Way::dbus(&gateway.target), turn), (Way::serial(&gateway.target), turn)];
    for (way, _) in &ways {
        greet(&mut caller, way, WARM_UP).await?;
    }
    let (dbus, line) = (Dbus::open(&bed.bus()).await?, Line::open(&bed.floor_line())?);
    let mut bare = [Times::new()?, Times::new()?];
    let mut through: [Option<Measured>; 3] = Default::default();
    for _ in 0..turns {
        let [bus_times, line_times] = &mut bare;
        bus_times.add(&dbus.paced(PACE, turn / 5).await?)?;
        line_times.add(&line.paced(PACE, turn / 5).await?)?;
        for ((way, turn), through) in ways.iter().zip(&mut through) {
            let measured = drive::open(&mut caller, way, PACE, *turn, Since::Sent).await?;
            measured.all_executed()?;
            add(through, measured)?;
        }
    }
    for (measured, all) in through.into_iter().flatten().zip(all) {
        all.add(measured)?;
    }
    Ok(bare)
}

/// Fixed rates, up to more than this machine can do; and a lane that is too slow for what it is asked.
pub(crate) async fn open(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let mut caller = bed.caller().await?;
    let ways: [(&str, Make); 3] =
        [("simulated method", Way::simulator), ("D-Bus method", Way::dbus), ("serial method", Way::serial)];
    for (name, make) in ways {
        for rate in RATES.into_iter().rev().step_by(effort.rates()).rev() {
            let gateway = bed.gateway(Maps::All).await?;
            let way = make(&gateway.target);
            greet(&mut caller, &way, WARM_UP).await?;
            let lasts = effort.load().min(MOST * SECOND / rate);
            let measured = drive::open(&mut caller, &way, rate, lasts, Since::Due).await?;
            let load = Load { load: float(rate), rate: measured.rate() };
            findings.loaded(OPEN, format!("{rate} a second: {name}"), &measured, load);
        }
    }
    for rate in RATES.into_iter().rev().step_by(effort.rates()).rev() {
        let lasts = effort.load().min(MOST * SECOND / rate);
        let measured = drive::open(&mut caller, &echo(), rate, lasts, Since::Due).await?;
        let load = Load { load: float(rate), rate: measured.rate() };
        findings.loaded(OPEN, format!("{rate} a second: MQTT echo, rumqttc, QoS 1"), &measured, load);
    }
    beyond(bed, effort, findings).await
}

/// What a slow device cannot do has to be refused at once, and what it is given has to be done in time.
async fn beyond(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let mut caller = bed.caller().await?;
    let (mut astray, mut slowest, mut busy, mut executed) = (0, 0.0_f64, 0, 0);
    for rate in BEYOND_RATES {
        let gateway = bed.gateway(Maps::All).await?;
        let way = Way::slow(&gateway.target).within(500);
        greet(&mut caller, &way, WARM_UP).await?;
        let measured = drive::open(&mut caller, &way, rate, effort.load(), Since::Due).await?;
        let tally = &measured.tally;
        astray += tally.sent - tally.of("ok") - tally.of("busy") + tally.late + measured.busy.beyond(AT_ONCE);
        busy += tally.of("busy");
        executed += tally.of("ok");
        if measured.busy.len() > 0 {
            slowest = slowest.max(measured.busy.at(0.99) / 1_000.0);
            let name = format!("{rate} a second: time until it said busy");
            findings.row(BEYOND, name, &measured.busy);
        }
        let load = Load { load: float(rate), rate: measured.rate() };
        findings.loaded(BEYOND, format!("{rate} a second: executed"), &measured, load);
    }
    ensure!(busy > 0 && executed > 0, "the device was asked for more than it can do, and nothing was busy");
    findings.fact(BEYOND, "calls that were refused as busy", float(busy), "");
    findings.fact(BEYOND, "99 % of those knew it within", slowest, "ms");
    let says = "beyond saturation of a lane: neither executed in time nor busy within 50 ms";
    findings.targets.push(Target::at_most(says, float(astray), 0.0));
    Ok(())
}
