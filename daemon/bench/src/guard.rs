//! The regression guard: what a call costs the daemon, against what was agreed on, in a file that is part of the repository.
//!
//! It judges counts, never times: they are the same on a busy machine.

mod baseline;
mod compare;
mod program;

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::report::Findings;

pub(crate) use compare::Verdict;

use baseline::{Baseline, Shares};
use program::Made;

/// The baseline, and the program that is held against it.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    file: &'a Path,
    baseline: Baseline,
    made: Made,
}

impl<'a> Guard<'a> {
    pub(crate) fn open(file: &'a Path, program: &Path) -> anyhow::Result<Self> {
        Ok(Self { file, baseline: read(file)?, made: Made::of(program)? })
    }

    /// Why nothing can be compared, where that is so: nothing has to be measured to know it.
    pub(crate) fn apart(&self) -> Option<(Verdict, String)> {
        compare::apart(&self.baseline, &self.made)
    }

    /// The verdict, told.
    pub(crate) fn judge(&self, findings: &Findings) -> Verdict {
        let (verdict, says) = compare::compare(&self.baseline, &self.made, &findings.counts, self.file);
        print!("\n{says}");
        verdict
    }
}

/// Writes what was counted as what is agreed on from now on. The shares stay as they are in the file that is there.
pub(crate) fn write(file: &Path, program: &Path, findings: &Findings) -> anyhow::Result<()> {
    anyhow::ensure!(!findings.counts.is_empty(), "nothing was counted, so there is no baseline to write");
    let shares = if file.exists() { read(file)?.shares } else { Shares::default() };
    let baseline = Baseline { made: Made::of(program)?, shares, calls: findings.counts.clone() };
    fs::write(file, baseline.text()).with_context(|| format!("cannot write {}", file.display()))?;
    println!("\nthe baseline is written: {}", file.display());
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Baseline> {
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| {
        format!("the baseline {name} cannot be read (`.ci/bench --package --only counts --write-baseline {name}` writes one)")
    })?;
    Baseline::read(&text).with_context(|| format!("{name} is no baseline"))
}
