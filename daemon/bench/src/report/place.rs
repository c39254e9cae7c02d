//! Where and when it was measured: the class of the machine, and nothing that names it.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use super::Place;

impl Place {
    pub(crate) fn here(quick: bool) -> anyhow::Result<Self> {
        let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().context("no command `date`")?;
        let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
        let hypervisor =
            processors.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = kernel.trim().split(['-', '+']).next().unwrap_or_default().to_owned();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory =
            memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
        let memory: u64 = memory.and_then(|kibibytes| kibibytes.parse().ok()).unwrap_or_default();
        let kind = if hypervisor { "virtual machine" } else { "machine" };
        let machine =
            format!("{kind} with {cores} cores ({model}), {} GiB, Linux {kernel}", memory.div_ceil(1 << 20));
        Ok(Self { date, machine, quick })
    }
}
