//! Statuses, what each says of the physical world, and its HTTP code.

use serde::{Deserialize, Serialize};

/// What is known about the physical world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The device did it.
    Executed,
    /// Nobody was asked to do it, or the device did nothing: trying again is safe.
    NotExecuted,
    /// It may have acted.
    Unknown,
}

impl Outcome {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::NotExecuted => "not_executed",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Executed, Self::NotExecuted, Self::Unknown]
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }
}

macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $outcome:expr, $http:literal;)+) => {
        /// How a call ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Status {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Status {
            /// Every status, in the order of the specification's table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// What the status by itself says of the physical world; `None` where plugin or map declares it.
            #[must_use]
            pub const fn outcome(self) -> Option<Outcome> {
                match self { $(Self::$name => $outcome,)+ }
            }

            /// The code of an HTTP answer with this status.
            #[must_use]
            pub const fn http(self) -> u16 {
                match self { $(Self::$name => $http,)+ }
            }
        }
    };
}

statuses! {
    /// The device confirmed it.
    Ok = "ok", Some(Outcome::Executed), 200;
    /// Written in time to a device that never confirms.
    Sent = "sent", Some(Outcome::Unknown), 202;
    /// The device answered with an error.
    Failed = "failed", None, 502;
    /// The device said that it did nothing.
    Refused = "refused", Some(Outcome::NotExecuted), 422;
    /// Started, no result before the deadline.
    Timeout = "timeout", Some(Outcome::Unknown), 504;
    /// Too late at receipt or at the head of its lane; dropped.
    Expired = "expired", Some(Outcome::NotExecuted), 503;
    /// The deadline could not be judged by the gateway's clock; to be sent again with fresh values.
    Resync = "resync", Some(Outcome::NotExecuted), 503;
    /// The lane is full, or the call cannot be served before its deadline.
    Busy = "busy", Some(Outcome::NotExecuted), 429;
    /// Locked out locally, for maintenance.
    Locked = "locked", Some(Outcome::NotExecuted), 423;
    /// No such method.
    UnknownMethod = "unknown_method", Some(Outcome::NotExecuted), 404;
    /// Not what the method's schema or the wire allows.
    InvalidRequest = "invalid_request", Some(Outcome::NotExecuted), 400;
    /// The id was used for another request.
    Conflict = "conflict", Some(Outcome::NotExecuted), 409;
    /// This caller may not use this method.
    Forbidden = "forbidden", Some(Outcome::NotExecuted), 403;
    /// Plugin, bus name or port is not there, or its lane is stuck.
    Unavailable = "unavailable", Some(Outcome::NotExecuted), 503;
    /// A bug; logged with its id.
    Internal = "internal", Some(Outcome::Unknown), 500;
    /// Made by the cloud side: not connected, and nothing was ever published.
    Offline = "offline", Some(Outcome::NotExecuted), 503;
    /// Made by the cloud side: sent, nothing heard in time.
    NoReply = "no_reply", Some(Outcome::Unknown), 504;
}

impl Status {
    /// The status of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.as_str() == word)
    }
}
