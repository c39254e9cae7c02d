//! The small world: what is in it, what can happen next, and what becomes of it. It judges nothing; [`super::laws`] does.

use std::rc::Rc;

use nowd_core::{Action, Ended, Event, Instant, Receipt, ReplyBody, Wall};

use super::digest::digest;
use super::ends::{Gateway, Side, client, digest_of, incarnation_id};
use super::laws::Known;
use super::*;

mod effects;
mod next;

/// The cloud sides' clock at the start, in microseconds.
const START: u64 = 1_000 * SECOND;
/// How far a gateway's clock is ahead.
const AHEAD: u64 = 5_000 * SECOND;
/// The wall clock when the cloud sides' clock is at 0, in milliseconds.
const WALL_MS: u64 = 1_700_000_000_000;
/// How wrong the gateway says its wall clock may be.
const WALL_ERROR_MS: u64 = 10;

/// A world at a moment. What changes seldom is shared with the worlds before.
#[derive(Clone)]
pub(super) struct World {
    pub(super) config: Rc<Config>,
    /// Microseconds since the start.
    pub(super) now: u64,
    sides: Vec<Rc<Side>>,
    gateway: Rc<Gateway>,
    /// Under way to the gateway, in no order.
    requests: Vec<Rc<Sent>>,
    /// Under way to the cloud sides, in no order.
    replies: Vec<Rc<Heard>>,
    pub(super) calls: Vec<Known>,
    left: Left,
    /// The first law that was broken.
    pub(super) wrong: Option<String>,
    /// What happened, where somebody wants to read it.
    pub(super) story: Option<Vec<String>>,
}

/// How much of what is bounded may still happen.
#[derive(Clone, Copy, Debug)]
struct Left {
    copies: u8,
    restarts: u8,
    drops: u8,
    doubts: u8,
    refusals: u8,
    freezes: u8,
}

/// A request under way.
struct Sent {
    call: usize,
    round: u32,
    attempt: u32,
    topic: String,
    payload: String,
    digest: u128,
}

/// A reply or a presence under way.
struct Heard {
    side: usize,
    /// The call that it answers.
    call: Option<usize>,
    words: String,
    topic: String,
    payload: String,
    digest: u128,
}

/// What can happen next. Numbers are places in the world's lists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Submit(usize),
    /// A request comes to the gateway; a copy may stay under way.
    Request {
        at: usize,
        copy: bool,
        trusted: bool,
    },
    /// The broker does not take a request.
    Refuse(usize),
    Reply {
        at: usize,
        copy: bool,
    },
    /// A cloud side's timer.
    Tick(usize),
    /// The gateway's timer.
    Wake,
    Down(usize),
    Up(usize),
    /// A cloud side was stood still, and whether its connection works is not known.
    Doubt(usize),
    /// It does.
    Prove(usize),
    /// The gateway's process is killed and started again.
    Restart {
        unsynced_kept: bool,
    },
    Ended {
        at: usize,
        refused: bool,
    },
    Journaled(usize),
    /// Time passes, until the next instant at which something may be decided otherwise.
    Pass,
}

impl World {
    pub(super) fn new(config: Rc<Config>, story: bool) -> Self {
        let sides = if config.second == Second::Repeat { 2 } else { 1 };
        let left = Left {
            copies: config.copies,
            restarts: config.restarts,
            drops: config.drops,
            doubts: config.doubts,
            refusals: config.refusals,
            freezes: config.freezes,
        };
        let mut world = Self {
            now: 0,
            sides: (0..sides).map(|n| Rc::new(Side::new(n))).collect(),
            gateway: Rc::new(Gateway::new(&config, 1, AHEAD + START - config.age, Vec::new())),
            requests: Vec::new(),
            replies: Vec::new(),
            calls: vec![Known::new(1, 0)],
            left,
            wrong: None,
            story: story.then(Vec::new),
            config,
        };
        match world.config.second {
            Second::None => {}
            Second::Repeat => world.calls.push(Known::new(1, 1)),
            Second::Other => world.calls.push(Known::new(2, 0)),
        }
        for n in 0..sides {
            world.side(n, Core::connected);
        }
        let stamp = match world.config.bound {
            Bound::None => None,
            // Heard a quarter of a second before the process began: its clock is the same, it is not.
            Bound::Dead => Some((0, START - world.config.age - SECOND / 4)),
            Bound::Live => Some((1, START - world.config.age / 2)),
        };
        if let Some((incarnation, at)) = stamp {
            let stamp = nowd_protocol::GatewayStamp {
                incarnation: incarnation_id(incarnation),
                now: at + AHEAD,
                since: Some(0),
                version: String::new(),
            };
            for n in 0..sides {
                world.side(n, |core, _, _| {
                    core.bounds.heard(&level("g"), &stamp, BootInstant::from_micros(at), None);
                });
            }
        }
        world.submit(0);
        world
    }

    /// What tells worlds apart.
    pub(super) fn key(&self) -> u128 {
        let bag = |digests: &mut Vec<u128>| digests.sort_unstable();
        let mut requests: Vec<u128> = self.requests.iter().map(|sent| sent.digest).collect();
        let mut replies: Vec<u128> = self.replies.iter().map(|heard| heard.digest).collect();
        bag(&mut requests);
        bag(&mut replies);
        let sides: Vec<u128> = self.sides.iter().map(|side| side.digest).collect();
        digest(format_args!(
            "{} {sides:?} {} {requests:?} {replies:?} {:?} {:?}",
            self.now, self.gateway.digest, self.calls, self.left
        ))
    }

    pub(super) fn take(&mut self, step: Step) {
        if self.story.is_some() {
            self.tell(format!("{}:", self.words(step)));
        }
        match step {
            Step::Submit(n) => self.submit(n),
            Step::Request { at, copy, trusted } => {
                let sent = if copy { self.requests[at].clone() } else { self.requests.swap_remove(at) };
                self.left.copies -= u8::from(copy);
                self.deliver(&sent, trusted);
            }
            Step::Refuse(at) => {
                let sent = self.requests.swap_remove(at);
                self.left.refusals -= 1;
                let about = About::Call(self.calls[sent.call].id, sent.attempt);
                let side = self.calls[sent.call].side;
                self.side(side, |core, now, desk| core.not_taken(now, about, "quota", desk));
            }
            Step::Reply { at, copy } => {
                let heard = if copy { self.replies[at].clone() } else { self.replies.swap_remove(at) };
                self.left.copies -= u8::from(copy);
                self.side(heard.side, |core, now, desk| {
                    core.message(now, &heard.topic, heard.payload.as_bytes(), false, desk);
                });
            }
            Step::Tick(n) => self.side(n, |_, _, _| {}),
            Step::Wake => self.gateway(Event::Time),
            Step::Down(n) => {
                self.left.drops -= 1;
                Rc::make_mut(&mut self.sides[n]).up = false;
                self.side(n, |core, _, _| core.disconnected());
            }
            Step::Up(n) => {
                Rc::make_mut(&mut self.sides[n]).up = true;
                self.side(n, Core::connected);
            }
            Step::Doubt(n) => {
                self.left.doubts -= 1;
                self.side(n, |core, now, desk| core.thawed(now, false, desk));
            }
            Step::Prove(n) => self.side(n, Core::proved),
            Step::Restart { unsynced_kept } => self.restart(unsynced_kept),
            Step::Ended { at, refused } => {
                let (key, call) = Rc::make_mut(&mut self.gateway).running.remove(at);
                if refused {
                    self.calls[call].refused();
                }
                let (status, outcome) = if refused {
                    (Status::Refused, Outcome::NotExecuted)
                } else {
                    (Status::Ok, Outcome::Executed)
                };
                self.gateway(Event::Ended {
                    key,
                    ended: Ended { status, outcome, response: None, error: None },
                });
            }
            Step::Journaled(at) => {
                let gateway = Rc::make_mut(&mut self.gateway);
                gateway.synced = gateway.journal.len();
                let key = gateway.committing.remove(at);
                self.gateway(Event::Journaled { key, kept: true });
            }
            Step::Pass => {
                let overdue = self.sides.iter().any(|side| self.is_due(side))
                    || self.gateway.core.wake_at().is_some_and(|at| at <= self.gateway_now());
                self.left.freezes -= u8::from(overdue);
                self.now = self.next_instant().unwrap_or(self.now);
                if self.story.is_some() {
                    self.tell(format!("  it is {} us", self.now));
                }
            }
        }
    }

    fn submit(&mut self, n: usize) {
        let received = BootInstant::from_micros(START + self.now);
        let deadline = received.saturating_add(Duration::from_micros(BUDGET));
        self.calls[n].submitted = Some(self.now);
        let id = self.calls[n].id;
        let side = self.calls[n].side;
        let ahead = if side == 1 { self.config.second_ms } else { 0 };
        let made = (WALL_MS + (START + self.now) / 1_000).saturating_add_signed(ahead);
        let topic = RequestTopic { client: client(side), ..topic("g", id.as_u128()) };
        let request = Request {
            topic,
            timestamp: Some(made),
            request: RawValue::from_string("{}".into()).unwrap(),
            timeout: None,
            not_after: None,
            attempt: 1,
            caller: Some("me".into()),
            traceparent: None,
        };
        self.side(side, |core, now, desk| {
            core.submit(now, NewCall { request, form: Form::Native, received, deadline }, desk);
        });
    }

    fn deliver(&mut self, sent: &Sent, trusted: bool) {
        let wall = Wall {
            now_ms: (WALL_MS + (START + self.now) / 1_000).saturating_add_signed(self.config.wall_off_ms),
            error_ms: WALL_ERROR_MS,
        };
        let receipt = Receipt {
            wall: trusted.then_some(wall),
            stalled: false,
            retained: false,
            since: Instant::from_micros(self.gateway.started),
            local: false,
        };
        let message = Received::parse(&sent.topic, sent.payload.as_bytes()).unwrap();
        self.gateway(Event::Received { message, receipt, params: Ok((sent.call, sent.round)) });
    }

    fn restart(&mut self, unsynced_kept: bool) {
        self.left.restarts -= 1;
        let old = &self.gateway;
        let kept = if unsynced_kept { old.journal.len() } else { old.synced };
        let (past, incarnation) = (old.journal[..kept].to_vec(), old.incarnation + 1);
        self.gateway = Rc::new(Gateway::new(&self.config, incarnation, self.gateway_now().as_micros(), past));
        if self.config.presence {
            for side in 0..self.sides.len() {
                self.presence(side, false, incarnation - 1);
                self.presence(side, true, incarnation);
            }
        }
    }

    fn gateway_now(&self) -> Instant {
        Instant::from_micros(START + self.now + AHEAD)
    }

    pub(super) fn tell(&mut self, words: String) {
        if let Some(story) = &mut self.story {
            story.push(words);
        }
    }
}
