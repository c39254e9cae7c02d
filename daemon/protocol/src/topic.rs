//! Topics of the three message forms.
//!
//! A reply's topic is derived from the request's, never taken from a payload or a property.

use std::fmt;

use uuid::Uuid;

use crate::level::{Level, LevelError};
use crate::{MAX_TOPIC_LEN, MAX_TOPIC_LEVELS};

/// `{target}/{method}/{client}/{id}`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestTopic {
    /// The gateway that is asked.
    pub target: Level,
    /// The method that is asked for.
    pub method: Level,
    /// The return address of the one who asks.
    pub client: Level,
    /// The call's id.
    pub id: Uuid,
}

/// `{client}/{id}/{target}/{method}/ack`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplyTopic(pub RequestTopic);

/// `nowd/presence/{target}`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PresenceTopic(pub Level);

/// A topic is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It is longer than any broker of ours takes.
    #[error("the topic is {0} bytes long; at most {MAX_TOPIC_LEN} are allowed")]
    TooLong(usize),
    /// It has another number of levels than the form wants.
    #[error("the topic has {found} levels; {form} has {expected}")]
    Levels {
        /// The form, as a pattern.
        form: &'static str,
        /// How many levels the form has.
        expected: usize,
        /// How many there are, counted up to one more than any topic may have.
        found: usize,
    },
    /// A fixed level has another word.
    #[error("the topic is not of the form {0}")]
    Form(&'static str),
    /// A level is not allowed.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The id is no UUID in canonical lower case.
    #[error(
        "the id in the topic is not a UUID in canonical lower case, such as 0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c"
    )]
    Id,
}

/// How a reply's topic ends.
const ACK: &str = "/ack";

const REQUEST: &str = "{target}/{method}/{client}/{id}";
const REPLY: &str = "{client}/{id}/{target}/{method}/ack";
const PRESENCE: &str = "nowd/presence/{target}";

impl RequestTopic {
    /// Reads a request's topic.
    pub fn parse(topic: &str) -> Result<Self, TopicError> {
        let [target, method, client, id] = levels(topic, REQUEST)?;
        let topic = Self {
            target: Level::new(target)?,
            method: Level::new(method)?,
            client: Level::new(client)?,
            id: uuid(id)?,
        };
        topic.check_len()?;
        Ok(topic)
    }

    /// Checks that the request's and the reply's topic stay within [`MAX_TOPIC_LEN`].
    pub fn check_len(&self) -> Result<(), TopicError> {
        let len = self.reply_len();
        if len > MAX_TOPIC_LEN { Err(TopicError::TooLong(len)) } else { Ok(()) }
    }

    /// The reply's topic, as a text.
    #[must_use]
    pub fn reply(&self) -> String {
        let mut text = String::with_capacity(self.reply_len());
        let mut id = Uuid::encode_buffer();
        let id = self.id.hyphenated().encode_lower(&mut id);
        for part in [self.client.as_str(), "/", id, "/", self.target.as_str(), "/", self.method.as_str(), ACK]
        {
            text.push_str(part);
        }
        text
    }

    fn reply_len(&self) -> usize {
        const REST: usize = uuid::fmt::Hyphenated::LENGTH + "///".len() + ACK.len();
        let levels = [&self.client, &self.target, &self.method];
        levels.iter().fold(REST, |len, level| len.saturating_add(level.as_str().len()))
    }

    /// What a gateway subscribes to: all requests for `target`, and nothing else below its name.
    #[must_use]
    pub fn filter(target: &Level) -> String {
        format!("{target}/+/+/+")
    }
}

impl ReplyTopic {
    /// Reads a reply's topic.
    pub fn parse(topic: &str) -> Result<Self, TopicError> {
        let [client, id, target, method, ack] = levels(topic, REPLY)?;
        if ack != "ack" {
            return Err(TopicError::Form(REPLY));
        }
        Ok(Self(RequestTopic {
            target: Level::new(target)?,
            method: Level::new(method)?,
            client: Level::new(client)?,
            id: uuid(id)?,
        }))
    }

    /// What the cloud side subscribes to: all replies to `client`.
    #[must_use]
    pub fn filter(client: &Level) -> String {
        format!("{client}/+/+/+/ack")
    }
}

impl PresenceTopic {
    /// Reads a presence topic.
    pub fn parse(topic: &str) -> Result<Self, TopicError> {
        let [nowd, presence, target] = levels(topic, PRESENCE)?;
        if (nowd, presence) != ("nowd", "presence") {
            return Err(TopicError::Form(PRESENCE));
        }
        Ok(Self(Level::new(target)?))
    }
}

impl fmt::Display for RequestTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.target, self.method, self.client, self.id)
    }
}

impl fmt::Display for ReplyTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reply())
    }
}

impl fmt::Display for PresenceTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nowd/presence/{}", self.0)
    }
}

fn levels<'t, const N: usize>(topic: &'t str, form: &'static str) -> Result<[&'t str; N], TopicError> {
    if topic.len() > MAX_TOPIC_LEN {
        return Err(TopicError::TooLong(topic.len()));
    }
    let mut levels = [""; N];
    let mut found = 0_usize;
    let mut all = topic.split('/').take(MAX_TOPIC_LEVELS + 1);
    for (to, level) in levels.iter_mut().zip(&mut all) {
        *to = level;
        found = found.saturating_add(1);
    }
    found = found.saturating_add(all.count());
    if found == N { Ok(levels) } else { Err(TopicError::Levels { form, expected: N, found }) }
}

fn uuid(text: &str) -> Result<Uuid, TopicError> {
    let id = Uuid::try_parse(text).map_err(|_| TopicError::Id)?;
    let mut canonical = Uuid::encode_buffer();
    if id.hyphenated().encode_lower(&mut canonical) == text { Ok(id) } else { Err(TopicError::Id) }
}
