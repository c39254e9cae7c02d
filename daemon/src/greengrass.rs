//! nowd as a component of AWS IoT Greengrass: what was deployed becomes configuration, and nothing that is missing ends the
//! process.
//!
//! The nucleus is never on the path of a call: it is asked on a thread of its own, and whatever it does, or does not do, the
//! gateway runs on with what it was given last.

mod asked;
mod choice;
mod document;
mod identity;
pub(crate) mod judge;
mod keeper;
pub(crate) mod kept;
mod run;
mod signals;
mod standing;
mod waiting;

pub(crate) use asked::ask;
pub use document::Deployed;
pub(crate) use document::{Document, OfNucleus, shown};
pub(crate) use run::{Ended, Process, run};
pub(crate) use standing::{Report, Standing};
