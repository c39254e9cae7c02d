//! What this process takes of its machine. Waits for nothing but the kernel.

use std::fs;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// What is not known is left out.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Bytes.
    pub(super) resident: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_files: Option<usize>,
    /// Microseconds of processor time.
    pub(super) processor: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let processor = |usage: Usage| {
            let micros =
                usage.user_time().num_microseconds().saturating_add(usage.system_time().num_microseconds());
            u64::try_from(micros).ok()
        };
        Self {
            resident: field("VmRSS:").map(|kib| kib.saturating_mul(1024)),
            threads: field("Threads:"),
            // The one that looks is among them.
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1)),
            processor: getrusage(UsageWho::RUSAGE_SELF).ok().and_then(processor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_them_all() {
        let Process { resident, threads, open_files, processor } = Process::now();
        assert!(resident.unwrap() > 100_000 && threads.unwrap() >= 1);
        assert!(open_files.unwrap() >= 3 && processor.is_some());
    }
}
