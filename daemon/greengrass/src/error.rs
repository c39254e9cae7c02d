//! What can go wrong: with the connection, which ends it, and with one call, which does not.
//!
//! No message has a token in it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a connection could not be opened, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IpcError {
    /// The path can be no socket's.
    #[error("the nucleus's socket {path:?} cannot be used: {what}")]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nobody listens there, or we may not.
    #[error("the nucleus cannot be reached at {path:?}")]
    Dial {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// [`crate::Options::open_timeout`] has passed.
    #[error("the nucleus did not accept the connection within {} ms", .after.as_millis())]
    OpenTimeout {
        /// The bound.
        after: Duration,
    },
    /// The nucleus does not know the token, as the classic one says it.
    #[error("the nucleus refused the connection; the component's token is not valid (any more)")]
    Refused,
    /// It closed instead of accepting, as nucleus lite does with a token that it does not know.
    #[error(
        "the nucleus closed the connection instead of accepting it; is the component's token still valid?"
    )]
    ClosedAtConnect,
    /// The connection broke.
    #[error("the connection to the nucleus was lost")]
    Lost {
        /// What the kernel said; nothing when the nucleus just closed it.
        #[source]
        source: Option<io::Error>,
    },
    /// It ended inside a frame.
    #[error("the connection to the nucleus ended in the middle of a message")]
    CutOff,
    /// A frame took too long, either way.
    #[error("the nucleus {what} for {} ms", .after.as_millis())]
    Stuck {
        /// What it did not do.
        what: &'static str,
        /// The bound.
        after: Duration,
    },
    /// What came is no frame.
    #[error("the nucleus sent a message that cannot be read: {what}")]
    Broken {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A frame beyond the bound, whoever made it.
    #[error("a message of {size} bytes is more than the {max} that are taken")]
    TooLarge {
        /// Its length in bytes, as it was declared.
        size: u32,
        /// The bound, in bytes.
        max: usize,
    },
    /// The nucleus says that it or we have broken the protocol.
    #[error("the nucleus ended the conversation: {message}")]
    Protocol {
        /// Its words, in one line.
        message: String,
    },
    /// The connection has ended before, and said why.
    #[error("the connection to the nucleus is closed")]
    Closed,
}

/// Why a call has no answer, or not the wanted one. The connection goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The nucleus said no.
    #[error("the nucleus refused {operation}: {refusal}")]
    Refused {
        /// The operation's name.
        operation: &'static str,
        /// Its reason.
        refusal: Refusal,
    },
    /// No answer within the bound. It may still have been done.
    #[error("the nucleus did not answer {operation} within {} ms", .after.as_millis())]
    TimedOut {
        /// The operation's name.
        operation: &'static str,
        /// The bound.
        after: Duration,
    },
    /// Too many calls and subscriptions, or the nucleus takes nothing.
    #[error("{operation} was not sent because too much is under way with the nucleus")]
    Busy {
        /// The operation's name.
        operation: &'static str,
    },
    /// It does not fit into a frame; nothing was sent.
    #[error("{operation} was not sent because its {size} bytes are more than {max}")]
    TooLarge {
        /// The operation's name.
        operation: &'static str,
        /// Its length in bytes.
        size: u32,
        /// The bound, in bytes.
        max: usize,
    },
    /// The answer is not what the operation's answer looks like.
    #[error("the nucleus's answer to {operation} cannot be read: {what}")]
    Unreadable {
        /// The operation's name.
        operation: &'static str,
        /// What is missing in it.
        what: &'static str,
    },
    /// The connection ended before the answer. It may still have been done.
    #[error("the connection to the nucleus ended before it answered {operation}")]
    Closed {
        /// The operation's name.
        operation: &'static str,
    },
}

impl CallError {
    /// What kind of refusal it is, if it is one.
    #[must_use]
    pub const fn refusal(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal.kind),
            Self::TimedOut { .. }
            | Self::Busy { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. }
            | Self::Closed { .. } => None,
        }
    }
}

/// The nucleus's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it means.
    pub kind: RefusalKind,
    /// `_errorCode`, or whatever stands for it; in one line.
    pub code: String,
    /// Its words, in one line; may be empty.
    pub message: String,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The recipe's `accessControl` does not allow it.
    Unauthorized,
    /// There is no such key, component or deployment.
    NotFound,
    /// What was asked makes no sense to the nucleus.
    InvalidArguments,
    /// This nucleus does not offer the operation, and will not.
    NotSupported,
    /// Something is in its way: a conflict or a condition.
    Conflict,
    /// The nucleus failed; another attempt may succeed.
    Service,
    /// A code that is not known here.
    Other,
}

/// A nucleus's words are cut after so many characters.
const LONGEST_WORDS: usize = 300;

impl Refusal {
    /// What `payload` of an error says; `model` is the frame's `service-model-type`.
    #[must_use]
    pub fn read(model: Option<&str>, payload: &[u8]) -> Self {
        let value: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
        let text = |names: &[&str]| {
            let found = names.iter().find_map(|name| value.get(name).and_then(serde_json::Value::as_str));
            found.map(line).filter(|text| !text.is_empty())
        };
        let message = text(&["_message", "message"]).unwrap_or_default();
        let code = text(&["_errorCode", "error"])
            .or_else(|| model.and_then(|model| model.rsplit('#').next()).map(line))
            .unwrap_or_default();
        Self { kind: RefusalKind::of(&code, &message), code, message }
    }
}

impl RefusalKind {
    fn of(code: &str, message: &str) -> Self {
        // Neither nucleus has a code of its own for an operation that it does not know.
        let words = [code, message].map(str::to_lowercase);
        let unknown =
            |text: &String| text.contains("unsupported operation") || text.contains("unhandled operation");
        if words.iter().any(unknown) {
            return Self::NotSupported;
        }
        match code {
            "UnauthorizedError" => Self::Unauthorized,
            "ResourceNotFoundError" | "ComponentNotFoundError" => Self::NotFound,
            "InvalidArgumentsError" | "InvalidArgumentError" => Self::InvalidArguments,
            "ConflictError" | "FailedUpdateConditionCheckError" => Self::Conflict,
            "ServiceError" => Self::Service,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (true, true) => f.write_str("without a reason"),
            (true, false) => f.write_str(&self.message),
            (false, true) => f.write_str(&self.code),
            (false, false) => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

/// Foreign words, fit for one line of a log, without a full stop.
pub(crate) fn line(text: &str) -> String {
    let text: String = text
        .chars()
        .take(LONGEST_WORDS)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    text.trim_start().trim_end_matches(|letter: char| letter == '.' || letter.is_whitespace()).to_owned()
}

#[cfg(test)]
mod tests;
