//! What all checks share: the plugin on its bus, what it has said of itself, and what has been learnt of it so far.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use zbus::ObjectPath;
use zbus::names::WellKnownName;

use super::bus::{Asked, Client, Heard, clip, message};
use super::exchange::{Question, Said, Trouble, now};
use super::harmless::said;
use super::process::{PrivateBus, Subject};
use super::report::{Check, Level, Problem};
use super::sample::Sample;
use super::{Options, Program, Unreachable, process};
use crate::BootInstant;
use crate::bus::BusAddress;
use crate::clock::boottime_micros;
use crate::service::{Description, INTERFACE};
use crate::words::hint;

/// How long a program of the test's own may take until it is on the bus.
pub(super) const COMES_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait for a supervisor to start a plugin again that has left.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(3);

/// How long the end of a program may take after its connection to the bus has gone.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// How often to look.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether the plugin has shown that it does not act too late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Honours {
    NotShown(&'static str),
    Shown,
    Broken,
}

/// The state of a test.
#[derive(Debug)]
pub(super) struct Bench<'o> {
    pub(super) options: &'o Options,
    pub(super) bus: BusAddress,
    pub(super) client: Client,
    /// The unique name of the plugin's connection, as last seen.
    pub(super) owner: String,
    pub(super) subject: Option<Subject>,
    pub(super) private: Option<PrivateBus>,
    pub(super) described: Option<(String, Description)>,
    pub(super) samples: Vec<Sample>,
    pub(super) honours: Honours,
    pub(super) answers: usize,
    /// Answers that break the contract.
    pub(super) bad_answers: Vec<Problem>,
    /// Deadlines ahead, and how many of them were taken for passed.
    pub(super) ahead: usize,
    pub(super) early: Vec<Problem>,
    /// How long the first of the calls that may be run took at most, when it ran alone and was confirmed.
    pub(super) took_alone: Option<Duration>,
    /// How long a call ran at most while other things were asked.
    pub(super) longest_meanwhile: Duration,
    /// Whether a call has waited in the plugin until it was too late.
    pub(super) waited: bool,
    /// Whether the end of the program, as it was last started, has been told.
    pub(super) end_is_told: bool,
    /// How a method that does not exist is answered, and each that is described, with the method's name left out.
    pub(super) unknown: Vec<String>,
    pub(super) errors: BTreeMap<String, Vec<String>>,
}

impl<'o> Bench<'o> {
    pub(super) async fn set_up(options: &'o Options) -> Result<Self, Unreachable> {
        if let Err(e) = WellKnownName::try_from(options.name.as_str()) {
            let name = clip(&options.name, 200);
            return Err(Unreachable::Wrong(format!(
                "{name:?} is no well-known name such as com.example.Gate: {e}"
            )));
        }
        if ObjectPath::try_from(options.path.as_str()).is_err() {
            let path = clip(&options.path, 200);
            return Err(Unreachable::Wrong(format!("{path:?} is no path such as /com/example/Gate")));
        }
        let (bus, private) = process::bus(options).await?;
        let mut subject = Subject::new(options, &bus);
        if let Some(subject) = &mut subject {
            subject.begin()?;
        }
        let client = Client::connect(&bus).await.map_err(|e| Unreachable::Bus(bus.called(), e))?;
        let within =
            if matches!(options.program, Some(Program::Own(_))) { COMES_WITHIN } else { Duration::ZERO };
        let Some(owner) = arrival(&client, &options.name, "", within).await else {
            let hint = match &mut subject {
                Some(subject) if subject.is_own() => subject.epitaph(within).await,
                Some(_) | None => "; start it, or name its bus with --bus session".into(),
            };
            return Err(Unreachable::Nobody { name: options.name.clone(), bus: bus.called(), hint });
        };
        if client.is_denied(&options.name, &options.path, options.answer_within).await {
            return Err(Unreachable::Denied { name: options.name.clone(), bus: bus.called() });
        }
        let bench = Self {
            options,
            bus,
            client,
            owner,
            subject,
            private,
            described: None,
            samples: Vec::new(),
            honours: Honours::NotShown("not-after was not tested"),
            answers: 0,
            bad_answers: Vec::new(),
            ahead: 0,
            early: Vec::new(),
            took_alone: None,
            longest_meanwhile: Duration::ZERO,
            waited: false,
            end_is_told: false,
            unknown: Vec::new(),
            errors: BTreeMap::new(),
        };
        bench.calls_are_described().await?;
        Ok(bench)
    }

    /// Nothing is run that the plugin would never be asked for. A description that cannot be read is told by `describe`.
    async fn calls_are_described(&self) -> Result<(), Unreachable> {
        let Options { name, calls, .. } = self.options;
        if calls.is_empty() {
            return Ok(());
        }
        let text = said::<String>(&self.ask("Describe").await).ok();
        let Some(described) = text.and_then(|text| Description::parse(&text, name).ok()) else {
            return Ok(());
        };
        let names: Vec<&str> = described.methods.iter().map(|method| method.name.as_str()).collect();
        for (method, params) in calls {
            let wrong = |why: String| {
                Unreachable::Wrong(format!(
                    "--call '{} {}': {why}",
                    clip(method, 64),
                    clip(&params.to_string(), 200)
                ))
            };
            let Some(found) = described.methods.iter().find(|found| found.name == *method) else {
                let hint = clip(&hint(method, names.iter().copied()), 400);
                return Err(wrong(format!("{name} describes no method of this name{hint}")));
            };
            if let Some(Err(e)) = found.params.as_ref().map(|known| known.check(params.clone())) {
                return Err(wrong(format!("what {name} describes does not allow these parameters: {e}")));
            }
        }
        Ok(())
    }

    /// That the program of the test has ended by itself, and what it said. Where a check has `failed`, it may just be ending.
    pub(super) async fn end_of_program(&mut self, failed: bool) -> Option<String> {
        // One that has put itself into the background is still there.
        if self.current_owner().await.is_some() {
            return None;
        }
        let limit = if failed { ENDS_WITHIN } else { Duration::ZERO };
        self.subject.as_mut()?.end_within(limit).await
    }

    pub(super) async fn take_down(&mut self) {
        if let Some(subject) = &mut self.subject {
            subject.end().await;
        }
    }

    /// What would have to be added for this check to be made.
    pub(super) fn lacks(&self, check: Check) -> Option<String> {
        let options = self.options;
        match check.level() {
            Level::Real if options.calls.is_empty() => {
                return Some("add --call 'METHOD {\"param\":1}' with a call that may really be run".into());
            }
            Level::Life if check == Check::BusGone && self.private.is_none() => {
                return Some(
                    "needs a bus of the test's own: give the program after --, without --bus, and install dbus-daemon"
                        .into(),
                );
            }
            Level::Life if options.program.is_none() => {
                return Some(
                    "add -- PROGRAM to have it started by the test, or --restart COMMAND; it is frozen and killed then"
                        .into(),
                );
            }
            Level::Harmless | Level::Real | Level::Life => {}
        }
        let described = matches!(check, Check::NotAfter | Check::WrongParams | Check::HasMethods);
        if described && self.described.is_none() {
            return Some("nothing is described: see describe".into());
        }
        let moves = matches!(
            check,
            Check::WrongParams | Check::Flood | Check::Concurrent | Check::Frozen | Check::Killed
        );
        match &self.honours {
            Honours::Broken if moves || check == Check::Garbage => Some(
                "it acts on calls that come too late, so this could move something: see not-after".into(),
            ),
            Honours::NotShown(why) if moves => {
                Some(format!("this could move something, since {why}: see not-after"))
            }
            Honours::Broken | Honours::NotShown(_) | Honours::Shown => None,
        }
    }

    /// Sees that the plugin is there, and starts it again where it can.
    pub(super) async fn attend(&mut self, check: Check) -> Result<(), String> {
        if matches!(check, Check::HasMethods | Check::Clock | Check::Answers) {
            return Ok(());
        }
        if self.client.is_broken() {
            self.client =
                Client::connect(&self.bus).await.map_err(|e| format!("the bus cannot be reached: {e}"))?;
        }
        if let Some(owner) = arrival(&self.client, &self.options.name, "", COMES_BACK_WITHIN).await {
            self.owner = owner;
            return Ok(());
        }
        self.start_again().await.map_err(|e| format!("the plugin has left the bus{e}"))
    }

    /// Starts the plugin again, and waits until it is on the bus.
    pub(super) async fn start_again(&mut self) -> Result<(), String> {
        let Some(subject) = &mut self.subject else { return Err(String::new()) };
        self.end_is_told = false;
        subject.start_again().await.map_err(|e| format!(", and cannot be started again: {e}"))?;
        if let Some(owner) = arrival(&self.client, &self.options.name, &self.owner, COMES_WITHIN).await {
            self.owner = owner;
            return Ok(());
        }
        self.end_is_told = true;
        let said = subject.epitaph(COMES_WITHIN).await;
        Err(format!(", and started again it does not come back{said}"))
    }

    /// The process of the plugin, as the bus knows it.
    pub(super) async fn process_id(&self) -> Option<u32> {
        self.client.process_id(&self.options.name).await
    }

    /// Who owns the name now.
    pub(super) async fn current_owner(&self) -> Option<String> {
        self.client.owner(&self.options.name).await
    }

    /// Calls a method of the interface that takes nothing.
    pub(super) async fn ask(&self, member: &str) -> Asked {
        self.ask_at(INTERFACE, member, &(), self.options.answer_within).await
    }

    /// Calls any method of the plugin's object.
    pub(super) async fn ask_at<B>(&self, interface: &str, member: &str, body: &B, limit: Duration) -> Asked
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        match message(&self.options.name, &self.options.path, interface, member, body) {
            Ok(message) => self.client.ask(&message, limit).await,
            Err(e) => {
                let heard =
                    Heard::Error { name: "the test could not send it".into(), message: e, by_bus: false };
                Asked { heard, took: Duration::ZERO, at: BootInstant::now() }
            }
        }
    }

    /// One `Invoke`, and what it tells of the plugin.
    pub(super) async fn invoke(&mut self, question: &Question) -> Said {
        let limit = self.options.answer_within;
        self.invoke_for(question, limit).await
    }

    pub(super) async fn invoke_for(&mut self, question: &Question, limit: Duration) -> Said {
        let said = self.invoke_by(&self.client, question, limit).await;
        self.learn(question, &said);
        said
    }

    /// The same on any connection, without learning from it.
    pub(super) async fn invoke_by(&self, client: &Client, question: &Question, limit: Duration) -> Said {
        let body = (&question.id, &question.method, &question.request, question.not_after);
        match message(&self.options.name, &self.options.path, INTERFACE, "Invoke", &body) {
            Ok(message) => Said::of(client.ask(&message, limit).await),
            Err(e) => Said { took: Duration::ZERO, at: BootInstant::now(), answer: Err(Trouble::Unsent(e)) },
        }
    }

    /// Notes what every answer tells, whatever it was asked for.
    pub(super) fn learn(&mut self, question: &Question, said: &Said) {
        let ahead = question.not_after > boottime_micros(said.at).saturating_add(1_000);
        match &said.answer {
            Ok(answer) => {
                self.answers += 1;
                self.ahead += usize::from(ahead);
                if let Err((e, _)) = answer.completion() {
                    let contract = "status and outcome belong together as in the table of the specification (section 4); response_json is JSON, at most 128 KiB";
                    self.bad_answers.push(Problem::breach(
                        question.to_string(),
                        said.to_string(),
                        contract,
                        format!("{e}: answer with a pair that belongs together"),
                    ));
                }
                if !answer.knows_status() {
                    self.bad_answers.push(Problem::breach(
                        question.to_string(),
                        said.to_string(),
                        "status is one of the words of the specification (section 13.1)",
                        "take one of these words: what has another one is not heard as ok, whatever its outcome",
                    ));
                }
                if answer.status == "expired" && ahead {
                    self.early.push(Problem::breach(
                        question.to_string(),
                        said.to_string(),
                        "not_after_us is in microseconds of CLOCK_BOOTTIME, and lies ahead",
                        "compare CLOCK_BOOTTIME in microseconds with it, not the wall clock and not another unit",
                    ));
                }
            }
            Err(Trouble::Form(_)) => {
                self.answers += 1;
                self.bad_answers.push(Problem::breach(
                    question.to_string(),
                    said.to_string(),
                    "Invoke gives three texts: status, outcome, response_json",
                    "answer with the signature sss",
                ));
            }
            Err(_) => {}
        }
    }

    /// A call with these parameters, which comes too late.
    pub(super) fn late(sample: &Sample, params: &Value) -> Question {
        Question::new(
            &sample.method.name,
            &params.to_string(),
            now().saturating_sub(1_000_000),
            "a second ago",
        )
    }

    /// A method whose parameters are known, the author's own first.
    pub(super) fn sample(&self) -> Option<(&Sample, &Value)> {
        let known = |sample: &&Sample| sample.params.is_some();
        let own = self.samples.iter().filter(known).find(|sample| sample.own);
        let sample = own.or_else(|| self.samples.iter().find(known))?;
        Some((sample, sample.params.as_ref()?))
    }
}

/// Waits until somebody other than `before` owns the name.
pub(super) async fn arrival(client: &Client, name: &str, before: &str, within: Duration) -> Option<String> {
    let begun = BootInstant::now();
    loop {
        if let Some(owner) = client.owner(name).await.filter(|owner| owner != before) {
            return Some(owner);
        }
        if BootInstant::now().saturating_since(begun) >= within || client.is_broken() {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
