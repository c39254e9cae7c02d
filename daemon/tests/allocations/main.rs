//! How often a warm call asks for memory, in numbers that may only become smaller.
//!
//! A program of its own: what counts here is the allocator of the whole program, which the other tests should not be slowed down by,
//! nor have their own bounds on memory changed. It counts by thread; growing a buffer counts as one more allocation, of all of it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops; helpers are not in functions marked as tests"
)]

use allocation_counter::{AllocationInfo, measure};

mod call;
mod gateway;
mod pure;

/// How many calls are counted, after as many that are not.
const CALLS: usize = 200;

/// What one call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    allocations: u64,
    bytes: u64,
}

fn taken(work: impl FnOnce()) -> Taken {
    let AllocationInfo { count_total, bytes_total, .. } = measure(work);
    Taken { allocations: count_total, bytes: bytes_total }
}

/// What a call in the middle takes: now and then one finds a map or queue full, and pays for those after it.
fn median(all: &[Taken]) -> Taken {
    let middle = |of: fn(&Taken) -> u64| {
        let mut sorted: Vec<u64> = all.iter().map(of).collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    Taken { allocations: middle(|taken| taken.allocations), bytes: middle(|taken| taken.bytes) }
}

#[test]
fn it_is_counted() {
    let two = taken(|| drop((std::hint::black_box(vec![0_u8; 100]), std::hint::black_box(Box::new(1_u64)))));
    assert_eq!(two, Taken { allocations: 2, bytes: 108 });
}
