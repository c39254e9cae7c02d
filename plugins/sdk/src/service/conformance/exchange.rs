//! One `Invoke` and what came of it, in words.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::bus::{Asked, Heard, clip};
use crate::BootInstant;
use crate::clock::boottime_micros;
use crate::service::Answer;
use crate::service::answer::STATUSES;

/// An `Invoke`.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) request: String,
    pub(super) not_after: u64,
    /// When it was in words: "a second ago".
    pub(super) when: String,
}

/// What came back for it.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) took: Duration,
    pub(super) at: BootInstant,
    pub(super) answer: Result<Answer, Trouble>,
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    Error {
        name: String,
        message: String,
    },
    Form(String),
    TooLong(usize),
    Silence(Duration),
    Broken,
    /// The test could not send it.
    Unsent(String),
}

/// `CLOCK_BOOTTIME`, in microseconds.
pub(super) fn now() -> u64 {
    boottime_micros(BootInstant::now())
}

impl Question {
    pub(super) fn new(method: &str, request: &str, not_after: u64, when: &str) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            method: method.into(),
            request: request.into(),
            not_after,
            when: when.into(),
        }
    }

    /// A call that may run, for `budget` from now.
    pub(super) fn ahead(method: &str, request: &str, budget: Duration) -> Self {
        let micros = u64::try_from(budget.as_micros()).unwrap_or(u64::MAX);
        let when = format!("{budget:?} ahead");
        Self::new(method, request, now().saturating_add(micros), &when)
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, method, request, not_after, when } = self;
        let (id, method, request) = (clip(id, 40), clip(method, 64), clip(request, 120));
        write!(f, "Invoke({id:?}, {method:?}, {request:?}, {not_after}), whose deadline was {when}")
    }
}

impl Said {
    pub(super) fn of(Asked { heard, took, at }: Asked) -> Self {
        let answer = match heard {
            Heard::Return(reply) => match reply.body().deserialize::<(String, String, String)>() {
                Ok((status, outcome, response_json)) => Ok(Answer { status, outcome, response_json }),
                Err(_) => Err(Trouble::Form(clip(&reply.body().signature().to_string(), 100))),
            },
            Heard::Error { name, message, .. } => Err(Trouble::Error { name, message }),
            Heard::TooLong(len) => Err(Trouble::TooLong(len)),
            Heard::Silence(limit) => Err(Trouble::Silence(limit)),
            Heard::Broken => Err(Trouble::Broken),
        };
        Self { took, at, answer }
    }

    pub(super) fn is_silence(&self) -> bool {
        matches!(self.answer, Err(Trouble::Silence(_)))
    }

    /// What it says, without a word of its own for `method`: to be compared with others.
    pub(super) fn error_text(&self, method: &str) -> Option<String> {
        match &self.answer {
            Ok(answer) if answer.outcome == "not_executed" && answer.status != "expired" => {
                let text = format!("{} {}", answer.status, answer.response_json);
                // One that does not mention methods may mean anything.
                let telling = text.contains(method) || text.contains("method");
                telling.then(|| text.replace(method, "*"))
            }
            Err(Trouble::Error { name, message }) => Some(format!("{name} {}", message.replace(method, "*"))),
            Ok(_) | Err(_) => None,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Ok(Answer { status, outcome, response_json }) => {
                let (word, outcome) = (clip(status, 40), clip(outcome, 40));
                write!(f, "{word}, {outcome}, {} after {:.1?}", clip(response_json, 160), self.took)?;
                if let Ok(answer) = &self.answer
                    && !answer.knows_status()
                {
                    write!(f, "; `{word}` is none of {}", STATUSES.join(", "))?;
                }
                Ok(())
            }
            Err(trouble) => trouble.fmt(f),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { name, message } => write!(f, "the D-Bus error {name}: {message}"),
            Self::Form(signature) => write!(f, "an answer of the form {signature:?}"),
            Self::TooLong(len) => write!(f, "a message of {len} bytes, more than a gateway takes"),
            Self::Silence(limit) => write!(f, "no answer within {limit:?}"),
            Self::Broken => f.write_str("the connection to the bus broke"),
            Self::Unsent(e) => write!(f, "nothing: it could not be sent ({e})"),
        }
    }
}
