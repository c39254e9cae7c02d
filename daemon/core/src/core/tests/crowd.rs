//! Much to remember and much to refuse cost the next good call next to nothing.

use std::time::Instant as Stopwatch;

use super::*;

const GOOD: u64 = 500;

/// How long a good call took, from its request to its answer: the median of many.
#[expect(clippy::disallowed_methods, reason = "it is the speed of the machine that is compared with itself")]
fn median(bench: &mut Bench, from: u128) -> Duration {
    let mut took: Vec<Duration> = (0..u128::from(GOOD))
        .map(|n| {
            let request = request(from + n, "wide", 4_000);
            let begun = Stopwatch::now();
            let started = bench.send(1, request);
            let ended = bench.end(1, from + n, ok());
            let took = begun.elapsed();
            assert_eq!((started.len(), ended.len()), (1, 1), "{started:?} {ended:?}");
            took
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}

fn by(client: u128, mut request: Request) -> Request {
    request.topic.client = Level::new(format!("client-{client}")).unwrap();
    request
}

/// A good call after `crowd` takes no more than this many times what it took before.
const TIMES: u32 = 20;

#[test]
fn a_hundred_thousand_remembered_ids() {
    let mut bench = Bench::new();
    let before = median(&mut bench, 1 << 64);
    for id in 0..100_000_u128 {
        bench.send(0, by(id / 8_000, request(id, "wide", 4_000)));
        bench.end(0, id, ok());
        bench.keys.clear();
    }
    assert!(bench.core.remembered() >= 100_000);
    let after = median(&mut bench, 1 << 65);
    assert!(after <= before * TIMES, "{before:?}, and with a crowd {after:?}");
}

#[test]
fn ten_thousand_refused_requests() {
    let mut bench = Bench::new();
    let before = median(&mut bench, 1 << 64);
    let mut settings = settings();
    settings.limits.ids_per_asker = 1_000;
    let mut bench = Bench::with(settings);
    // A full lane, a full memory, no such method, not allowed, too late.
    for id in 0..10_000_u128 {
        let name = ["set", "nothing", "ops", "halt"][usize::try_from(id % 4).unwrap()];
        bench.send(0, by(id % 3, request(id, name, u64::from(id % 5 > 0) * 4_000)));
    }
    assert!(bench.core.remembered() <= 3_000, "{}", bench.core.remembered());
    for n in 0..10_000_u128 {
        let message = Received::Faulty(
            by(n % 400, request(n, "set", 0)).topic,
            nowd_protocol::Fault { field: "timeout", expected: "a number" },
        );
        bench.handle(0, Event::Received { message, receipt: receipt(), params: Ok(0) });
    }
    let mut good = 0;
    for id in (1 << 66)..(1 << 66) + 50_u128 {
        good += usize::from(
            bench.send(1, by(1_000 + id % 50, request(id, "wide", 4_000))) == [format!("start {id:x} wide")],
        );
        bench.end(1, id, ok());
    }
    assert_eq!(good, 50, "the crowd refuses only itself");
    let after = median(&mut bench, 1 << 65);
    assert!(after <= before * TIMES, "{before:?}, and with a crowd {after:?}");
}
