//! What the kernel says of a process.

use std::fs;

use anyhow::Context as _;

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

fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
