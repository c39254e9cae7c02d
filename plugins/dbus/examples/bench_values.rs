//! What it costs to make D-Bus values of JSON, and JSON of a D-Bus message.
//!
//! An example and no benchmark of cargo's, because those see modules as tests do: `cargo run --release -p nowd-plugin-dbus --example bench_values -- --bench`.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]
#![allow(
    dead_code,
    unused_imports,
    reason = "most of what these modules hold serves the crate that they are part of"
)]

#[path = "../src/convert.rs"]
mod convert;
#[path = "../src/done.rs"]
mod done;
#[path = "../src/expr.rs"]
mod expr;
#[path = "../src/forms.rs"]
mod forms;
#[path = "../src/json.rs"]
mod json;
#[path = "../src/types.rs"]
mod types;

use divan::{AllocProfiler, Bencher};
use serde_json::Value;
use zbus::message::Message;
use zbus::{Signature, Structure};

use crate::convert::{Given, to_dbus};
use crate::json::body_to_json;
use crate::types::parse_signature;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Signatures, and as many values for each.
const BODIES: [(&str, &str); 3] = [
    ("u", "[40]"),
    ("sub(dd)", r#"["front-left", 40, true, [1.5, 2.5]]"#),
    ("a{sv}as", r#"[{"percent": 40, "side": "left", "speed": 1.5}, ["a", "b", "c", "d"]]"#),
];

fn main() {
    divan::main();
}

fn body(signature: &str) -> (Vec<Signature>, Vec<Given>) {
    let values = BODIES.iter().find_map(|(name, values)| (*name == signature).then_some(*values)).unwrap();
    let values: Vec<Value> = serde_json::from_str(values).unwrap();
    (parse_signature(signature).unwrap(), values.into_iter().map(Given::from).collect())
}

fn structure(types: &[Signature], values: &[Given]) -> Structure<'static> {
    let mut structure = Structure::builder();
    for (signature, value) in types.iter().zip(values) {
        structure = structure.append_field(to_dbus(value, signature, "argument 1").unwrap());
    }
    structure.build().unwrap()
}

#[divan::bench(args = BODIES.map(|(signature, _)| signature))]
fn json_becomes_a_message(bencher: Bencher, signature: &str) {
    let (types, values) = body(signature);
    bencher.bench(|| Message::method_call("/", "M").build(&structure(&types, &values)).unwrap());
}

#[divan::bench(args = BODIES.map(|(signature, _)| signature))]
fn a_message_becomes_json(bencher: Bencher, signature: &str) {
    let (types, values) = body(signature);
    let message = Message::method_call("/", "M").build(&structure(&types, &values)).unwrap();
    bencher.bench(|| body_to_json(&message.body()).unwrap());
}
