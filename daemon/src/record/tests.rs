use nowd_protocol::{Outcome, Timing, Uuid};

use super::*;

fn record(kind: RecordKind, status: Status, outcome: Outcome, total: u64, error: Option<&str>) -> Record {
    Record {
        id: Uuid::nil(),
        method: "gate.open".into(),
        client: None,
        caller: None,
        traceparent: None,
        attempt: 1,
        status,
        outcome,
        error: error.map(|message| ErrorBody { code: "code".into(), message: message.into() }),
        timing: Timing { queue: 0, plugin: 0, total },
        kind,
    }
}

/// What `journalctl` shows of a call.
#[test]
fn a_call_in_one_line() {
    use RecordKind::{Answered, Late, Repeated, SafeAction};
    let no = Outcome::NotExecuted;
    for (record, expected) in [
        (record(Answered, Status::Ok, Outcome::Executed, 12_345, None), "call gate.open: ok in 12.3 ms"),
        (
            record(Answered, Status::Busy, no, 0, Some("the lane is full")),
            "call gate.open: busy, not executed: the lane is full",
        ),
        (
            record(Answered, Status::Failed, Outcome::Unknown, 1_500, Some("a \"b\"\nforged\u{1b}[31m")),
            "call gate.open: failed, unknown in 1.50 ms: a \"b\"\\nforged\\u{1b}[31m",
        ),
        (
            record(Late, Status::Ok, Outcome::Executed, 3_200_000, None),
            "late result of gate.open: ok in 3200 ms",
        ),
        (
            record(Repeated, Status::Ok, Outcome::Executed, 7, None),
            "repeat of gate.open answered: ok in 0.00 ms",
        ),
        (
            record(SafeAction, Status::Sent, Outcome::Unknown, 7_000, None),
            "safe action gate.open: sent, unknown in 7.00 ms",
        ),
    ] {
        assert_eq!(words(&record), expected);
    }
    let long = "x".repeat(100_000);
    assert!(words(&record(Answered, Status::Failed, Outcome::Unknown, 1, Some(&long))).len() < 300);
}
