//! Counts against the baseline: what grew, what shrank, and what cannot be said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::{Baseline, Made};
use crate::counts::Count;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing grew by more than its share.
    Kept,
    /// Something did, or was not counted, or is not in the baseline.
    Broken,
    /// These counts and the baseline's are of different worlds.
    NotCompared,
}

/// Why these counts and the baseline's cannot be compared, where that is so. Another profile is a mistake of whoever asks: the
/// right one can be built anywhere where the architecture is right.
pub(crate) fn apart(baseline: &Baseline, made: &Made) -> Option<(Verdict, String)> {
    let facts = baseline.made.facts().into_iter().zip(made.facts());
    let mut others = facts.filter(|(before, now)| before != now);
    others.find_map(|((fact, before), (_, now))| {
        let (verdict, word, told) = match fact {
            "architecture" => (Verdict::NotCompared, "NOT COMPARED", ""),
            "profile" => (Verdict::Broken, "FAILED", ", which is the name of its folder,"),
            _ => return None,
        };
        let why = format!(
            "{word}: the program's {fact}{told} is {now}, the baseline's {before}; `.ci/bench --package` measures the one to compare"
        );
        Some((verdict, why))
    })
}

/// The verdict, and the words and columns that say why.
pub(crate) fn compare(
    baseline: &Baseline,
    made: &Made,
    counts: &BTreeMap<String, Count>,
    file: &Path,
) -> (Verdict, String) {
    if let Some((verdict, why)) = apart(baseline, made) {
        return (verdict, format!("{why}\n"));
    }
    let file = file.display();
    let mut text = format!("what a call costs, against {file}\n");
    let mut says = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap_or_default();
    let facts = baseline.made.facts().into_iter().zip(made.facts());
    let others: Vec<_> = facts.filter(|(before, now)| before != now).collect();
    let columns = ["now", "baseline", "change", "allowed"].map(|name| format!("{name:>11}")).concat();
    says(format_args!("  {:<34}{columns}", ""));
    let (mut grown, mut shrunk, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for name in baseline.calls.keys().chain(counts.keys()).collect::<BTreeSet<_>>() {
        let (before, now) = (baseline.calls.get(name), counts.get(name));
        let (Some(before), Some(now)) = (before, now) else {
            let where_not = if before.is_none() { "not in the baseline" } else { "NOT COUNTED" };
            says(format_args!("  {name:<34}  {where_not}"));
            missing.push(format!("{name}: {where_not}"));
            continue;
        };
        for (what, now, before, share) in [
            ("instructions", now.instructions, before.instructions, baseline.shares.instructions),
            ("allocations", now.allocations, before.allocations, baseline.shares.allocations),
        ] {
            let change = (now / before - 1.0) * 100.0;
            let row = format!("{name}: {what}");
            let word = if !change.is_finite() || change > share {
                grown.push(format!("{row} grew by {change:.1} %: {now:.1} in place of {before:.1}"));
                "GREW"
            } else if change < -share {
                shrunk.push(row.clone());
                "shrank"
            } else {
                ""
            };
            says(format_args!("  {row:<34}{now:>11.1}{before:>11.1}{change:>+9.1} %{share:>+9.1} %  {word}"));
        }
    }
    for ((fact, before), (_, now)) in &others {
        says(format_args!("another {fact}: {now}; the baseline was written with {before}"));
    }
    let accept = format!(
        "to agree to these counts: `.ci/bench --package --only counts --write-baseline {file}`, and the reason in the commit"
    );
    if grown.is_empty() && missing.is_empty() {
        if !shrunk.is_empty() {
            says(format_args!("shrank by more than the share: {}; hold on to it", shrunk.join(", ")));
            says(format_args!("{accept}"));
        }
        says(format_args!("no count grew by more than its share"));
        return (Verdict::Kept, text);
    }
    for row in grown.iter().chain(&missing) {
        says(format_args!("FAILED: {row}"));
    }
    if !others.is_empty() {
        let others: Vec<_> = others.iter().map(|((fact, _), _)| *fact).collect();
        says(format_args!(
            "another {} may be all of the reason: count the commit of the baseline with the same, and compare",
            others.join(" and ")
        ));
    }
    says(format_args!("{accept}"));
    (Verdict::Broken, text)
}

#[cfg(test)]
mod tests;
