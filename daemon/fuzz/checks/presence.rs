//! The payload of a presence.

use super::sentence;
use nowd_protocol::{MAX_PAYLOAD_LEN, Presence};

/// `data` is the payload.
pub(crate) fn check(data: &[u8]) {
    match Presence::parse(data) {
        Ok(presence) => {
            assert!(data.len() <= MAX_PAYLOAD_LEN);
            let payload = presence.payload();
            if payload.len() <= MAX_PAYLOAD_LEN {
                assert_eq!(Presence::parse(payload.as_bytes()), Ok(presence));
            }
        }
        Err(e) => sentence::check(&e),
    }
}
