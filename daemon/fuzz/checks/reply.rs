//! A reply's payload.

use super::sentence;
use nowd_protocol::{MAX_PAYLOAD_LEN, Outcome, Reply, ReplyStatus};

/// `data` is the payload.
pub(crate) fn check(data: &[u8]) {
    let reply = match Reply::parse(data) {
        Ok(reply) => reply,
        Err(e) => return sentence::check(&e),
    };
    assert!(data.len() <= MAX_PAYLOAD_LEN);
    assert!((200..600).contains(&reply.status.http(reply.outcome)));
    if let ReplyStatus::Known(status) = reply.status {
        let said = status.outcome().unwrap_or(reply.outcome);
        assert!(reply.outcome == said || reply.outcome == Outcome::Unknown, "{reply:?}");
    }
    let payload = reply.payload();
    if payload.len() <= MAX_PAYLOAD_LEN {
        assert_eq!(format!("{:?}", Reply::parse(payload.as_bytes())), format!("{:?}", Ok::<_, ()>(&reply)));
    }
}
