//! nowd as a whole: the real program, a real mosquitto with client certificates, a real D-Bus, real ptys.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops; helpers are not in functions marked as tests"
)]

mod audit;
mod bad_messages;
mod bed;
mod calls;
mod clocks;
mod configuration;
mod corpus;
mod crates;
mod examples;
mod greengrass;
mod hostile;
mod isolated;
mod life;
mod local;
mod local_bus;
mod local_shell;
mod lockout;
mod methods;
mod metrics;
mod mistakes;
mod operation;
mod plugin_serve;
mod plugins;
mod polling;
mod power;
mod presence;
mod probe;
mod provision;
mod recipe;
mod reload;
mod renewal;
mod repeats;
mod safe_actions;
mod schema;
mod status;
mod supervised;
mod tools;
