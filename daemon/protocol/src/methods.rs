//! `nowd.methods`, the method by which a caller learns which methods it may call, page by page.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::object::one_line;

/// The method's name.
pub const METHODS_METHOD: &str = "nowd.methods";

/// The most bytes of entries on one page: a whole reply then stays well below [`crate::MAX_PAYLOAD_LEN`].
pub const MAX_PAGE_LEN: usize = 64 * 1024;

/// The longest description that is told of a method whose entry would not fit on a page otherwise, in characters.
const CUT_DESCRIPTION: usize = 200;

/// The method's parameters: where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodsQuery {
    /// The last name of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The method's response: methods in the order of their names.
#[derive(Debug, Clone, Serialize)]
pub struct MethodsPage<'a> {
    /// What is said of each method: a [`MethodEntry`].
    pub methods: Vec<&'a RawValue>,
    /// Whether there are others after them.
    pub more: bool,
}

/// What a caller is told of a method.
#[derive(Debug, Clone, Serialize)]
pub struct MethodEntry<'a> {
    /// Its name.
    pub name: &'a str,
    /// One sentence for people; may be empty.
    pub description: Cow<'a, str>,
    /// The JSON Schema of its parameters; `null`: it takes anything. Absent where it would not fit on a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<&'a serde_json::Value>,
    /// Its usual budget, in milliseconds.
    pub timeout_ms: u64,
    /// The largest budget that a call may have, in milliseconds.
    pub max_timeout_ms: u64,
    /// Whether running it twice is as good as once.
    pub idempotent: bool,
    /// Whether it overtakes and clears its lane.
    pub stop: bool,
    /// How often the gateway itself reads it, in milliseconds; absent where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_ms: Option<u64>,
}

impl MethodsQuery {
    /// Reads the parameters. `null` asks for the first page.
    pub fn parse(request: &RawValue) -> Result<Self, serde_json::Error> {
        if request.get() == "null" {
            return Ok(Self::default());
        }
        // A derived `Deserialize` would take an array for a struct as well.
        if !request.get().starts_with('{') {
            return Err(serde::de::Error::custom("expected an object, with `after` or without"));
        }
        serde_json::from_str(request.get()).map_err(|e| serde::de::Error::custom(one_line(&e)))
    }

    /// The parameters that ask this.
    #[must_use]
    pub fn payload(&self) -> Box<RawValue> {
        raw(self)
    }
}

impl MethodsPage<'_> {
    /// The response that says this.
    #[must_use]
    pub fn response(&self) -> Box<RawValue> {
        raw(self)
    }
}

impl MethodEntry<'_> {
    /// The entry as it stands on a page: no longer than [`MAX_PAGE_LEN`], without its `params` if need be.
    #[must_use]
    pub fn bounded(&self) -> Box<RawValue> {
        self.bounded_to(MAX_PAGE_LEN)
    }

    /// The same for a page of `most` bytes.
    #[must_use]
    pub fn bounded_to(&self, most: usize) -> Box<RawValue> {
        let whole = raw(self);
        if whole.get().len() <= most {
            return whole;
        }
        let mut less = Self { params: None, ..self.clone() };
        let without = raw(&less);
        if without.get().len() <= most {
            return without;
        }
        less.description = less.description.chars().take(CUT_DESCRIPTION).collect();
        raw(&less)
    }
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    // Structs of plain fields: serialising cannot fail.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
