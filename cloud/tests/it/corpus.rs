//! The seeds of the fuzz target of the HTTP interface, and everything that it ever found. See `docs/FUZZING.md`.

#[path = "../../../daemon/fuzz/checks/http.rs"]
mod http;
#[path = "../../../daemon/fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../daemon/fuzz/checks/sentence.rs"]
mod sentence;

#[test]
fn any_request() {
    replay::replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../daemon/fuzz/corpus"), "http", http::check);
}
