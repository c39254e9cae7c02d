//! `[modbus]` maps: coils and registers of a device on a port that `[serial]` maps may share. Not built yet.

use std::io;
use std::sync::Arc;

use nowd_plugin::map::{MapError, MapMethod, MapOrigin, MethodKeys};
use nowd_plugin::{Call, CallError, Completion};
use serde::Deserialize;

use crate::config::PortConfig;
use crate::load::{Action, Backend};
use crate::transaction::Session;

/// `[modbus]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModbusTable {
    port: String,
}

/// The keys of a method that are this backend's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {}

impl MethodKeys for Keys {
    const KEYS: &'static [&'static str] = &[];
}

/// A method of a Modbus map, ready to run.
#[derive(Debug)]
pub(crate) struct ModbusMap;

/// The requests of one call, with its parameters in them.
#[derive(Debug)]
pub(crate) struct Exchange;

impl Backend for ModbusTable {
    type Keys = Keys;

    fn port(&self) -> &str {
        &self.port
    }

    fn check(&self, _: &PortConfig, origin: &MapOrigin) -> Result<(), MapError> {
        Err(origin.error("[modbus] is not supported by this version"))
    }

    fn action(&self, _: &PortConfig, _: &mut MapMethod<Keys>) -> Result<Action, MapError> {
        Ok(Action::Modbus(Arc::new(ModbusMap)))
    }
}

impl ModbusMap {
    /// The requests with the parameters of `call` in them.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "a stub")]
    pub(crate) fn exchange(&self, _: &Call) -> Result<Exchange, CallError> {
        Ok(Exchange)
    }
}

impl ModbusMap {
    /// What is sent and what answers mean, a few lines for people, with placeholders left in.
    #[allow(clippy::unused_self, reason = "a stub")]
    pub(crate) fn explain(&self) -> Vec<String> {
        Vec::new()
    }

    /// What exactly would be written for `call`, in lines for people; an error is an invalid request.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "a stub")]
    pub(crate) fn preview(&self, _: &Call) -> Result<Vec<String>, CallError> {
        Ok(Vec::new())
    }
}

impl Exchange {
    /// Runs the requests; ends when the line is free again, and says so if the device is gone.
    #[allow(clippy::unused_async, clippy::unused_self, reason = "a stub")]
    pub(crate) async fn run(&self, session: Session<'_>) -> (Completion, io::Result<()>) {
        (session.port.cancelled(), Ok(()))
    }
}
