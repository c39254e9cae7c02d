//! A request: its topic and its payload.

use super::{sentence, topic};
use nowd_protocol::{Dropped, MAX_CALLER_LEN, MAX_PAYLOAD_LEN, MAX_TIMEOUT_MS, Received, Request};

/// The topic where none is given, so that changes to the payload are not wasted.
const TOPIC: &str = "gateway/window.set/app-1/0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c";

/// `data` is the topic (empty: [`TOPIC`]), a line feed, the payload.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (Some(text), Some(payload)) = (parts.next(), parts.next()) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let text = if text.is_empty() { TOPIC } else { text };
    match Received::parse(text, payload) {
        Ok(Received::Request(request)) => {
            assert!(payload.len() <= MAX_PAYLOAD_LEN);
            assert_eq!(request.topic.to_string(), text);
            check_request(&request);
        }
        Ok(Received::Faulty(found, fault)) => {
            assert!(payload.len() <= MAX_PAYLOAD_LEN);
            assert_eq!(found.to_string(), text);
            topic::check_request(&found);
            sentence::check(&fault);
        }
        Err(dropped) => sentence::check(&dropped),
    }
}

fn check_request(request: &Request) {
    topic::check_request(&request.topic);
    assert!(request.timeout.is_none_or(|ms| (1..=MAX_TIMEOUT_MS).contains(&ms)));
    assert!(request.attempt >= 1);
    for text in [&request.caller, &request.traceparent].into_iter().flatten() {
        assert!(text.len() <= MAX_CALLER_LEN);
    }
    for payload in [request.payload(), request.compat_payload()] {
        match Received::parse(&request.topic.to_string(), payload.as_bytes()) {
            Ok(Received::Request(again)) => assert_eq!(format!("{again:?}"), format!("{request:?}")),
            // Written in full, a payload that was just below the bound may be above it.
            Err(Dropped::Payload(_)) => assert!(payload.len() > MAX_PAYLOAD_LEN, "{payload}"),
            other => unreachable!("{payload}: {other:?}"),
        }
    }
}
