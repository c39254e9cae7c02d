//! The loop-back probe: a message of the gateway to itself, through its own request subscription.
//!
//! When it comes back, the subscription works, and everything that the broker had sent before has come in. It is sent
//! when nothing else has come through the subscription for a while, and after the process stood still. It never reaches
//! the core, which would drop it as a loop.

use std::pin::Pin;
use std::time::Duration;

use nowd_link::{Disconnect, LinkError, Publish, Ticket};
use nowd_plugin::BootInstant;
use nowd_protocol::Level;
use tokio::time::Sleep;
use tracing::warn;
use uuid::Uuid;

use super::Sender;

/// The method's name in the topic of a probe; no method can have it.
const METHOD: &str = "nowd.probe";

/// The longest time between two probes that the broker swallows, as long as `link.probe` is not longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(20 * 60);

/// The silence of the broker is counted in quarters, not read from a clock: a process that stood still has not waited.
const QUARTERS: u32 = 4;

/// So many connections in a row that end instead of acknowledging a probe are the broker's way of refusing it.
const MOST_CUT: u32 = 2;

/// How soon a broker that refused one is asked again, in `link.probe`s. Where it ended the connection each time costs one, so
/// that is no sooner than this.
const AGAIN: u32 = 5;
const AFTER_CUTS: Duration = Duration::from_secs(60 * 60);

/// Why there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Off {
    /// No topic is long enough for one.
    TooLong,
    /// The broker does not take them; it is asked again then.
    Until(BootInstant),
}

/// What this process knows of its probes, over all connections.
#[derive(Debug)]
pub(super) struct Probes {
    target: Level,
    /// How long nothing may come through the subscription before a probe is sent.
    every: Duration,
    /// How long a probe may be under way.
    silence: Duration,
    off: Option<Off>,
    /// How many in a row did not come back.
    lost: u32,
    /// How many connections in a row ended instead of acknowledging one.
    cut: u32,
    /// How long the last one that came back was under way.
    round_trip: Option<Duration>,
}

/// What one connection knows of its probe. It begins when the subscription is granted.
#[derive(Debug, Default)]
pub(super) struct Loopback {
    /// When something last came through the subscription.
    heard: Option<BootInstant>,
    sent: Option<Sent>,
    alarm: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Sent {
    topic: String,
    at: BootInstant,
    ticket: Ticket,
    acked: bool,
    /// How many quarters of the silence have passed without anything through the subscription.
    quarters: u32,
    /// Somebody waits to hear that what came before it is in.
    awaited: bool,
}

/// What is to be done when the alarm has gone off.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// The subscription is lost: a new connection is needed.
    Lost,
}

/// What a PUBACK means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acked {
    /// It was for another message.
    NotOurs,
    Taken,
    /// The broker refused the probe. Whoever awaits it waits in vain.
    Refused {
        awaited: bool,
    },
}

impl Probes {
    pub(super) fn new(target: &Level, every: Duration, silence: Duration) -> Self {
        let mut probes =
            Self { target: target.clone(), every, silence, off: None, lost: 0, cut: 0, round_trip: None };
        if probes.topic().len() > nowd_link::LONGEST_TOPIC {
            warn!(
                see = "target-too-long",
                "the target {target} is too long for a message to itself: a lost subscription will not be found"
            );
            probes.off = Some(Off::TooLong);
        }
        probes
    }

    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    fn topic(&self) -> String {
        format!("{0}/{METHOD}/{0}/{1}", self.target, Uuid::new_v4())
    }

    /// Where probes go, as a broker's policy names it.
    pub(super) fn pattern(&self) -> String {
        format!("{0}/{METHOD}/{0}/+", self.target)
    }

    /// After probes that did not come back they are rarer, so that a broker that swallows them costs few connections.
    fn pause(&self) -> Duration {
        let longer = self.every.saturating_mul(1_u32.checked_shl(self.lost).unwrap_or(u32::MAX));
        longer.min(LONGEST_PAUSE).max(self.every)
    }

    /// How long the link may rest before it probes; nothing where it does not.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.off.is_none().then(|| self.pause())
    }

    fn taken(&mut self) {
        self.cut = 0;
        self.off = None;
    }

    /// Whether this is the topic of a probe, whichever.
    pub(super) fn is_probe(&self, topic: &str) -> bool {
        let rest = topic.strip_prefix(self.target.as_str()).and_then(|rest| rest.strip_prefix('/'));
        rest.and_then(|rest| rest.strip_prefix(METHOD)).is_some_and(|rest| rest.starts_with('/'))
    }

    /// One did not come back. A broker that refused one before has not refused this one: else each next connection would begin with
    /// another, and be given up for it, without a pause.
    fn swallowed(&mut self) {
        self.lost = self.lost.saturating_add(1);
        if matches!(self.off, Some(Off::Until(_))) {
            self.off = None;
        }
    }

    /// The broker does not take them, and is asked again after this.
    fn give_up(&mut self, pause: Duration) {
        self.off = Some(Off::Until(BootInstant::now().saturating_add(pause)));
    }

    /// The connection has ended by `error`. Says whether that means that the broker does not take probes.
    pub(super) fn ended(&mut self, loopback: &Loopback, error: &LinkError) -> bool {
        if loopback.sent.as_ref().is_none_or(|sent| sent.acked) || !closed_by_broker(error) {
            return false;
        }
        self.cut = self.cut.saturating_add(1);
        let is_no = self.cut >= MOST_CUT;
        if is_no {
            self.give_up(AFTER_CUTS.max(self.every));
        }
        is_no
    }
}

impl Loopback {
    /// The subscription is granted. Where it `may_be_deaf` the first probe goes out at once, unless the last one was lost: what swallows
    /// them costs few connections.
    pub(super) fn granted(&mut self, probes: &Probes, sender: &Sender, may_be_deaf: bool) {
        self.heard = Some(BootInstant::now());
        let at_once = may_be_deaf && probes.lost == 0 && probes.off.is_none();
        if !(at_once && self.send(probes, sender, false)) {
            self.rest(probes);
        }
    }

    /// Waits until there is something to do; for ever where there is nothing.
    pub(super) async fn alarm(&mut self) {
        match &mut self.alarm {
            Some(alarm) => alarm.await,
            None => std::future::pending().await,
        }
    }

    /// To be called when the alarm has gone off.
    pub(super) fn due(&mut self, probes: &mut Probes, sender: &Sender) -> Due {
        let quarter = probes.silence / QUARTERS;
        if let Some(sent) = &mut self.sent {
            sent.quarters += 1;
            if sent.quarters <= QUARTERS {
                self.set(quarter);
                return Due::Nothing;
            }
            probes.swallowed();
            return Due::Lost;
        }
        let now = BootInstant::now();
        let quiet = self.heard.map_or(Duration::ZERO, |heard| now.saturating_since(heard));
        let left = match probes.off {
            Some(Off::Until(at)) => at.saturating_since(now),
            Some(Off::TooLong) | None => probes.pause().saturating_sub(quiet),
        };
        if !left.is_zero() {
            self.set(left);
        } else if !self.send(probes, sender, false) {
            // The queue is full: soon again.
            self.set(quarter);
        }
        Due::Nothing
    }

    /// Sends a probe, which takes the place of one that is under way. Says whether it is on its way.
    pub(super) fn send(&mut self, probes: &Probes, sender: &Sender, awaited: bool) -> bool {
        if probes.off == Some(Off::TooLong) || (awaited && probes.off.is_some()) {
            return false;
        }
        let topic = probes.topic();
        let publish = Publish { topic: topic.clone(), qos: sender.probe_qos(), ..Publish::default() };
        let Ok(ticket) = sender.publish(publish) else { return false };
        self.sent = Some(Sent { topic, at: BootInstant::now(), ticket, acked: false, quarters: 0, awaited });
        self.set(probes.silence / QUARTERS);
        true
    }

    /// Something came through the subscription. Says whether it was a probe, and if so whether somebody awaits it.
    pub(super) fn heard(&mut self, topic: &str, probes: &mut Probes) -> Option<bool> {
        self.heard = Some(BootInstant::now());
        if let Some(sent) = &mut self.sent {
            sent.quarters = 0;
            if sent.topic == topic {
                let awaited = sent.awaited;
                probes.round_trip = Some(BootInstant::now().saturating_since(sent.at));
                self.sent = None;
                probes.lost = 0;
                // It may come before the broker's word that it was taken.
                probes.taken();
                self.rest(probes);
                return Some(awaited);
            }
        }
        // One whose place was taken by another.
        probes.is_probe(topic).then_some(false)
    }

    /// The broker has answered a message.
    pub(super) fn acked(
        &mut self,
        ticket: Ticket,
        result: &Result<(), String>,
        probes: &mut Probes,
    ) -> Acked {
        let Some(sent) = self.sent.as_mut().filter(|sent| sent.ticket == ticket) else {
            return Acked::NotOurs;
        };
        if result.is_ok() {
            sent.acked = true;
            probes.taken();
            return Acked::Taken;
        }
        let awaited = sent.awaited;
        probes.give_up(probes.every.saturating_mul(AGAIN));
        *self = Self::default();
        self.rest(probes);
        Acked::Refused { awaited }
    }

    fn rest(&mut self, probes: &Probes) {
        match probes.off {
            None => self.set(probes.pause()),
            Some(Off::TooLong) => self.alarm = None,
            Some(Off::Until(at)) => self.set(at.saturating_since(BootInstant::now())),
        }
    }

    fn set(&mut self, after: Duration) {
        self.alarm = Some(Box::pin(tokio::time::sleep(after)));
    }
}

/// Whether the broker has ended the connection, as far as can be seen. One that fell silent did not.
fn closed_by_broker(error: &LinkError) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    if let LinkError::Lost { source } = error {
        let ended = |e: &std::io::Error| matches!(e.kind(), BrokenPipe | ConnectionReset | UnexpectedEof);
        return source.as_ref().is_none_or(ended);
    }
    matches!(error, LinkError::Disconnected { reason } if !matches!(reason, Disconnect::TakenOver | Disconnect::Busy))
}

#[cfg(test)]
mod tests;
