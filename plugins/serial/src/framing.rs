//! Whole frames, as they are on the line: where one ends and the next begins (`kinds`), the checksum in it (`checksum`, with
//! a name in the `catalogue`), how one is made of its content (`wire`) and found again in what comes (`reader`, which
//! keeps what was `missed`).
//!
//! Never reads a port or a clock, and knows neither what a content means nor which call it is for.

mod catalogue;
pub(crate) mod checksum;
pub(crate) mod kinds;
pub(crate) mod missed;
pub(crate) mod reader;
pub(crate) mod wire;
