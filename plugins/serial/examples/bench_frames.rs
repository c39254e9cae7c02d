//! What it costs to make the frame of a call, to cut a device's bytes into frames, and to judge one.
//!
//! An example and no benchmark of cargo's, because those see modules as tests do: `cargo run --release -p nowd-plugin-serial --example bench_frames -- --bench`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on stops")]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "most of what these modules hold serves the crate that they are part of"
)]

// Beside this file; without it the paths would go through a folder of that name. rustfmt would look for their tests beside this file too.
#[path = "."]
#[rustfmt::skip]
mod content {
    #[path = "../src/content/field.rs"]
    pub(crate) mod field;
    #[path = "../src/content/hex.rs"]
    mod hex;
    #[path = "../src/content/pattern.rs"]
    pub(crate) mod pattern;
    #[path = "../src/content/template.rs"]
    pub(crate) mod template;
    #[path = "../src/content/value.rs"]
    pub(crate) mod value;
}
#[path = "."]
#[rustfmt::skip]
mod framing {
    #[path = "../src/framing/catalogue.rs"]
    mod catalogue;
    #[path = "../src/framing/checksum.rs"]
    pub(crate) mod checksum;
    #[path = "../src/framing/kinds.rs"]
    pub(crate) mod kinds;
    #[path = "../src/framing/missed.rs"]
    pub(crate) mod missed;
    #[path = "../src/framing/reader.rs"]
    pub(crate) mod reader;
    #[path = "../src/framing/wire.rs"]
    pub(crate) mod wire;
}
#[path = "../src/keys.rs"]
mod keys;
#[path = "."]
#[rustfmt::skip]
mod map {
    #[path = "../src/map/method.rs"]
    pub(crate) mod method;
}

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::{AllocProfiler, Bencher};
use nowd_plugin::map::{MapFile, MapSource};
use nowd_plugin::{BootInstant, Call, Deadline};
use serde_json::json;
use uuid::Uuid;

use crate::framing::reader::Reader;
use crate::map::method::{Frame, Keys, SerialMap, SerialTable, Verdict};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn map() -> SerialMap {
    let text = "[serial]\nport = \"p\"\nframing = { line = \"\\r\\n\" }\n[methods.m]\nsend = \"SET $x\"\n\
                reply = '^OK (?<x>\\d+)$'\nrefused = '^NO (?<message>.+)$'\nparams.x = true\n";
    let source = MapSource { file: "m.toml".into(), text: text.into() };
    let mut file: MapFile<SerialTable, Keys> = MapFile::parse(&source).unwrap();
    let origin = file.origin();
    file.backend.read_wire(&origin).unwrap();
    let wire = Arc::clone(file.backend.wire(&origin).unwrap());
    SerialMap::new(file.methods.first_mut().unwrap(), &wire).unwrap()
}

fn call() -> Call {
    let deadline = Deadline::new(BootInstant::from_micros(42), Duration::from_secs(1));
    Call::new(Uuid::nil(), "m", json!({"x": 40}), deadline)
}

#[divan::bench]
fn a_call_becomes_a_frame(bencher: Bencher) {
    let (map, call) = (map(), call());
    bencher.bench(|| map.frames(black_box(&call)).unwrap());
}

#[divan::bench(args = [8, 512])]
fn bytes_are_cut_into_frames(bencher: Bencher, bytes: usize) {
    let map = map();
    let sent: Vec<u8> = b"OK 4\r\nOK".iter().copied().cycle().take(bytes).collect();
    bencher
        .counter(divan::counter::BytesCount::new(bytes))
        .with_inputs(|| Reader::new(&map.wire))
        .bench_local_values(|mut reader| {
            reader.feed(black_box(&sent), &mut |line| if line.is_empty() { Some(()) } else { None })
        });
}

#[divan::bench]
fn a_frame_is_judged(bencher: Bencher) {
    let (map, call) = (map(), call());
    let frames = map.frames(&call).unwrap();
    let Some(Frame::Send { reply: Some(reply), .. }) = frames.first() else { panic!("it has a reply") };
    bencher.bench(|| {
        let verdict = map.judge(reply, black_box(b"OK 40"));
        assert!(matches!(verdict, Some(Verdict::Reply(_))));
        verdict
    });
}
