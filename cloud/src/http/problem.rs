//! What is not 2xx: problems as RFC 9457 has them, each kind with its own `type`, `title` and code.
//!
//! The kinds are the statuses of the protocol's table, and a few of HTTP's own that never were a call.

use axum::http::StatusCode;
use nowd_protocol::{ErrorBody, ReplyStatus, Status, Uuid};

use crate::invoker::Answer;

/// What a kind's word follows in `type`.
const TAG: &str = "tag:nowd.io,2026:";

/// The media type of problems.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// A kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A status of the table.
    Status(Status),
    /// There is nothing at the path.
    NoSuchPath,
    /// The path does not take the HTTP method.
    MethodNotAllowed,
    /// The body is above its limit.
    TooLarge,
}

impl Kind {
    /// The status by which it is judged: nothing was published.
    pub(super) const fn status(self) -> Status {
        match self {
            Self::Status(status) => status,
            Self::NoSuchPath | Self::MethodNotAllowed | Self::TooLarge => Status::InvalidRequest,
        }
    }

    /// The word for programs.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Status(status) => status.as_str(),
            Self::NoSuchPath => "no_such_path",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "content_too_large",
        }
    }

    /// The HTTP status code.
    pub(super) const fn http(self) -> u16 {
        match self {
            Self::Status(status) => status.http(),
            Self::NoSuchPath => StatusCode::NOT_FOUND.as_u16(),
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED.as_u16(),
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE.as_u16(),
        }
    }

    /// The same sentence whenever it happens.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Status(status) => match status {
                Status::Ok => "The device confirmed it",
                Status::Sent => "Written in time to a device that never confirms",
                Status::Failed => "The device answered with an error",
                Status::Refused => "The device said that it did nothing",
                Status::Timeout => "Started, and no result before the deadline",
                Status::Expired => "Too late, so it was dropped",
                Status::Resync => "The gateway could not judge the deadline",
                Status::Busy => "Others are being served",
                Status::Locked => "Locked out on site",
                Status::UnknownMethod => "The gateway has no such method",
                Status::InvalidRequest => "Not what the method or the interface allows",
                Status::Conflict => "The id was used for another request",
                Status::Forbidden => "This caller may not do that",
                Status::Unavailable => "What should do it is not there",
                Status::Internal => "A mistake in nowd or a plugin",
                Status::Offline => "There is no connection to the gateway",
                Status::NoReply => "Sent, and nothing heard in time",
            },
            Self::NoSuchPath => "There is nothing at this path",
            Self::MethodNotAllowed => "The path does not take this HTTP method",
            Self::TooLarge => "The body is too large",
        }
    }
}

/// `type`, `code` and `title` of an answer. A status that is newer than this program has its own type, too, if its word is
/// one.
pub(super) fn names(status: &ReplyStatus, kind: Option<Kind>) -> (String, String, &'static str) {
    let kind = match (kind, status) {
        (Some(kind), _) => kind,
        (None, ReplyStatus::Known(status)) => Kind::Status(*status),
        (None, ReplyStatus::Other(word)) => {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            let is_word = (1..=64).contains(&word.len()) && word.bytes().all(plain);
            let type_ = if is_word { format!("{TAG}{word}") } else { "about:blank".to_owned() };
            return (type_, word.clone(), "A status that this version does not know");
        }
    };
    (format!("{TAG}{}", kind.word()), kind.word().to_owned(), kind.title())
}

/// Why a request was never given to the invoker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn expired(message: &str) -> Self {
        Self { kind: Kind::Status(Status::Expired), message: message.to_owned() }
    }

    /// As an answer; the error's code says which kind it was.
    pub(super) fn answer(&self, id: Uuid) -> Answer {
        let error = ErrorBody { code: self.kind.word().to_owned(), message: self.message.clone() };
        Answer { error: Some(error), ..Answer::own(id, self.kind.status(), "") }
    }
}

/// What is wrong with a request, in words.
impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self { kind: Kind::Status(Status::InvalidRequest), message }
    }
}
