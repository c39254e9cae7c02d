//! The findings in words and columns, for people.

use std::fmt::{self, Write as _};

use super::{Bound, Findings, Place, Row};

/// The whole report.
pub(crate) fn table(place: &Place, findings: &Findings) -> String {
    let mut text = format!("{}, {}\n", place.date, place.machine);
    if place.quick {
        text.push_str("a quick look: too short for numbers to be quoted\n");
    }
    for section in &findings.failed {
        line(&mut text, format_args!("{section:?} FAILED: what follows of it is not whole"));
    }
    let mut sections: Vec<&str> = Vec::new();
    let named = findings.rows.iter().map(|row| row.section);
    for section in named.chain(findings.facts.iter().map(|fact| fact.section)) {
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    for section in sections {
        line(&mut text, format_args!("\n{section}"));
        let rows: Vec<_> = findings.rows.iter().filter(|row| row.section == section).collect();
        if !rows.is_empty() {
            let columns = ["calls", "median", "90 %", "99 %", "99.9 %", "a second"];
            line(
                &mut text,
                format_args!("  {:<46}{}", "times in us", columns.map(|name| format!("{name:>10}")).concat()),
            );
        }
        for row in rows {
            line(&mut text, format_args!("{}", Columns(row)));
        }
        for fact in findings.facts.iter().filter(|fact| fact.section == section) {
            line(&mut text, format_args!("  {:<66}{:>10.2} {}", fact.name, fact.value, fact.unit));
        }
    }
    tally(&mut text, findings);
    targets(&mut text, findings);
    text
}

struct Columns<'a>(&'a Row);

impl fmt::Display for Columns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { name, times, rate, note, .. } = self.0;
        write!(f, "  {name:<46}{:>10}", times.len())?;
        for quantile in [0.5, 0.9, 0.99, 0.999] {
            if quantile <= 0.5 || times.tells(quantile) {
                write!(f, "{:>10.1}", times.at(quantile))?;
            } else {
                write!(f, "{:>10}", "-")?;
            }
        }
        match rate {
            Some(rate) => write!(f, "{rate:>10.0}")?,
            None => write!(f, "{:>10}", "")?,
        }
        if note.is_empty() { Ok(()) } else { write!(f, "  {note}") }
    }
}

fn tally(text: &mut String, findings: &Findings) {
    let tally = &findings.tally;
    line(
        text,
        format_args!(
            "\nof all {} calls and echoes: calls lost {}, echoes lost {}, misrouted {}, answered twice {}, answered wrongly {}; \
             answers heard after the deadline {}",
            tally.sent, tally.lost, tally.echoes_lost, tally.misrouted, tally.twice, tally.wrong, tally.late
        ),
    );
    let statuses: Vec<_> = tally.statuses.iter().map(|(status, count)| format!("{count} {status}")).collect();
    line(text, format_args!("what gateways answered: {}", statuses.join(", ")));
}

fn targets(text: &mut String, findings: &Findings) {
    if findings.targets.is_empty() {
        return;
    }
    line(
        text,
        format_args!(
            "\n{:<78}{:>9}  {:>10}  {:<8}least and most of its sets",
            "targets", "measured", "target", ""
        ),
    );
    for target in &findings.targets {
        let bound = match target.bound {
            Bound::AtMost(bound) => format!("<= {bound:.3}"),
            Bound::AtLeast(bound) => format!(">= {bound:.3}"),
        };
        let met = if target.met() { "met" } else { "MISSED" };
        let spread = target.spread.map(|(least, most)| format!("{least:.3} to {most:.3}"));
        let spread = spread.unwrap_or_default();
        line(text, format_args!("{:<78}{:>9.3}  {bound:>10}  {met:<7} {spread}", target.name, target.value));
    }
}

fn line(text: &mut String, what: fmt::Arguments<'_>) {
    writeln!(text, "{what}").unwrap_or_default();
}
