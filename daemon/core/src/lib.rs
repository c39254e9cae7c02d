//! Decides what a gateway does with each request: `(now, event) -> actions`.
//!
//! Here the promises are kept: a call is started at most once and never at or after its deadline, every request that
//! proves its return address gets an answer that says what is known, and nothing grows without bound. This crate reads
//! no clock, does no I/O, starts no task and draws no random number: the shell around it does, and can therefore be thin.

mod access;
mod call;
mod core;
mod deadline;
mod event;
mod journal;
mod lane;
mod memory;
mod settings;
mod time;

pub use access::Pattern;
pub use call::CallKey;
pub use core::Core;
pub use event::{
    Action, Drop, Ended, Event, LOCAL_CALLER, LOCAL_CLIENT, Purpose, Receipt, Record, RecordKind, ReplyBody,
    Start, Wall,
};
pub use journal::JournalLine;
pub use lane::LaneReport;
pub use memory::Mark;
pub use settings::{Compat, Lane, Limits, Method, Offer, Settings};
pub use time::Instant;
