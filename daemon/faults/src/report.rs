//! The table, or the same as JSON. Decides nothing but whether a row is well.

use serde_json::json;

use crate::faults::Fault;
use crate::judge::{Judged, Tally};

/// How many wrong things of one fault are told.
pub(crate) const MOST_WRONG: usize = 12;

/// What came of one fault.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: &'static Fault,
    pub(crate) tally: Tally,
    /// Calls under way while things were broken.
    pub(crate) struck: usize,
    pub(crate) notes: Vec<String>,
    /// What makes it fail besides the three columns.
    pub(crate) failures: Vec<String>,
}

impl Row {
    /// A fault that could not be played to its end.
    pub(crate) fn broken(fault: &'static Fault, why: String) -> Self {
        Self { fault, tally: Tally::default(), struck: 0, notes: Vec::new(), failures: vec![why] }
    }

    /// Whether no promise was broken, and the fault was really exercised.
    pub(crate) fn is_well(&self) -> bool {
        self.failures.is_empty() && (self.tally.is_clean() || self.fault.judged == Judged::Nothing)
    }

    fn verdict(&self) -> &'static str {
        match (self.is_well(), self.fault.judged) {
            (false, _) => "FAILED",
            (true, Judged::Nothing) => "shown",
            (true, Judged::All | Judged::NotUnchecked) => "ok",
        }
    }
}

/// What faults there are.
pub(crate) fn list(faults: &[&Fault]) {
    for fault in faults {
        println!("{:24} {}", fault.name, fault.about);
    }
}

/// A fault has ended.
pub(crate) fn progress(row: &Row) {
    eprintln!("{:24} {}", row.fault.name, row.verdict());
}

/// All of it, for people.
pub(crate) fn table(rows: &[Row], took_us: u64) {
    println!(
        "{:24} {:>6} {:>6} {:>6} {:>8} {:>8} {:>6} {:>6} {:>8} | {:>4} {:>6} {:>11} |",
        "fault",
        "calls",
        "struck",
        "acts",
        "in time",
        "executed",
        "not",
        "unkn.",
        "closest",
        "late",
        "double",
        "contradict"
    );
    for row in rows {
        let Tally { calls, acts, in_time, executed, not_executed, unknown, .. } = row.tally;
        let Tally { late, double, contradictions, closest, .. } = row.tally;
        let closest = closest.map_or("-".into(), |closest| format!("{} ms", closest / 1_000));
        println!(
            "{:24} {calls:>6} {:>6} {acts:>6} {in_time:>8} {executed:>8} {not_executed:>6} {unknown:>6} {closest:>8} | \
             {late:>4} {double:>6} {contradictions:>11} | {}",
            row.fault.name,
            row.struck,
            row.verdict()
        );
    }
    for row in rows {
        for note in &row.notes {
            println!("{}: {note}", row.fault.name);
        }
        for failure in &row.failures {
            println!("{}: FAILED: {failure}", row.fault.name);
        }
        for (number, what) in row.tally.wrong.iter().take(MOST_WRONG) {
            println!("{}: call {number} {what}", row.fault.name);
        }
        if row.tally.wrong.len() > MOST_WRONG {
            println!("{}: and {} more", row.fault.name, row.tally.wrong.len() - MOST_WRONG);
        }
    }
    let failed = rows.iter().filter(|row| !row.is_well()).count();
    let seconds = took_us / 1_000_000;
    let stall = rows.iter().map(|row| row.tally.stall).max().unwrap_or_default() / 1_000;
    println!("the machine kept a process waiting for {stall} ms at most");
    if failed == 0 {
        println!("all is well: {} faults in {seconds} s", rows.len());
    } else {
        println!("{failed} of {} faults FAILED, in {seconds} s", rows.len());
    }
}

/// All of it, for programs: one object for each fault.
pub(crate) fn json(rows: &[Row]) -> anyhow::Result<()> {
    for row in rows {
        let tally = &row.tally;
        let object = json!({
            "fault": row.fault.name,
            "verdict": row.verdict(),
            "calls": tally.calls,
            "struck": row.struck,
            "actuations": tally.acts,
            "in_time": tally.in_time,
            "executed": tally.executed,
            "not_executed": tally.not_executed,
            "unknown": tally.unknown,
            "statuses": tally.statuses,
            "closest_us": tally.closest,
            "machine_stalled_us": tally.stall,
            "late": tally.late,
            "double": tally.double,
            "contradictions": tally.contradictions,
            "notes": row.notes,
            "failures": row.failures,
            "wrong": tally.wrong.iter().map(|(number, what)| format!("call {number} {what}")).collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string(&object)?);
    }
    Ok(())
}
