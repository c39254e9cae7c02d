//! `[serial]` maps: the keys of a method and what a frame means for its call (`method`), a call on an open line
//! (`exchange`), what a device says without being asked (`hears`), and all of it in words for people (`explain`).
//! `[modbus]` maps are in `modbus`.
//!
//! Never opens a port, writes nothing twice, and leaves it to `content` and `framing` what bytes a frame has.

pub(crate) mod exchange;
mod explain;
pub(crate) mod hears;
pub(crate) mod method;
