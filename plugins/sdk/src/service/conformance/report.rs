//! What the checks are called, what they are about, and what was seen. Asks nothing.

use std::fmt;

use serde_json::{Value, json};

/// One rule of the contract, as it is tested. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`about` says what each is")]
pub enum Check {
    Present,
    Interface,
    Describe,
    Health,
    NotAfter,
    UnknownMethod,
    WrongParams,
    HasMethods,
    Clock,
    Garbage,
    CancelUnknown,
    Flood,
    Concurrent,
    Call,
    Late,
    Queued,
    ConcurrentCalls,
    Meanwhile,
    Cancel,
    Frozen,
    Killed,
    Terminated,
    BusGone,
    Answers,
}

/// How far a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It moves nothing in a correct plugin.
    Harmless,
    /// It runs calls that the plugin's author allows.
    Real,
    /// It freezes, kills and restarts the plugin's process.
    Life,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verdict {
    /// As the contract says.
    #[default]
    Ok,
    /// Not made.
    Skip,
    /// Allowed, but people will stumble over it; or it could not be seen.
    Warn,
    /// The contract is broken.
    Fail,
}

/// One breach, or one thing to think about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether it breaks the contract.
    pub breach: bool,
    /// What was sent.
    pub sent: String,
    /// What came back.
    pub came: String,
    /// What the contract says.
    pub contract: String,
    /// What to mend.
    pub mend: String,
}

/// What was seen in one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub check: Check,
    /// What came of it.
    pub verdict: Verdict,
    /// One sentence.
    pub seen: String,
    /// The first few breaches.
    pub problems: Vec<Problem>,
}

/// All findings, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// One for each check, also for those that were not made.
    pub findings: Vec<Finding>,
    /// What a test cannot see, or this one did not, besides the checks that were left out: one sentence each.
    pub not_shown: Vec<String>,
}

/// What comes of a question to a plugin that is gone.
const SILENCES: [&str; 5] = [
    "the D-Bus error org.freedesktop.DBus.Error.NoReply",
    "the D-Bus error org.freedesktop.DBus.Error.ServiceUnknown",
    "the D-Bus error org.freedesktop.DBus.Error.NameHasNoOwner",
    "no answer within",
    "the plugin left the bus",
];

/// More problems of one check only tire.
const MOST_PROBLEMS: usize = 3;

impl Check {
    /// All, in the order in which they are made.
    pub const ALL: &[Self] = &[
        Self::Present,
        Self::Interface,
        Self::Describe,
        Self::Health,
        Self::NotAfter,
        Self::UnknownMethod,
        Self::WrongParams,
        Self::HasMethods,
        Self::Clock,
        Self::CancelUnknown,
        Self::Garbage,
        Self::Flood,
        Self::Concurrent,
        Self::Call,
        Self::Late,
        Self::Queued,
        Self::ConcurrentCalls,
        Self::Meanwhile,
        Self::Cancel,
        Self::Frozen,
        Self::Killed,
        Self::Terminated,
        Self::BusGone,
        Self::Answers,
    ];

    const fn facts(self) -> (&'static str, Level, &'static str) {
        use Level::{Harmless, Life, Real};
        match self {
            Self::Present => ("present", Harmless, "somebody owns the name on the bus"),
            Self::Interface => {
                ("interface", Harmless, "introspection shows the interface as the contract has it")
            }
            Self::Describe => ("describe", Harmless, "the description can be read, and stays the same"),
            Self::Health => ("health", Harmless, "it says how it is"),
            Self::NotAfter => ("not-after", Harmless, "a call that comes too late is not acted on"),
            Self::UnknownMethod => {
                ("unknown-method", Harmless, "a method that does not exist is answered, and nothing done")
            }
            Self::WrongParams => {
                ("wrong-params", Harmless, "parameters that the description does not allow are refused")
            }
            Self::HasMethods => ("has-methods", Harmless, "it knows the methods that it describes"),
            Self::Clock => {
                ("clock", Harmless, "a deadline that lies ahead is not taken for one that has passed")
            }
            Self::CancelUnknown => {
                ("cancel-unknown", Harmless, "Cancel of an id that is not known is ignored")
            }
            Self::Garbage => ("garbage", Harmless, "nonsense is answered, and does not end it"),
            Self::Flood => ("flood", Harmless, "500 calls at once are all answered"),
            Self::Concurrent => ("concurrent", Harmless, "64 calls from 4 connections are all answered"),
            Self::Call => ("call", Real, "allowed calls are answered in time, three times alike"),
            Self::Late => ("late", Real, "calls with 1 to 20 ms left are answered, whether they run or not"),
            Self::Queued => {
                ("queued", Real, "a call whose deadline passes while it waits in the plugin is not acted on")
            }
            Self::ConcurrentCalls => {
                ("concurrent-calls", Real, "the same call four times at once: all are answered")
            }
            Self::Meanwhile => ("meanwhile", Real, "while a call runs, all else is answered"),
            Self::Cancel => ("cancel", Real, "a call that is cancelled is answered, and the plugin goes on"),
            Self::Frozen => {
                ("frozen", Life, "a call whose deadline passes while the process is frozen is not acted on")
            }
            Self::Killed => {
                ("killed", Life, "killed in mid-call and started again, it is the same as before")
            }
            Self::Terminated => ("terminated", Life, "SIGTERM ends it soon"),
            Self::BusGone => (
                "bus-gone",
                Life,
                "after the bus has gone it comes back, or ends so that it is started again",
            ),
            Self::Answers => ("answers", Harmless, "no answer of all the above breaks the contract"),
        }
    }

    /// Its short name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// How far it goes.
    #[must_use]
    pub const fn level(self) -> Level {
        self.facts().1
    }

    /// The rule, in a few words.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.facts().2
    }
}

impl Verdict {
    /// The word at the start of a line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

impl Finding {
    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let problems = self.problems.iter().map(|problem| {
            let Problem { breach, sent, came, contract, mend } = problem;
            json!({"breach": breach, "sent": sent, "came": came, "contract": contract, "mend": mend})
        });
        json!({
            "check": self.check.name(),
            "verdict": self.verdict.word().to_lowercase(),
            "about": self.check.about(),
            "seen": self.seen,
            "problems": problems.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} {:<17} {}", self.verdict.word(), self.check.name(), self.seen)?;
        if self.verdict == Verdict::Fail || self.verdict == Verdict::Warn {
            write!(f, "\n{:23} the rule: {}", "", self.check.about())?;
        }
        for Problem { sent, came, contract, mend, .. } in &self.problems {
            for (what, text) in [("sent", sent), ("came", came), ("contract", contract), ("mend", mend)] {
                if !text.is_empty() {
                    write!(f, "\n{:23} {what:>8}: {text}", "")?;
                }
            }
        }
        Ok(())
    }
}

impl Report {
    /// How many checks ended so.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Whether the contract was broken.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.count(Verdict::Fail) > 0
    }

    /// The last line.
    #[must_use]
    pub fn summary(&self) -> String {
        let counts = [Verdict::Ok, Verdict::Fail, Verdict::Warn, Verdict::Skip]
            .map(|verdict| format!("{} {}", self.count(verdict), verdict.word()));
        counts.join(", ")
    }
}

/// What a check has seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    verdict: Verdict,
    sentence: String,
    problems: Vec<Problem>,
    more: usize,
}

impl Seen {
    pub(super) fn ok(seen: impl Into<String>) -> Self {
        Self { sentence: seen.into(), ..Self::default() }
    }

    pub(super) fn skip(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skip, sentence: reason.into(), ..Self::default() }
    }

    /// A check that failed at once.
    pub(super) fn failed(problem: Problem) -> Self {
        let mut seen = Self::default();
        seen.add(problem);
        seen
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.verdict = self.verdict.max(if problem.breach { Verdict::Fail } else { Verdict::Warn });
        let shown = self.problems.iter().filter(|known| known.breach == problem.breach).count();
        if shown < MOST_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// What was seen, in one sentence; the first breach says it where there is none.
    pub(super) fn says(mut self, seen: impl Into<String>) -> Self {
        self.sentence = seen.into();
        self
    }

    /// The program ended by itself: that is what to mend first, and what was only its silence says nothing else.
    pub(super) fn ended(mut self, end: String) -> Self {
        for problem in &mut self.problems {
            if SILENCES.iter().any(|silence| problem.came.starts_with(silence)) {
                problem.mend.clear();
            }
        }
        let sent = self.problems.first().map_or("see the check before", |_| "see below").to_owned();
        let contract = "whatever is asked, a plugin answers, and goes on";
        let mend = "mend this first, and test again: catch what goes wrong with one call, and never end the process for it";
        self.problems.insert(0, Problem::breach(sent, end.clone(), contract, mend));
        self.verdict = Verdict::Fail;
        self.sentence = end;
        self
    }

    pub(super) fn is_ok(&self) -> bool {
        self.verdict == Verdict::Ok
    }

    pub(super) fn has_failed(&self) -> bool {
        self.verdict == Verdict::Fail
    }

    pub(super) fn finding(mut self, check: Check) -> Finding {
        // A breach goes first.
        self.problems.sort_by_key(|problem| !problem.breach);
        if self.sentence.is_empty() {
            self.sentence = self.problems.first().map_or_else(String::new, |problem| problem.came.clone());
        }
        if self.more > 0 {
            self.sentence = format!("{} (and {} more like those below)", self.sentence, self.more);
        }
        Finding { check, verdict: self.verdict, seen: self.sentence, problems: self.problems }
    }
}

impl Problem {
    /// The contract is broken.
    pub(super) fn breach(
        sent: impl Into<String>,
        came: impl Into<String>,
        contract: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            breach: true,
            sent: sent.into(),
            came: came.into(),
            contract: contract.into(),
            mend: mend.into(),
        }
    }

    /// Something to think about.
    pub(super) fn note(
        sent: impl Into<String>,
        came: impl Into<String>,
        contract: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { breach: false, ..Self::breach(sent, came, contract, mend) }
    }
}
