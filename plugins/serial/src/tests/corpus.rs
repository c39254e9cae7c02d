//! The seeds of the fuzz targets, and everything that they ever found. See `docs/FUZZING.md`.

#[path = "../../../../daemon/fuzz/checks/frames.rs"]
mod frames;
#[path = "../../../../daemon/fuzz/checks/hex.rs"]
mod hex;
#[path = "../../../../daemon/fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../../daemon/fuzz/checks/serial.rs"]
mod serial;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../daemon/fuzz/corpus");

#[test]
fn what_a_device_sends() {
    replay::replay(CORPUS, "serial", serial::check);
}

#[test]
fn frames_of_all_kinds() {
    replay::replay(CORPUS, "frames", frames::check);
}

#[test]
fn bytes_and_fields() {
    replay::replay(CORPUS, "hex", hex::check);
}

proptest::proptest! {
    /// A little of what the fuzz targets do, on every run of the tests.
    #[test]
    fn any_bytes(mut data in proptest::collection::vec(proptest::prop_oneof![
        proptest::prelude::any::<u8>(), proptest::prelude::Just(2), proptest::prelude::Just(3), proptest::prelude::Just(0xc0),
        proptest::prelude::Just(0), proptest::prelude::Just(0x10), proptest::prelude::Just(b'\n'),
    ], 0..300)) {
        frames::check(&data);
        data.splice(0..0, *b"A0 $a:u8 $b:i16le $c:bcd2 $d:text3 $e:f32be $f:bytes\n{\"a\": \"boolean\", \"b\": {\"scale\": 0.1}}\n\xa0");
        hex::check(&data);
    }
}
