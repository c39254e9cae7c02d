//! The seeds of the fuzz targets, and everything that they ever found. See `docs/FUZZING.md`.

#[path = "../../../../../daemon/fuzz/checks/dbus.rs"]
mod dbus;
#[path = "../../../../../daemon/fuzz/checks/introspect.rs"]
mod introspect;
#[path = "../../../../../daemon/fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../../../daemon/fuzz/checks/sentence.rs"]
mod sentence;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../daemon/fuzz/corpus");

#[test]
fn values_there_and_back() {
    replay::replay(CORPUS, "dbus", dbus::check);
}

#[test]
fn what_a_service_says_of_itself() {
    replay::replay(CORPUS, "introspect", introspect::check);
}
