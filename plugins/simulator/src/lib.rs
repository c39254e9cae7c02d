//! Simulated devices: a plugin that answers by itself ([`SimulatorPlugin`]), a vehicle on D-Bus ([`vehicle`]) and an
//! alarm panel on a serial line ([`alarm`]). For trying nowd out and for tests; moves nothing in the real world.

pub mod alarm;
pub mod vehicle;

mod plugin;

pub use plugin::{MOST_ACTUATIONS, SimulatorPlugin};
