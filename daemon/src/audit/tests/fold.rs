//! What a flood leaves.

use super::super::folding::{Folding, PERIOD};
use super::*;

fn refused(client: &str, status: Status) -> Event {
    let mut record = record(RecordKind::Answered, client, status, Outcome::NotExecuted);
    record.timing = Timing { queue: 0, plugin: 0, total: 0 };
    Event::Call(record)
}

#[test]
fn a_flood_is_counted_and_what_was_executed_is_always_written() {
    let mut folding = Folding::default();
    let mut written = 0;
    // Ten minutes of 1,000 refusals a second.
    for ms in 0..600_000 {
        written += u64::from(folding.admit(&refused("flood-1", Status::Forbidden), moment(ms)));
        if ms % 1_000 == 0 {
            for event in [
                executed(),
                Event::Call(record(RecordKind::Answered, "flood-1", Status::Timeout, Outcome::Unknown)),
                Event::Call(record(RecordKind::Answered, "flood-1", Status::Refused, Outcome::NotExecuted)),
                Event::Call(record(RecordKind::Late, "flood-1", Status::Ok, Outcome::NotExecuted)),
                Event::Call(record(RecordKind::SafeAction, "flood-1", Status::Busy, Outcome::NotExecuted)),
                Event::Locked { reason: String::new(), by: None },
                Event::Stopped,
            ] {
                assert!(folding.admit(&event, moment(ms)), "{event:?}");
            }
        }
        if ms == 300_000 {
            assert!(folding.admit(&refused("other-1", Status::Busy), moment(ms)), "others are still heard");
        }
    }
    assert_eq!(written, 60 + 59, "sixty at once, and one each ten seconds");
    let (client, folded) = folding.pop().unwrap();
    assert_eq!((client.as_str(), folded.statuses.get("forbidden")), ("flood-1", Some(&(600_000 - written))));
    assert!(folding.pop().is_none() && folding.due().is_none());
}

#[test]
fn many_authors_of_a_flood_get_no_further_than_one_entry_a_second() {
    let mut folding = Folding::default();
    let (mut written, mut told) = (0_u64, 0);
    for ms in (0..600_000_u64).step_by(20) {
        let client = format!("flood-{}", ms * 7_919 % 10_007);
        written += u64::from(folding.admit(&refused(&client, Status::UnknownMethod), moment(ms)));
        if folding.due().is_some_and(|due| due <= moment(ms).steady) {
            while folding.pop().is_some() {
                told += 1;
            }
        }
    }
    assert!(written <= 1_000 + 600, "{written}");
    assert!(told <= 17 * 10, "{told}");
}

#[test]
fn questions_repeats_and_what_is_no_request_can_be_a_flood_too() {
    let mut question = record(RecordKind::Answered, "a", Status::Ok, Outcome::Executed);
    question.method = "nowd.methods".into();
    for event in [
        Event::Call(question),
        Event::Call(record(RecordKind::Repeated, "a", Status::Ok, Outcome::Executed)),
        Event::Dropped(Dropped::Loop),
        Event::NoRequest { reason: "x".into() },
    ] {
        let mut folding = Folding::default();
        let written = (0..1_000).filter(|_| folding.admit(&event, moment(0))).count();
        assert_eq!(written, 60, "{event:?}");
        assert_eq!(folding.due(), Some(moment(0).steady.saturating_add(PERIOD)));
        let folded = folding.pop().unwrap();
        assert_eq!(folded.1.statuses.values().sum::<u64>(), 940);
        folding.put_back(folded.0, folded.1);
        assert!(folding.due().is_some());
    }
}

/// The numbers of SPECIFICATION.md, section 17.2: an hour of 50 refusals a second, each as long as it may be.
#[test]
fn what_a_flood_writes_in_an_hour() {
    let text = "\u{1}".repeat(2_048);
    for (authors, most) in [(1, 700_000), (10_007, 7_000_000)] {
        let (mut folding, mut head, mut written) = (Folding::default(), None, 0);
        let statuses =
            [Status::Forbidden, Status::UnknownMethod, Status::InvalidRequest, Status::Busy, Status::Expired];
        let mut write = |ms: u64, what: &What<'_>| {
            let (line, next) = SEALER.line(head, moment(ms), what);
            head = Some(next);
            written += line.len();
        };
        for (number, ms) in (0..3_600_000_u64).step_by(20).enumerate() {
            let number = u64::try_from(number).unwrap();
            let client = format!("{:0>127}", number * 7_919 % authors);
            let mut event = record(
                RecordKind::Answered,
                &client,
                statuses[usize::try_from(number % 5).unwrap()],
                Outcome::NotExecuted,
            );
            (event.timing, event.attempt) = (Timing::default(), u32::MAX);
            let event = Event::Call(event);
            if folding.admit(&event, moment(ms)) {
                let Event::Call(mut event) = event else { unreachable!() };
                (event.caller, event.method) = (Some(text.as_str().into()), text.as_str().into());
                event.error = Some(ErrorBody { code: text.clone(), message: text.clone() });
                write(ms, &What::of(&Event::Call(event), &mut String::new()));
            }
            if folding.due().is_some_and(|due| due <= moment(ms).steady) {
                while let Some((client, folded)) = folding.pop() {
                    let count = folded.statuses.values().sum();
                    let since = folded.since.text();
                    write(
                        ms,
                        &What::Folded { client: Some(&client), since, count, statuses: &folded.statuses },
                    );
                }
            }
        }
        eprintln!("{authors} return addresses: {written} bytes");
        assert!(written < most, "{written}");
    }
}
