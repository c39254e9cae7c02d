//! How a completion is said over the bus, and what is believed of what a plugin says.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MAX_RESPONSE_LEN;
use crate::call::Expired;
use crate::completion::{CallError, Completion, Outcome};

/// The three results of `Invoke`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `ok`, `sent`, `failed`, `refused`, `timeout`, `expired`, `invalid_request`, `unavailable` or `internal`.
    pub status: String,
    /// `executed`, `not_executed` or `unknown`.
    pub outcome: String,
    /// The response, or the error.
    pub response_json: String,
}

/// An answer that breaks the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The outcome is none of the three words.
    #[error("it answered the outcome {0:?}, which is none of executed, not_executed and unknown")]
    Outcome(String),
    /// Status and outcome contradict each other.
    #[error("it answered {status} with the outcome {outcome}, which contradict each other")]
    Contradiction {
        /// The status.
        status: String,
        /// The outcome.
        outcome: String,
    },
    /// The response is not JSON.
    #[error("its response is not JSON: {0}")]
    NotJson(String),
    /// The response is too long.
    #[error("its response has {0} bytes, more than the {MAX_RESPONSE_LEN} that can be handed on")]
    TooLong(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Error {
    code: String,
    message: String,
}

impl Default for Error {
    fn default() -> Self {
        Self { code: "plugin_error".into(), message: "the plugin did not say why".into() }
    }
}

const OUTCOMES: [(Outcome, &str); 3] =
    [(Outcome::Executed, "executed"), (Outcome::NotExecuted, "not_executed"), (Outcome::Unknown, "unknown")];

/// The words for a status.
pub(super) const STATUSES: [&str; 9] =
    ["ok", "sent", "failed", "refused", "timeout", "expired", "invalid_request", "unavailable", "internal"];

impl Answer {
    /// What a plugin says of `completion`.
    #[must_use]
    pub fn of(completion: &Completion) -> Self {
        let (status, said) = match completion {
            Completion::Ok(response) => ("ok", Ok(response)),
            Completion::Sent(response) => ("sent", Ok(response)),
            Completion::Failed { error, .. } => ("failed", Err(error.clone())),
            Completion::Refused(error) => ("refused", Err(error.clone())),
            Completion::Timeout(error) => ("timeout", Err(error.clone())),
            Completion::Expired(expired) => ("expired", Err(CallError::new("expired", expired.to_string()))),
            Completion::InvalidRequest(error) => ("invalid_request", Err(error.clone())),
            Completion::Unavailable(error) => ("unavailable", Err(error.clone())),
            Completion::Internal(error) => ("internal", Err(error.clone())),
        };
        let response_json = match said {
            Ok(response) => response.to_string(),
            Err(CallError { code, message }) => {
                // Two texts can always be written as JSON.
                serde_json::to_string(&Error { code, message }).unwrap_or_default()
            }
        };
        let outcome = completion.outcome();
        let word = OUTCOMES.iter().find(|(known, _)| *known == outcome).map_or("unknown", |(_, word)| word);
        Self { status: status.into(), outcome: word.into(), response_json }
    }

    /// Whether its status is one of the words of the contract.
    pub(super) fn knows_status(&self) -> bool {
        STATUSES.contains(&self.status.as_str())
    }

    /// What is known after a plugin has said this. What contradicts itself counts as `unknown`; a status of a later version is
    /// judged by its outcome.
    ///
    /// # Errors
    /// How the answer breaks the contract, and all that is known then.
    pub fn completion(&self) -> Result<Completion, (AnswerError, Completion)> {
        let Some(outcome) = OUTCOMES.iter().find(|(_, word)| *word == self.outcome).map(|(known, _)| *known)
        else {
            return Err(broken(Outcome::Unknown, AnswerError::Outcome(clip(&self.outcome))));
        };
        let fixed = match self.status.as_str() {
            "ok" => Some(Outcome::Executed),
            "sent" | "timeout" | "internal" => Some(Outcome::Unknown),
            "refused" | "expired" | "invalid_request" | "unavailable" => Some(Outcome::NotExecuted),
            _ => None,
        };
        if fixed.is_some_and(|fixed| fixed != outcome) {
            let (status, outcome) = (self.status.clone(), self.outcome.clone());
            return Err(broken(Outcome::Unknown, AnswerError::Contradiction { status, outcome }));
        }
        if self.response_json.len() > MAX_RESPONSE_LEN {
            return Err(broken(outcome, AnswerError::TooLong(self.response_json.len())));
        }
        match self.status.as_str() {
            "ok" | "sent" => match serde_json::from_str::<Value>(&self.response_json) {
                Ok(response) if fixed == Some(Outcome::Executed) => Ok(Completion::Ok(response)),
                Ok(response) => Ok(Completion::Sent(response)),
                Err(e) => Err(broken(outcome, AnswerError::NotJson(e.to_string()))),
            },
            status => Ok(self.unhappy(status, outcome)),
        }
    }

    fn unhappy(&self, status: &str, outcome: Outcome) -> Completion {
        let error = self.error();
        match (status, outcome) {
            // By how much it came too late is in the plugin's own words; the gateway only knows that it did.
            ("expired", _) => Completion::Expired(Expired { late_by: Duration::ZERO }),
            ("invalid_request", _) => Completion::InvalidRequest(error),
            ("unavailable", _) => Completion::Unavailable(error),
            ("timeout", _) => Completion::Timeout(error),
            ("internal", _) => Completion::Internal(error),
            ("failed", outcome) => Completion::Failed { outcome, error },
            ("refused", _) | (_, Outcome::NotExecuted) => Completion::Refused(error),
            (_, outcome) => Completion::Failed { outcome, error },
        }
    }

    /// The error, as far as it can be made out.
    fn error(&self) -> CallError {
        let Error { code, message } = match serde_json::from_str::<Value>(&self.response_json) {
            Ok(said @ Value::Object(_)) => serde_json::from_value(said).unwrap_or_default(),
            Ok(Value::String(message)) => Error { message, ..Error::default() },
            Ok(_) | Err(_) => Error::default(),
        };
        CallError { code: clip(&code), message }
    }
}

fn broken(outcome: Outcome, error: AnswerError) -> (AnswerError, Completion) {
    let known = CallError::new("bad_answer", format!("the plugin breaks its contract: {error}"));
    (error, Completion::Failed { outcome, error: known })
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: &str, outcome: &str, response: &str) -> Answer {
        Answer { status: status.into(), outcome: outcome.into(), response_json: response.into() }
    }

    #[test]
    fn every_completion_comes_through_as_it_was_said() {
        let error = || CallError::new("com.example.Jammed", "the gate is \"jammed\"");
        for completion in [
            Completion::Ok(json!({"position": 40})),
            Completion::Ok(Value::Null),
            Completion::Sent(json!([1])),
            Completion::Failed { outcome: Outcome::Executed, error: error() },
            Completion::Failed { outcome: Outcome::NotExecuted, error: error() },
            Completion::Failed { outcome: Outcome::Unknown, error: error() },
            Completion::Refused(error()),
            Completion::Timeout(error()),
            Completion::Expired(Expired { late_by: Duration::ZERO }),
            Completion::InvalidRequest(error()),
            Completion::Unavailable(error()),
            Completion::Internal(error()),
        ] {
            assert_eq!(Answer::of(&completion).completion(), Ok(completion));
        }
    }

    #[test]
    fn what_breaks_the_contract_claims_no_more_than_is_known() {
        let long = format!("\"{}\"", "x".repeat(MAX_RESPONSE_LEN));
        for (answer, outcome) in [
            (answer("ok", "not_executed", "1"), Outcome::Unknown),
            (answer("refused", "executed", "{}"), Outcome::Unknown),
            (answer("expired", "unknown", "{}"), Outcome::Unknown),
            (answer("ok", "done", "1"), Outcome::Unknown),
            (answer("", "", ""), Outcome::Unknown),
            (answer("ok", "executed", "{oops"), Outcome::Executed),
            (answer("ok", "executed", &long), Outcome::Executed),
        ] {
            let (_, known) = answer.completion().unwrap_err();
            assert!(
                matches!(&known, Completion::Failed { outcome: found, .. } if *found == outcome),
                "{known:?}"
            );
        }
        for (answer, outcome) in [
            (answer("later_word", "executed", "{}"), Outcome::Executed),
            (answer("later_word", "not_executed", "[]"), Outcome::NotExecuted),
            (answer("failed", "unknown", "no JSON"), Outcome::Unknown),
            (answer("refused", "not_executed", "\"in words\""), Outcome::NotExecuted),
        ] {
            assert_eq!(answer.completion().unwrap().outcome(), outcome);
        }
    }
}
