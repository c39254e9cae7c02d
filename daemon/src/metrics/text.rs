//! Prometheus' text format, version 0.0.4, as `node_exporter`'s textfile collector reads it. Knows no metric.
//!
//! A small writer and no crate: what there is keeps registries of counters for a listener, or writes `OpenMetrics`, whose
//! counters are named otherwise (decision 34).

use std::fmt::{Display, Write};

/// What becomes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, and begins at 0 when the process does. Its name ends in `_total`.
    Counter,
    Gauge,
    Histogram,
}

/// The text so far. Every sample has the label `target`, so that two gateways on one machine do not say different things
/// under one name.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    target: String,
}

/// One name, and its samples.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut Text,
    name: &'static str,
}

impl Text {
    pub(super) fn new(target: &str) -> Self {
        Self { text: String::with_capacity(16 * 1024), target: escaped(target) }
    }

    /// Begins the metric of this name: `help` is one line for people.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a text does not fail, here and below.
        write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").ok();
        Family { text: self, name }
    }

    /// A metric of one sample that may be unknown, and is left out then.
    pub(super) fn one(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
        value: Option<impl Display>,
    ) {
        if let Some(value) = value {
            self.family(name, kind, help).sample(&[], value);
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    /// A sample of a histogram, whose names go on.
    pub(super) fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let Self { text: Text { text, target }, name } = self;
        write!(text, "{name}{suffix}{{target=\"{target}\"").ok();
        for (label, of) in labels {
            write!(text, ",{label}=\"{}\"", escaped(of)).ok();
        }
        writeln!(text, "}} {value}").ok();
    }
}

/// Microseconds as seconds, exactly.
pub(super) fn seconds(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{part:06}").trim_end_matches('0').to_owned()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_node_exporter_reads_it() {
        let mut text = Text::new("gw\"1\\\n");
        let mut family = text.family("a_total", Kind::Counter, "What\\is\ncounted.");
        family.sample(&[], 1);
        family.sample(&[("of", "\"b\"\n")], u64::MAX);
        text.one("b", Kind::Gauge, "A number.", Some("0.5"));
        text.one("c", Kind::Gauge, "Unknown.", None::<u64>);
        let mut family = text.family("d_seconds", Kind::Histogram, "Times.");
        family.part("_bucket", &[("le", "+Inf")], 0);
        let expected = "# HELP a_total What\\\\is\\ncounted.\n# TYPE a_total counter\n\
                        a_total{target=\"gw\\\"1\\\\\\n\"} 1\n\
                        a_total{target=\"gw\\\"1\\\\\\n\",of=\"\\\"b\\\"\\n\"} 18446744073709551615\n\
                        # HELP b A number.\n# TYPE b gauge\nb{target=\"gw\\\"1\\\\\\n\"} 0.5\n\
                        # HELP d_seconds Times.\n# TYPE d_seconds histogram\n\
                        d_seconds_bucket{target=\"gw\\\"1\\\\\\n\",le=\"+Inf\"} 0\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn seconds_are_exact() {
        for (micros, expected) in [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (60_000_000, "60")] {
            assert_eq!(seconds(micros), expected);
        }
    }
}
