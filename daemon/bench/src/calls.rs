//! The load generator: publishes requests, hears answers, and checks every one of them: where it came, whose it is, what it
//! says. It keeps the deadline in the gateway's clock as the cloud side does, and counts what is lost, doubled or wrong.

mod tally;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use nowd_link::{Options, Qos};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::measure::{MICRO, now};
use crate::wire::{Message, Wire};

pub(crate) use tally::Tally;

/// A gateway remembers 8,192 ids of one asker for a minute: so many calls are made in the name of one.
const CALLS_OF_AN_ASKER: u32 = 4_000;

/// How long what nobody waits for is listened to.
const LINGER: Duration = Duration::from_millis(20);

/// What is called, and what it answers.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) target: String,
    pub(crate) method: String,
    /// The budget of a call, in nanoseconds.
    pub(crate) timeout: u64,
    answers: Answers,
}

/// A way through a gateway, by its name.
pub(crate) type Make = fn(&str) -> Way;

/// What a call with `{"n":5}` is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// The same bytes: no gateway.
    Echo(Qos),
    /// `5`
    Number,
    /// `{"n":5}`
    Parameters,
    /// `{"n":"5"}`
    Text,
}

impl Answers {
    fn to(self, number: u32) -> String {
        match self {
            Self::Number => number.to_string(),
            Self::Text => format!(r#"{{"n":"{number}"}}"#),
            Self::Parameters | Self::Echo(_) => format!(r#"{{"n":{number}}}"#),
        }
    }
}

/// Two seconds, which is what the cloud side gives a call that names no budget.
const BUDGET: u64 = 2_000_000_000;

impl Way {
    /// The bare echo: `echo-rumqttc` or `echo-bare`.
    pub(crate) fn echo(target: &str, qos: Qos) -> Self {
        Self::new(target, "echo", Answers::Echo(qos))
    }

    /// Through a gateway to a D-Bus method.
    pub(crate) fn dbus(target: &str) -> Self {
        Self::new(target, "dbus.set", Answers::Number)
    }

    /// Through a gateway to a serial device.
    pub(crate) fn serial(target: &str) -> Self {
        Self::new(target, "serial.set", Answers::Text)
    }

    /// Through a gateway to a simulated device.
    pub(crate) fn simulator(target: &str) -> Self {
        Self::new(target, "sim.set", Answers::Parameters)
    }

    /// Through a gateway to a simulated device that takes 5 ms.
    pub(crate) fn slow(target: &str) -> Self {
        Self::new(target, "slow.set", Answers::Parameters)
    }

    /// The same with another budget, in milliseconds.
    pub(crate) fn within(self, milliseconds: u64) -> Self {
        Self { timeout: milliseconds * 1_000 * MICRO, ..self }
    }

    /// What a call with this number is answered with.
    pub(crate) fn response(&self, number: u32) -> String {
        self.answers.to(number)
    }

    fn new(target: &str, method: &str, answers: Answers) -> Self {
        Self { target: target.into(), method: method.into(), timeout: BUDGET, answers }
    }
}

/// A call that was answered. Times are in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// From when on its time counts: when it was to be sent, or was.
    pub(crate) intended: u64,
    pub(crate) heard: u64,
    pub(crate) status: Status,
}

/// What matters of a status here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    Busy,
    Other,
}

#[derive(Debug)]
struct Pending {
    intended: u64,
    deadline: u64,
    number: u32,
    target: String,
    method: String,
    answers: Answers,
    /// What the echo has to bring back.
    payload: Bytes,
}

/// What is known of a gateway's clock.
#[derive(Debug, Clone)]
struct Bound {
    incarnation: Uuid,
    /// What has to be added to our microseconds, at least.
    ahead: i64,
}

#[derive(Debug, Deserialize)]
struct Reply<'a> {
    id: Uuid,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    status: Option<String>,
    gateway: Option<Stamp>,
}

#[derive(Debug, Deserialize)]
struct Stamp {
    incarnation: Uuid,
    now: i64,
}

/// A load generator with one connection.
pub(crate) struct Caller {
    wire: Wire,
    client: String,
    pending: HashMap<Uuid, Pending>,
    answered: HashSet<Uuid>,
    bounds: HashMap<String, Bound>,
    number: u32,
    pub(crate) tally: Tally,
}

impl Caller {
    pub(crate) async fn open(options: &Options) -> anyhow::Result<Self> {
        let mut wire = Wire::open(options).await?;
        wire.subscribe(&format!("{}/+/+/+/ack", options.client_id)).await?;
        Ok(Self::over(wire, options.client_id.clone()))
    }

    fn over(wire: Wire, client: String) -> Self {
        Self {
            wire,
            client,
            pending: HashMap::new(),
            answered: HashSet::new(),
            bounds: HashMap::new(),
            number: 0,
            tally: Tally::default(),
        }
    }

    /// Knows from now on what `other` knows of the gateways' clocks.
    pub(crate) fn adopt(&mut self, other: &Self) {
        self.bounds.clone_from(&other.bounds);
    }

    /// Queues a call; [`Self::flush`] sends it.
    pub(crate) fn send(&mut self, way: &Way, intended: u64) -> anyhow::Result<()> {
        let id = Uuid::new_v4();
        self.number = self.number.wrapping_add(1);
        // Who is late to send it has less of it.
        let deadline = intended.saturating_add(way.timeout);
        let payload = Bytes::from(self.payload(way, id, deadline));
        let topic = format!("{}/{}/{}/{id}", way.target, way.method, self.client);
        let qos = if let Answers::Echo(qos) = way.answers { qos } else { Qos::AtLeastOnce };
        self.wire.publish(&topic, payload.clone(), qos)?;
        self.tally.sent += 1;
        let pending = Pending {
            intended,
            deadline,
            number: self.number,
            target: way.target.clone(),
            method: way.method.clone(),
            answers: way.answers,
            payload,
        };
        self.pending.insert(id, pending);
        Ok(())
    }

    /// Sends what is queued. May be dropped and called again.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        self.wire.flush().await
    }

    /// Waits for answers, and takes all that are there. May be dropped and called again.
    pub(crate) async fn answers(&mut self, into: &mut Vec<Answer>) -> anyhow::Result<()> {
        into.clear();
        while into.is_empty() {
            let message = self.wire.next().await?;
            // What was read at once was there at once.
            let heard = now();
            into.extend(self.hear(&message, heard)?);
            while let Some(message) = self.wire.ready()? {
                into.extend(self.hear(&message, heard)?);
            }
        }
        Ok(())
    }

    /// One call, and its answer.
    pub(crate) async fn call(&mut self, way: &Way) -> anyhow::Result<Answer> {
        let mut answers = Vec::new();
        self.send(way, now())?;
        self.flush().await?;
        self.answers(&mut answers).await?;
        answers.pop().context("an answer was heard")
    }

    /// How many calls were not answered yet.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Listens a little longer to whoever has nothing to say any more: an answer that comes twice comes late.
    pub(crate) async fn linger(&mut self) -> anyhow::Result<()> {
        let mut answers = Vec::new();
        tokio::select! {
            heard = self.answers(&mut answers) => heard,
            () = tokio::time::sleep(LINGER) => Ok(()),
        }
    }

    /// Counts as lost what was not answered, and forgets what was: a measurement begins or ends.
    pub(crate) fn settle(&mut self) {
        for (_, pending) in self.pending.drain() {
            let echo = matches!(pending.answers, Answers::Echo(_));
            let count = if echo { &mut self.tally.echoes_lost } else { &mut self.tally.lost };
            *count += 1;
        }
        self.answered.clear();
    }

    fn payload(&self, way: &Way, id: Uuid, deadline: u64) -> String {
        let not_after = self.bounds.get(&way.target).map(|bound| {
            let at = i64::try_from(deadline / MICRO).unwrap_or(i64::MAX).saturating_add(bound.ahead);
            format!(r#""not_after":{{"incarnation":"{}","at":{at}}},"#, bound.incarnation)
        });
        format!(
            r#"{{"id":"{id}","request":{{"n":{}}},"timeout":{},{}"attempt":1,"caller":"bench-{}"}}"#,
            self.number,
            way.timeout / 1_000 / MICRO,
            not_after.unwrap_or_default(),
            self.number / CALLS_OF_AN_ASKER,
        )
    }

    fn hear(&mut self, message: &Message, heard: u64) -> anyhow::Result<Option<Answer>> {
        self.wire.acknowledge(message.id)?;
        let id = message.topic.split('/').nth(1).and_then(|id| Uuid::parse_str(id).ok());
        let Some(id) = id else {
            self.tally.misrouted += 1;
            return Ok(None);
        };
        let Some(pending) = self.pending.remove(&id) else {
            let count =
                if self.answered.contains(&id) { &mut self.tally.twice } else { &mut self.tally.misrouted };
            *count += 1;
            return Ok(None);
        };
        self.answered.insert(id);
        let expected = format!("{}/{id}/{}/{}/ack", self.client, pending.target, pending.method);
        if message.topic != expected {
            self.tally.misrouted += 1;
        }
        let status = if matches!(pending.answers, Answers::Echo(_)) {
            self.tally.check(message.payload == pending.payload);
            Status::Ok
        } else {
            self.judge(&pending, id, &message.payload, heard)
        };
        if status != Status::Other && heard > pending.deadline {
            self.tally.late += 1;
        }
        Ok(Some(Answer { intended: pending.intended, heard, status }))
    }

    fn judge(&mut self, pending: &Pending, id: Uuid, payload: &[u8], heard: u64) -> Status {
        let Ok(reply) = serde_json::from_slice::<Reply<'_>>(payload) else {
            self.tally.check(false);
            return Status::Other;
        };
        if let Some(stamp) = &reply.gateway {
            self.learn(&pending.target, stamp, heard);
        }
        let status = reply.status.unwrap_or_default();
        let right = pending.answers.to(pending.number);
        let content = status != "ok" || reply.response.is_some_and(|response| response.get() == right);
        self.tally.check(reply.id == id && content);
        let kind = match status.as_str() {
            "ok" => Status::Ok,
            "busy" => Status::Busy,
            _ => Status::Other,
        };
        self.tally.status(status);
        kind
    }

    fn learn(&mut self, target: &str, stamp: &Stamp, heard: u64) {
        let heard = i64::try_from(heard / MICRO).unwrap_or(i64::MAX);
        let ahead = stamp.now.saturating_sub(heard);
        match self.bounds.get_mut(target) {
            Some(bound) if bound.incarnation == stamp.incarnation => bound.ahead = bound.ahead.max(ahead),
            _ => {
                let bound = Bound { incarnation: stamp.incarnation, ahead };
                self.bounds.insert(target.to_owned(), bound);
            }
        }
    }
}

#[cfg(test)]
mod tests;
