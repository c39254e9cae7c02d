//! Methods that the gateway reads by itself.
