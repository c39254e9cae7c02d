//! Reads what callgrind has written: which function was called how often, and how many instructions there were in all.

use anyhow::Context as _;

/// What libc offers to get memory. Its names are there in a stripped program too: it is linked to them.
const ALLOCATORS: [&str; 6] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"];
/// What stands before them where libc's own names are known better.
const INSIDE: &str = "__libc_";

/// Counts since the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) instructions: u64,
    pub(super) allocations: u64,
}

/// Of a profile with names written out (`--compress-strings=no`).
pub(super) fn read(profile: &str) -> anyhow::Result<Counted> {
    let (mut instructions, mut allocations, mut called) = (None, 0_u64, "");
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            called = name.strip_prefix(INSIDE).unwrap_or(name);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if ALLOCATORS.contains(&called) {
                let times = calls.split(' ').next().unwrap_or_default();
                allocations += times.parse::<u64>().context("how often a function was called")?;
            }
        } else if let Some(total) = line.strip_prefix("totals:") {
            instructions = Some(total.trim().parse().context("how many instructions there were")?);
        }
    }
    let instructions = instructions.context("callgrind's profile has no total")?;
    Ok(Counted { instructions, allocations })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_calls_of_the_allocator_from_wherever() {
        let profile = "version: 1\nevents: Ir\nsummary: 1000\n\nob=/usr/bin/nowd\nfn=0x1234\n0 10\n\
                       cob=/lib/libc.so.6\ncfi=???\ncfn=malloc\ncalls=3 0\n0 300\n\
                       cfn=free\ncalls=2 0\n0 20\ncfn=malloc_usable_size\ncalls=9 0\n0 20\n\
                       fn=0x5678\n0 10\ncfn=realloc\ncalls=4 0\n0 400\ncfn=__libc_calloc\ncalls=1 0\n0 60\ntotals: 1000\n";
        assert_eq!(read(profile).unwrap(), Counted { instructions: 1_000, allocations: 8 });
    }

    #[test]
    fn half_a_profile_is_none() {
        read("events: Ir\nfn=0x1234\n0 10\n").unwrap_err();
    }
}
