//! What stands inside a frame: texts (`template` to send, `pattern` to match) or bytes with fields (`hex`), the types of those
//! fields (`field`), and what of all this is in JSON (`value`).
//!
//! Never touches a port, and knows neither steps nor what an answer means for a call. A parameter can never end the frame.

pub(crate) mod field;
pub(crate) mod hex;
pub(crate) mod pattern;
pub(crate) mod template;
pub(crate) mod value;
