//! The file with the counts that were agreed on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::ensure;
use serde::Deserialize;

use super::Made;
use crate::counts::Count;

const HEAD: &str = "# What a call costs the daemon: instructions in user space, and calls of the allocator. `.ci/run` fails where one of them\n\
                    # grows by more than its share. Written by\n\
                    #     .ci/bench --package --only counts --write-baseline daemon/bench/baseline.toml\n\
                    # docs/PERFORMANCE.md, \"Regression guard\", says when that is right.\n";

/// What was counted, of which program, and how much more is let through.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    pub(super) made: Made,
    pub(super) shares: Shares,
    pub(super) calls: BTreeMap<String, Count>,
}

/// By how much a count may grow, in per cent.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shares {
    pub(super) instructions: f64,
    pub(super) allocations: f64,
}

impl Default for Shares {
    /// Some times what differs between two runs of one program; docs/PERFORMANCE.md has the numbers.
    fn default() -> Self {
        Self { instructions: 5.0, allocations: 3.0 }
    }
}

impl Baseline {
    pub(crate) fn read(text: &str) -> anyhow::Result<Self> {
        let baseline: Self = toml::from_str(text).map_err(|error| {
            let lines = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map(|before| before.lines().count().max(1));
            let place = lines.map(|line| format!("line {line}: ")).unwrap_or_default();
            anyhow::anyhow!("{place}{}", error.message().lines().collect::<Vec<_>>().join(", "))
        })?;
        ensure!(!baseline.calls.is_empty(), "it has no call");
        let Shares { instructions, allocations } = baseline.shares;
        let mut numbers = vec![("shares".to_owned(), instructions, allocations)];
        let calls = baseline.calls.iter();
        numbers.extend(
            calls.map(|(name, count)| (format!("calls.{name:?}"), count.instructions, count.allocations)),
        );
        // Whatever is compared with nothing, or with what is no number, would pass.
        for (table, instructions, allocations) in numbers {
            for (key, number) in [("instructions", instructions), ("allocations", allocations)] {
                ensure!(
                    number.is_finite() && number > 0.0,
                    "`{key}` in [{table}] is {number}, and has to be above 0"
                );
            }
        }
        Ok(baseline)
    }

    /// As a file.
    pub(super) fn text(&self) -> String {
        let Self { made, shares, calls } = self;
        let mut text = format!("{HEAD}\n[made]\n");
        for (key, value) in made.facts() {
            writeln!(text, "{key} = {value:?}").unwrap_or_default();
        }
        let Shares { instructions, allocations } = shares;
        let says = "# In per cent. Changed by hand only.";
        write!(text, "\n{says}\n[shares]\ninstructions = {instructions}\nallocations = {allocations}\n")
            .unwrap_or_default();
        for (name, Count { instructions, allocations }) in calls {
            write!(
                text,
                "\n[calls.{name:?}]\ninstructions = {instructions:.0}\nallocations = {allocations:.1}\n"
            )
            .unwrap_or_default();
        }
        text
    }
}
