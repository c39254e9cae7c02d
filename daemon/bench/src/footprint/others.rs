//! What else this machine did meanwhile: of calls at a pace, a hundredth is slowed by whoever has the processor just then.

use std::collections::BTreeMap;
use std::fs;

use super::usage::{Usage, field};
use crate::measure::{SECOND, float, now};
use crate::report::Findings;

/// Who took less of a processor than this is not told of: a thousandth, in nanoseconds a second.
const LEAST: f64 = 1_000_000.0;

/// The parent of the kernel's own threads.
const KERNEL: u32 = 2;

/// A process.
#[derive(Debug)]
struct Other {
    name: String,
    parent: u32,
    /// Nanoseconds on a processor, of all its threads that live.
    processor: u64,
}

/// All processes, the kernel's own among them, at one time.
#[derive(Debug)]
pub(crate) struct Others {
    at: u64,
    /// What the host has given to others while this machine had something to do; in nanoseconds.
    stolen: u64,
    all: BTreeMap<u32, Other>,
}

impl Others {
    /// Those that there are.
    pub(crate) fn look() -> anyhow::Result<Self> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Processes may end at any time.
            let Ok(status) = fs::read_to_string(format!("/proc/{number}/status")) else { continue };
            let Ok(usage) = Usage::of(number) else { continue };
            let name = status.lines().find_map(|line| line.strip_prefix("Name:")).unwrap_or_default().trim();
            let parent = u32::try_from(field(&status, "PPid:")).unwrap_or_default();
            all.insert(number, Other { name: name.into(), parent, processor: usage.processor });
        }
        Ok(Self { at: now(), stolen: stolen()?, all })
    }

    /// What was taken since: by the host, by kinds of threads of the kernel, and by all processes that are not of this bench. Only of
    /// those that live still, and only if it is more than a thousandth of a processor.
    pub(crate) fn tell(&self, section: &'static str, findings: &mut Findings) -> anyhow::Result<()> {
        let after = Self::look()?;
        let seconds = float(after.at.saturating_sub(self.at)) / 1e9;
        let mut taken = BTreeMap::from([("the host (steal)", after.stolen.saturating_sub(self.stolen))]);
        for (number, other) in &after.all {
            let kind = if other.parent == KERNEL {
                other.name.split(['/', '.', ':']).next().unwrap_or_default()
            } else if after.is_ours(*number) {
                continue;
            } else {
                "other processes"
            };
            let before = self.all.get(number).map_or(0, |before| before.processor);
            *taken.entry(kind).or_default() += other.processor.saturating_sub(before);
        }
        for (kind, taken) in taken {
            let a_second = float(taken) / seconds;
            if a_second > LEAST {
                findings.fact(section, format!("taken meanwhile by {kind}"), a_second / 1e6, "ms a second");
            }
        }
        Ok(())
    }

    /// Whether it is this process, or one that it has started.
    fn is_ours(&self, mut number: u32) -> bool {
        while let Some(other) = self.all.get(&number) {
            if number == std::process::id() {
                return true;
            }
            number = other.parent;
        }
        false
    }
}

/// The eighth number of `cpu` in `/proc/stat`, which counts hundredths of a second; 0 where there is no host.
fn stolen() -> anyhow::Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let hundredths = stat.split_whitespace().nth(8).and_then(|text| text.parse::<u64>().ok());
    Ok(hundredths.unwrap_or_default().saturating_mul(SECOND / 100))
}
