//! What one call costs before and after the plugin: its request read, decided upon, ended, answered.
//!
//! The call is the one whose allocations are counted in `daemon/tests/allocations`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on stops"
)]

#[path = "../../tests/allocations/call.rs"]
mod call;

use std::hint::black_box;
use std::sync::Arc;

use divan::{AllocProfiler, Bencher};
use nowd_core::{Core, Ended, Event, ReplyBody};
use nowd_protocol::{Outcome, Received, Status};

use call::{RECEIPT, Sent, answered, at, core, key, raw, write};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Calls that a gateway remembers when the measured one comes.
const REMEMBERED: [usize; 2] = [0, 6_000];
/// Milliseconds between two calls: as many as that are made while one is remembered.
const APART: usize = 10;

fn main() {
    divan::main();
}

fn received(message: Received) -> Event<Arc<()>> {
    Event::Received { message, receipt: RECEIPT, params: Ok(Arc::new(())) }
}

fn ended() -> Ended {
    Ended { status: Status::Ok, outcome: Outcome::Executed, response: Some(raw("40")), error: None }
}

/// One call, from its request to its answer.
fn whole(core: &mut Core<Arc<()>>, call: usize) -> ReplyBody {
    let call = call * APART;
    let actions = core.handle(at(call), received(Sent::new(call).parse()));
    answered(core.handle(at(call), Event::Ended { key: key(&actions), ended: ended() }))
}

fn warm(remembered: usize) -> Core<Arc<()>> {
    let mut core = core();
    for call in 0..remembered.max(1) {
        whole(&mut core, call);
    }
    core
}

#[divan::bench]
fn a_request_is_read(bencher: Bencher) {
    let sent = Sent::new(1);
    bencher.bench(|| black_box(&sent).parse());
}

#[divan::bench(args = REMEMBERED)]
fn it_is_decided_and_ended(bencher: Bencher, remembered: usize) {
    let (mut core, mut call) = (warm(remembered), remembered + 1);
    bencher
        .with_inputs(|| {
            call += 1;
            (call * APART, Sent::new(call * APART).parse())
        })
        .bench_local_values(|(call, request)| {
            let actions = core.handle(at(call), received(request));
            core.handle(at(call), Event::Ended { key: key(&actions), ended: ended() })
        });
}

#[divan::bench]
fn a_repeat_is_answered(bencher: Bencher) {
    let mut core = warm(2);
    bencher
        .with_inputs(|| Sent::new(1).parse())
        .bench_local_values(|request| core.handle(at(2), received(request)));
}

#[divan::bench]
fn its_answer_is_written(bencher: Bencher) {
    let (mut core, mut call) = (warm(1), 1);
    bencher
        .with_inputs(|| {
            call += 1;
            whole(&mut core, call)
        })
        .bench_local_values(write);
}
