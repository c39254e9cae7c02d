//! How a plugin is.

/// How a plugin is, with one sentence for people where it is not well: lower-case start, no full stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Health {
    /// All methods can work.
    #[default]
    Ok,
    /// Some methods do not work.
    Degraded(String),
    /// None does.
    Failed(String),
}

impl Health {
    /// The word on the bus, and the sentence.
    #[must_use]
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Ok => ("ok", ""),
            Self::Degraded(why) => ("degraded", why),
            Self::Failed(why) => ("failed", why),
        }
    }

    /// What these words mean; a state that is not known is no good sign.
    #[must_use]
    pub fn parse(state: &str, message: &str) -> Self {
        match state {
            "ok" => Self::Ok,
            "degraded" => Self::Degraded(message.to_owned()),
            "failed" => Self::Failed(message.to_owned()),
            other => Self::Degraded(format!(
                "it says {other:?}, which is none of ok, degraded and failed: {message}"
            )),
        }
    }
}
