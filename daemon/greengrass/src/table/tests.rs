//! Streams: what a frame means on each.

use proptest::prelude::*;

use super::*;

fn frame(kind: Kind, flags: i32, stream: i32, model: Option<&str>, payload: &str) -> Frame {
    Frame {
        kind,
        flags,
        stream,
        model: model.map(|model| format!("aws.greengrass#{model}")),
        operation: None,
        payload: payload.as_bytes().to_vec(),
    }
}

fn open(table: &Table, topic: Option<Topic>) -> Result<(i32, oneshot::Receiver<Answer>), CallError> {
    table.open("Test", topic, |_| Ok(()))
}

#[test]
fn streams_have_numbers_without_a_gap() {
    let table = Table::default();
    assert_eq!(open(&table, None).unwrap().0, 1);
    let busy = || CallError::Busy { operation: "Test" };
    assert_eq!(table.open("Test", None, |_| Err(busy())).unwrap_err(), busy());
    assert_eq!(open(&table, None).unwrap().0, 2, "what was not sent had none");
    table.forget(2);
    assert_eq!(open(&table, None).unwrap().0, 3);
}

#[test]
fn an_event_may_come_before_the_answer() {
    let table = Table::default();
    let (stream, mut answer) = open(&table, Some(Topic::IotCore)).unwrap();
    let early = table.handle(frame(Kind::Message, 0, stream, Some("IoTCoreMessage"), "{}"));
    assert!(matches!(early.told, [Some(Told::Event(..)), None]), "{early:?}");
    assert!(answer.try_recv().is_err());
    let answered = table.handle(frame(Kind::Message, 0, stream, Some("SubscribeToIoTCoreResponse"), "{}"));
    assert!(matches!(answered.told, [None, None]), "{answered:?}");
    assert_eq!(answer.try_recv().unwrap(), Ok(b"{}".to_vec()));
    let last = table.handle(frame(Kind::Message, 2, stream, Some("IoTCoreMessage"), "{}"));
    assert!(matches!(last.told, [Some(Told::Event(..)), Some(Told::Ended(..))]), "{last:?}");
    let late = table.handle(frame(Kind::Message, 0, stream, Some("IoTCoreMessage"), "{}"));
    assert!(matches!(late.told, [None, None]), "{late:?}");
}

#[test]
fn a_stream_with_an_error_is_over_on_both_sides() {
    let table = Table::default();
    let (stream, mut answer) = open(&table, Some(Topic::Validation)).unwrap();
    // An error that does not end its stream: we do.
    let refused = table.handle(frame(Kind::Error, 0, stream, Some("ServiceError"), ""));
    assert_eq!(refused.end, Some(stream));
    assert_eq!(answer.try_recv().unwrap().unwrap_err().code, "ServiceError");
    assert!(!table.forget(stream), "it is forgotten");
    let (stream, mut answer) = open(&table, None).unwrap();
    table.handle(frame(Kind::InternalError, 2, stream, None, ""));
    assert!(answer.try_recv().unwrap().is_err());
}

#[test]
fn a_closed_table_opens_nothing_and_keeps_nobody_waiting() {
    let table = Table::default();
    let (_, mut answer) = open(&table, None).unwrap();
    table.close();
    assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    assert_eq!(open(&table, None).unwrap_err(), CallError::Closed { operation: "Test" });
}

proptest! {
    /// Whatever comes: bounded, at most one answer each, events only for subscriptions.
    #[test]
    fn any_frames_in_any_order(
        steps in prop::collection::vec((0..8_u8, 0..4_i32, 0..80_i32, any::<bool>(), any::<bool>()), 0..300),
    ) {
        let table = Table::default();
        let mut answers = Vec::new();
        for (step, flags, stream, answer, empty) in steps {
            match step {
                0 => answers.extend(open(&table, None).ok()),
                1 | 2 => answers.extend(open(&table, Some(Topic::IotCore)).ok()),
                3 => drop(table.forget(stream)),
                _ => {
                    let kind = if step == 4 { Kind::Error } else { Kind::Message };
                    let model = if answer { "SubscribeToIoTCoreResponse" } else { "IoTCoreMessage" };
                    let payload = if empty { "" } else { "{}" };
                    let told = table.handle(frame(kind, flags, stream, Some(model), payload)).told;
                    prop_assert!(stream > 0 || told.iter().all(Option::is_none));
                }
            }
            prop_assert!(table.lock().streams.len() <= MOST_STREAMS);
        }
        for (stream, mut answer) in answers {
            if answer.try_recv().is_ok() {
                prop_assert!(answer.try_recv().is_err(), "stream {}", stream);
            }
        }
    }
}
