//! `[modbus]` maps: coils and registers of a Modbus RTU device, on a port that `[serial]` maps may share.
//!
//! A method has `write`, `read`, or both: then it writes first and reads afterwards. Addresses are those of the protocol, from
//! 0 in each of the four tables. All values are converted, and so checked, before the first request is written.
//!
//! Nothing is ever asked or written again. Modbus RTU has no number that ties an answer to its request, so after a
//! request without an answer the line is left alone until it was silent for the port's `silence`.

mod exception;
mod exchange;
mod item;
mod keys;
mod plan;
mod request;
mod source;
mod value;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::map::{MapError, MapMethod, MapOrigin};
use nowd_plugin::{Call, CallError};
use serde::Deserialize;

use crate::load::{Action, Backend};
use crate::port::config::PortConfig;
use exchange::Todo;
pub(crate) use exchange::{Exchange, Unfinished};
use plan::{MethodTable, Plan, Results, Step};
use value::Order;

/// The greatest unit that a device may have.
const LAST_UNIT: u8 = 247;
/// Above this speed, in bits per second, the silence between two frames does not become shorter.
const FAST: u32 = 19_200;
/// The silence between two frames above that speed.
const SHORTEST_GAP: Duration = Duration::from_micros(1750);

/// `[modbus]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModbusTable {
    port: String,
    /// The device's number, 1 to 247; 0: all devices, which do not answer.
    unit: i64,
    /// The order of numbers of several registers, where an item says none (default `ABCD`).
    #[serde(default)]
    order: Option<String>,
    /// Whether the line repeats what is sent, as some two-wire adapters do.
    #[serde(default)]
    echo: bool,
}

/// A method of a Modbus map, ready to run.
#[derive(Debug)]
pub(crate) struct ModbusMap {
    unit: u8,
    echo: bool,
    plan: Plan,
    /// The silence before each frame.
    gap: Duration,
    /// How long one byte is on the wire.
    byte: Duration,
}

impl ModbusTable {
    fn unit(&self) -> Option<u8> {
        u8::try_from(self.unit).ok().filter(|unit| *unit <= LAST_UNIT)
    }

    fn order(&self) -> Option<Order> {
        let name = self.order.as_deref().unwrap_or("ABCD");
        Order::parse(name).filter(|_| Order::LONG.contains(&name))
    }
}

impl Backend for ModbusTable {
    type Keys = MethodTable;

    fn port(&self) -> &str {
        &self.port
    }

    fn check(&self, port: &PortConfig, origin: &MapOrigin) -> Result<(), MapError> {
        if self.unit().is_none() {
            let message = format!(
                "`unit` is {}; a device has 1 to {LAST_UNIT}, and 0 is all devices at once",
                self.unit
            );
            return Err(origin.at("unit").error(message));
        }
        if self.order().is_none() {
            let name = self.order.as_deref().unwrap_or_default();
            let message = format!("`order` is {name:?}; there are {}", Order::LONG.join(", "));
            return Err(origin.at("order").error(message));
        }
        if port.format.data_bits != 8 {
            let message = format!(
                "Modbus RTU needs 8 data bits, and [ports.{}] has `format = \"{}\"`; most devices come with \"8E1\" or \"8N1\"",
                self.port, port.format
            );
            return Err(origin.at("port").error(message));
        }
        Ok(())
    }

    fn action(&self, port: &PortConfig, method: &mut MapMethod<MethodTable>) -> Result<Action, MapError> {
        // `check` has seen both.
        let (unit, order) = (self.unit().unwrap_or_default(), self.order().unwrap_or_default());
        let (plan, derived) = Plan::parse(method, order, unit == 0)?;
        method.derive(&derived)?;
        let declared: Vec<&str> = method.params.iter().flat_map(nowd_plugin::params::Params::names).collect();
        for template in plan.sources().flat_map(source::Source::templates) {
            template
                .check_declared(declared.iter().copied())
                .map_err(|e| method.origin.at("write").error(format!("`write`: {e}")))?;
        }
        let (gap, byte) = (gap(port), port.characters(10));
        Ok(Action::Modbus(Arc::new(ModbusMap { unit, echo: self.echo, plan, gap, byte })))
    }
}

/// The silence before each frame: 3.5 characters, or what the port declares if that is longer.
fn gap(port: &PortConfig) -> Duration {
    let least = if port.baud > FAST { SHORTEST_GAP } else { port.characters(35) };
    port.gap.map_or(least, |gap| gap.max(least))
}

impl ModbusMap {
    /// Whether it moves nothing.
    pub(crate) fn only_reads(&self) -> bool {
        !self.plan.steps.iter().any(Step::writes)
    }

    /// How long it waits before its frames, in all.
    pub(crate) fn pauses(&self) -> Duration {
        self.plan.steps.iter().fold(Duration::ZERO, |sum, step| match step {
            Step::Wait(wait) => sum.saturating_add(*wait),
            Step::Write(_) | Step::Read(_) => sum.saturating_add(self.gap),
        })
    }

    /// The requests with the parameters of `call` in them.
    pub(crate) fn exchange(self: &Arc<Self>, call: &Call) -> Result<Exchange, CallError> {
        Ok(Exchange { todo: self.todo(call)?, map: Arc::clone(self) })
    }

    fn todo(&self, call: &Call) -> Result<Vec<Todo>, CallError> {
        let invalid = |message: String| CallError::new("invalid_request", message);
        let steps = self.plan.steps.iter().map(|step| {
            let request = match step {
                Step::Wait(wait) => return Ok(Todo::Wait(*wait)),
                Step::Write(write) => write.request(call).map_err(invalid)?,
                Step::Read(read) => read.request(),
            };
            let frame = wire::frame(self.unit, &request)
                .map_err(|e| invalid(format!("request: makes no frame: {e}")))?;
            Ok(Todo::Ask { request, frame })
        });
        steps.collect()
    }

    /// What is sent and what answers mean, a few lines for people, with placeholders left in.
    pub(crate) fn explain(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.plan.steps.iter().map(|step| step.explain(&self.plan.results)).collect();
        let hints = self.plan.steps.iter().filter_map(Step::hint);
        lines.extend(hints.map(|hint| format!("note        {hint}")));
        if self.unit == 0 {
            lines.push(
                "to          all devices at once (unit 0), none of which answers: the status is `sent`"
                    .into(),
            );
        } else {
            lines.push(format!("to          unit {}", self.unit));
            lines.push(
                "refused     exceptions 1 to 3, as long as nothing was written before in the call".into(),
            );
            lines.push("failed      any other exception".into());
        }
        if self.echo {
            lines.push("echo        the line repeats what is sent, which is no answer".into());
        }
        lines
    }

    /// What exactly would be written for `call`, in lines for people; an error is an invalid request.
    pub(crate) fn preview(&self, call: &Call) -> Result<Vec<String>, CallError> {
        let todo = self.todo(call)?;
        let lines = self.plan.steps.iter().zip(todo).map(|(step, todo)| match todo {
            Todo::Wait(wait) => format!("waits       {wait:?}"),
            Todo::Ask { request, frame } => {
                let hex: Vec<String> = frame.iter().map(|byte| format!("{byte:02X}")).collect();
                let verb = if step.writes() { "writes" } else { "reads" };
                let function = request.function_code();
                format!(
                    "{verb:<12}{}, unit {}, function {function}: {}",
                    step.place(),
                    self.unit,
                    hex.join(" ")
                )
            }
        });
        Ok(lines.collect())
    }

    fn results(&self) -> &Results {
        &self.plan.results
    }
}

#[cfg(test)]
mod tests;
