//! A successor of certificate and key that the broker has not accepted yet, and what counts as a word against it. Decides nothing
//! about connections.

use std::sync::Arc;
use std::time::Duration;

use nowd_link::LinkError;
use nowd_plugin::BootInstant;

use super::Loaded;

/// The pause after the first refusal of a renewed certificate, doubled by each one that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// What has been read and not accepted by the broker yet.
#[derive(Debug)]
pub(super) struct Renewed {
    pub(super) loaded: Arc<Loaded>,
    pub(super) found: BootInstant,
    pub(super) refusals: u32,
    pub(super) try_at: BootInstant,
    /// What the broker had against it.
    pub(super) refusal: Option<String>,
    /// The next connection is made with the one of before.
    pub(super) passed_over: bool,
}

impl Renewed {
    pub(super) fn new(loaded: Arc<Loaded>, found: BootInstant) -> Self {
        Self { loaded, found, refusals: 0, try_at: found, refusal: None, passed_over: false }
    }

    /// It is not tried again before this has passed.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.refusals.min(8)).min(LONGEST_PAUSE);
        self.try_at = BootInstant::now().saturating_add(pause);
        pause
    }
}

/// Whether the broker turned us down, or we the broker by the authorities that we trust now.
pub(super) const fn is_refusal(e: &LinkError) -> bool {
    e.is_refusal() || matches!(e, LinkError::Tls { .. })
}

/// Whether somebody answered at all.
pub(super) const fn has_reached_a_broker(e: &LinkError) -> bool {
    !matches!(
        e,
        LinkError::Dial { .. }
            | LinkError::Resolve { .. }
            | LinkError::ConnectTimeout { .. }
            | LinkError::Options { .. }
            | LinkError::PlainNotLoopback { .. }
            | LinkError::Internal { .. }
    )
}
