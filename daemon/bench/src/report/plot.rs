//! The findings as pictures.

mod axis;
mod chart;

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::{Findings, Place, Row};
use crate::gateway::{FLOOR, OPEN, THROUGH};
use crate::measure::float;
use crate::scale::GATEWAYS;
use axis::Axis;
use chart::{Bar, Chart, Line, bars, curves};

/// Writes those for which there is something to show.
pub(crate) fn plots(folder: &Path, place: &Place, findings: &Findings) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let below = format!("{}, {}", place.date, place.machine);
    let pictures = [
        ("latency.svg", latency(findings, &below)),
        ("load.svg", load(findings, &below)),
        ("floor.svg", floor(findings, &below)),
        ("gateways.svg", gateways(findings, &below)),
    ];
    for (name, picture) in pictures {
        if let Some(picture) = picture {
            let file = folder.join(name);
            fs::write(&file, picture).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(())
}

fn of<'a>(findings: &'a Findings, section: &'static str) -> impl Iterator<Item = &'a Row> {
    findings.rows.iter().filter(move |row| row.section == section)
}

/// Which part of the calls was done within which time.
fn latency(findings: &Findings, below: &str) -> Option<String> {
    let floor =
        of(findings, FLOOR).filter(|row| !row.name.contains("on its way") && !row.name.contains("QoS 0"));
    let lines: Vec<_> = floor
        .map(|row| (row, true))
        .chain(of(findings, THROUGH).map(|row| (row, false)))
        .map(|(row, dashed)| {
            // What fewer than ten calls have shown is chance.
            let shown = 1.0 - 10.0 / float(row.times.len());
            let points = row.times.curve().into_iter().filter(|(_, part)| *part <= shown);
            Line {
                name: kind(row).to_owned(),
                points: points.map(|(time, part)| (part, time)).collect(),
                dashed,
            }
        })
        .collect();
    let chart = Chart {
        title: "One call at a time: how many are done within which time",
        below,
        x: Axis::quantiles("part of all calls"),
        y: Axis::times("time"),
        lines,
    };
    curves(&chart)
}

/// Median and 99 % by calls a second.
fn load(findings: &Findings, below: &str) -> Option<String> {
    let rows: Vec<_> = of(findings, OPEN).collect();
    let mut names: Vec<&str> = Vec::new();
    for row in &rows {
        let name = kind(row);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let lines = names
        .iter()
        .flat_map(|name| {
            [("median", 0.5, false), ("99 %", 0.99, true)].map(|(word, quantile, dashed)| Line {
                name: format!("{name}, {word}"),
                points: rows
                    .iter()
                    .filter(|row| kind(row) == *name && row.times.tells(quantile))
                    .filter_map(|row| Some((row.load?, row.times.at(quantile))))
                    .collect(),
                dashed,
            })
        })
        .collect();
    let chart = Chart {
        title: "Open loop: time from when a call was to be sent, by calls a second",
        below,
        x: Axis::counts("calls a second, offered"),
        y: Axis::times("time"),
        lines,
    };
    curves(&chart)
}

const BARE: &str = "MQTT echo, bare packets";

fn kind(row: &Row) -> &str {
    let name = row.name.split_once(": ").map_or(row.name.as_str(), |(_, kind)| kind);
    // Which echo, the table says.
    if name.starts_with(BARE) { "bare echo" } else { name.split_once(',').map_or(name, |(name, _)| name) }
}

/// The parts beside the whole.
fn floor(findings: &Findings, below: &str) -> Option<String> {
    let median = |name: &str| {
        let mut rows = of(findings, FLOOR).chain(of(findings, THROUGH));
        rows.find(|row| row.name == name).map(|row| row.times.median())
    };
    let (echo, bare) = (median("MQTT echo, rumqttc, QoS 1")?, median("MQTT echo, bare packets, QoS 1")?);
    let (bus, line) = (median("D-Bus call")?, median("pty echo")?);
    let bar = |name: &str, parts: &[(&str, f64)]| Bar {
        name: name.into(),
        parts: parts.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect(),
    };
    let through = "through nowd";
    bars(
        "Medians of one call at a time: the bare parts, and the way through nowd",
        below,
        &[
            bar("floor", &[("bare echo", bare), ("D-Bus call", bus)]),
            bar("floor", &[("MQTT echo", echo), ("D-Bus call", bus)]),
            bar("D-Bus method", &[(through, median("D-Bus method")?)]),
            bar("floor", &[("bare echo", bare), ("pty echo", line)]),
            bar("floor", &[("MQTT echo", echo), ("pty echo", line)]),
            bar("serial method", &[(through, median("serial method")?)]),
            bar("floor", &[("bare echo", bare)]),
            bar("floor", &[("MQTT echo", echo)]),
            bar("simulated method", &[(through, median("simulated method")?)]),
        ],
    )
}

/// Median and 99 % by the number of gateways.
fn gateways(findings: &Findings, below: &str) -> Option<String> {
    let lines = [("median", 0.5, false), ("99 %", 0.99, true)].map(|(word, quantile, dashed)| Line {
        name: format!("simulated method, {word}"),
        points: of(findings, GATEWAYS).filter_map(|row| Some((row.load?, row.times.at(quantile)))).collect(),
        dashed,
    });
    let chart = Chart {
        title: "One call at a time, to many gateways in turns",
        below,
        x: Axis::counts("gateways at one broker"),
        y: Axis::times("time"),
        lines: lines.into(),
    };
    curves(&chart)
}
