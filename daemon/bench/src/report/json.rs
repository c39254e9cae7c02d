//! The findings for programs.

use serde_json::{Value, json};

use super::{Bound, Fact, Findings, Place, Row, Target};

/// One object; times are in microseconds.
pub(crate) fn json(place: &Place, findings: &Findings) -> Value {
    let tally = &findings.tally;
    json!({
        "date": place.date,
        "machine": place.machine,
        "quick": place.quick,
        "failed": findings.failed.iter().map(|section| format!("{section:?}")).collect::<Vec<_>>(),
        "times_us": findings.rows.iter().map(row).collect::<Vec<_>>(),
        "facts": findings.facts.iter().map(fact).collect::<Vec<_>>(),
        "targets": findings.targets.iter().map(target).collect::<Vec<_>>(),
        "calls": {
            "sent": tally.sent,
            "lost": tally.lost,
            "echoes_lost": tally.echoes_lost,
            "misrouted": tally.misrouted,
            "twice": tally.twice,
            "wrong": tally.wrong,
            "late": tally.late,
            "statuses": tally.statuses,
        },
    })
}

fn row(row: &Row) -> Value {
    let Row { section, name, times, rate, load, note } = row;
    json!({
        "section": section,
        "name": name,
        "count": times.len(),
        "mean": times.mean(),
        "p50": times.median(),
        "p90": times.at(0.9),
        "p99": times.at(0.99),
        "p999": times.at(0.999),
        "max": times.max(),
        "rate": rate,
        "load": load,
        "note": note,
        "curve": times.curve(),
    })
}

fn fact(fact: &Fact) -> Value {
    let Fact { section, name, value, unit } = fact;
    json!({ "section": section, "name": name, "value": value, "unit": unit })
}

fn target(target: &Target) -> Value {
    let (relation, bound) = match target.bound {
        Bound::AtMost(bound) => ("<=", bound),
        Bound::AtLeast(bound) => (">=", bound),
    };
    json!({
        "name": target.name,
        "value": target.value,
        "relation": relation,
        "bound": bound,
        "met": target.met(),
        "sets": target.spread,
    })
}
