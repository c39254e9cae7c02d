//! What it costs to judge the parameters of a call by their schema.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use divan::{AllocProfiler, Bencher};
use nowd_plugin::params::Params;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn params(declared: &Value) -> Params {
    Params::new(declared.as_object().unwrap()).unwrap()
}

#[divan::bench]
fn one_number(bencher: Bencher) {
    let params = params(&json!({"percent": {"type": "integer", "minimum": 0, "maximum": 100}}));
    bencher.with_inputs(|| json!({"percent": 40})).bench_values(|request| params.check(request).unwrap());
}

#[divan::bench]
fn six_of_several_types(bencher: Bencher) {
    let params = params(&json!({
        "side": {"enum": ["left", "right"]},
        "percent": {"type": "integer", "minimum": 0, "maximum": 100},
        "speed": {"type": "number", "exclusiveMinimum": 0},
        "label": {"type": "string", "pattern": "^[a-z0-9-]{1,32}$"},
        "steps": {"type": "array", "maxItems": 16, "items": {"type": "integer"}},
        "slow": {"type": "boolean", "default": false},
    }));
    bencher
        .with_inputs(
            || json!({"side": "left", "percent": 40, "speed": 1.5, "label": "door-1", "steps": [1, 2, 3, 4]}),
        )
        .bench_values(|request| params.check(request).unwrap());
}
