//! What the kernel says of a process.

use std::fs;

use anyhow::Context as _;

use crate::measure::float;
use crate::report::Findings;

/// Counts since the process began, over all its threads that live; and its memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Resident, in bytes.
    pub(crate) resident: u64,
    /// The part of that which is pages of files, in bytes.
    pub(crate) of_files: u64,
    pub(crate) threads: u64,
    /// Context switches, of its own will and not.
    pub(crate) switches: u64,
    /// Time on a processor, in nanoseconds.
    pub(crate) processor: u64,
}

impl Usage {
    pub(crate) fn of(process: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
        let mut usage = Self {
            resident: field(&status, "VmRSS:") * 1024,
            of_files: field(&status, "RssFile:") * 1024,
            threads: field(&status, "Threads:"),
            ..Self::default()
        };
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?.path();
            let read = |name: &str| fs::read_to_string(thread.join(name)).unwrap_or_default();
            let status = read("status");
            usage.switches += field(&status, "voluntary_ctxt_switches:");
            usage.switches += field(&status, "nonvoluntary_ctxt_switches:");
            let scheduled = read("schedstat");
            usage.processor += scheduled.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        }
        Ok(usage)
    }
}

/// What some processes take of what is done meanwhile.
#[derive(Debug)]
pub(crate) struct Shares {
    parts: Vec<(&'static str, u32)>,
    /// Context switches, and nanoseconds on a processor.
    taken: Vec<(u64, u64)>,
    calls: u64,
}

impl Shares {
    pub(crate) fn new(parts: Vec<(&'static str, u32)>) -> Self {
        let taken = vec![(0, 0); parts.len()];
        Self { parts, taken, calls: 0 }
    }

    /// Others that do the same work, under the same names.
    pub(crate) fn follow(&mut self, parts: Vec<(&'static str, u32)>) {
        self.taken.resize(parts.len(), (0, 0));
        self.parts = parts;
    }

    /// To be looked at before, and given back after.
    pub(crate) fn look(&self) -> anyhow::Result<Vec<Usage>> {
        self.parts.iter().map(|(_, process)| Usage::of(*process)).collect()
    }

    /// So many calls were made since that look.
    pub(crate) fn add(&mut self, before: &[Usage], calls: u64) -> anyhow::Result<()> {
        let after = self.look()?;
        for ((switches, processor), (before, after)) in self.taken.iter_mut().zip(before.iter().zip(after)) {
            *switches += after.switches.saturating_sub(before.switches);
            *processor += after.processor.saturating_sub(before.processor);
        }
        self.calls += calls;
        Ok(())
    }

    pub(crate) fn tell(&self, section: &'static str, findings: &mut Findings) {
        let calls = float(self.calls);
        for ((name, _), (switches, processor)) in self.parts.iter().zip(&self.taken) {
            let processor = float(*processor) / 1_000.0 / calls;
            findings.fact(section, format!("{name}: processor time"), processor, "us");
            findings.fact(section, format!("{name}: context switches"), float(*switches) / calls, "");
        }
    }
}

/// A number that `/proc/PID/status` has under that name, or 0.
pub(super) fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
