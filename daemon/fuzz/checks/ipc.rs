//! What a nucleus of Greengrass sends: a frame, and the event or the refusal that is in it.

use nowd_greengrass::wire::{Frame, Kind};
use nowd_greengrass::{CallError, Event, LONGEST_FRAME, Refusal, Subscription, Topic};

use super::sentence;

/// `data` is a frame; or, after a byte that is not 0, one with right checksums is put around the rest, of which so many
/// bytes are headers.
pub(crate) fn check(data: &[u8]) {
    read(data);
    let Some((&headers, rest)) = data.split_first().filter(|(first, _)| **first != 0) else { return };
    let headers = usize::from(headers).min(rest.len());
    let mut whole = Vec::new();
    whole.extend(u32::try_from(rest.len() + 16).unwrap().to_be_bytes());
    whole.extend(u32::try_from(headers).unwrap().to_be_bytes());
    whole.extend(crc(&whole).to_be_bytes());
    whole.extend(rest);
    whole.extend(crc(&whole).to_be_bytes());
    read(&whole);
    payload(None, rest.get(headers..).unwrap_or_default());
}

fn read(bytes: &[u8]) {
    let frame = match Frame::read(bytes) {
        Ok(frame) => frame,
        Err(e) => return sentence::check(&e),
    };
    assert!(bytes.len() <= LONGEST_FRAME && frame.payload.len() + 16 <= bytes.len());
    match frame.write() {
        Ok(written) => assert_eq!(Frame::read(&written).unwrap(), frame),
        // Ours are longer than theirs by headers that they need not send.
        Err(e) => sentence::check(&e),
    }
    if matches!(frame.kind, Kind::Message | Kind::Error | Kind::ProtocolError | Kind::InternalError) {
        payload(frame.model.as_deref(), &frame.payload);
    }
}

fn payload(model: Option<&str>, payload: &[u8]) {
    let on = Subscription::of_stream(1);
    for topic in [Topic::Configuration, Topic::Validation, Topic::ComponentUpdates, Topic::IotCore] {
        let event = Event::read(on, topic, payload);
        assert_eq!(event.subscription(), on);
        match (topic, event) {
            (_, Event::Unreadable { what, .. }) => sentence::check(&what),
            (Topic::Configuration, Event::ConfigurationChanged { .. })
            | (Topic::Validation, Event::Validate { .. })
            | (Topic::ComponentUpdates, Event::BeforeUpdate { .. } | Event::AfterUpdate { .. }) => {}
            (Topic::IotCore, Event::Message { message, .. }) => {
                assert!(message.payload.len() <= payload.len());
            }
            (topic, event) => unreachable!("{event:?} of {topic:?}"),
        }
    }
    let refusal = Refusal::read(model, payload);
    assert!(refusal.to_string().len() < 4 * 1024);
    sentence::check(&CallError::Refused { operation: "UpdateState", refusal });
}

/// CRC-32 bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 },
        )
    })
}
