//! A gate as a plugin of nowd: the whole of what a plugin's author writes.
//!
//! What the methods are stands in `description.json`, in the words of method maps; what they do stands here. The latest
//! command wins: a call that is overtaken ends at once, so the lane lets several through, and `gate.halt` never waits.
//!
//! It never moves at or after a call's deadline: the check stands directly before the motor is told.

mod motor;
mod record;

use nowd_plugin::service::Description;
use nowd_plugin::{BoxFuture, Call, CallError, Completion, Method, Outcome, Plugin};
use serde_json::json;

use crate::motor::{Motor, Moved};
use crate::record::Record;

/// What the plugin says of itself.
const DESCRIPTION: &str = include_str!("description.json");

/// The gate.
#[derive(Debug)]
pub struct Gate {
    methods: Vec<Method>,
    motor: Motor,
    record: Record,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A gate that is closed. If the environment variable `GATE_RECORD` names a file, each time it acts it appends a line:
    /// `CLOCK_BOOTTIME` in microseconds, the call's id, its deadline in microseconds of that clock, and what it did.
    ///
    /// # Panics
    /// If `description.json` breaks the contract, which each test would tell.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the description is a constant, and each test reads it")]
    pub fn new() -> Self {
        let described = Description::parse(DESCRIPTION, "com.example.Gate");
        let methods = described.expect("description.json is right").methods;
        Self { methods, motor: Motor::default(), record: Record::of_environment() }
    }

    async fn open(&self, call: &Call) -> Completion {
        // The schema has been checked.
        let percent = call.params.get("percent").and_then(serde_json::Value::as_f64).unwrap_or_default();
        let moving = {
            // The last check, directly before acting.
            if let Err(expired) = call.deadline.check() {
                return expired.into();
            }
            self.motor.move_to(percent)
        };
        self.record.acted(call, &format!("open {percent}"));
        let moved = tokio::select! {
            moved = self.motor.end_of(moving) => moved,
            // Nobody waits any more: what can be stopped safely is stopped.
            () = call.cancelled.cancelled() => {
                self.motor.halt_if(moving);
                let message = format!("stopped at {:.0} percent, since nobody waits any more", self.motor.percent());
                return Completion::Timeout(CallError::new("stopped", message));
            }
        };
        match moved {
            Moved::Arrived => Completion::Ok(json!({ "percent": percent })),
            Moved::Interrupted => {
                let message = format!("another command came first, at {:.0} percent", self.motor.percent());
                Completion::Failed {
                    outcome: Outcome::Unknown,
                    error: CallError::new("interrupted", message),
                }
            }
        }
    }

    fn halt(&self, call: &Call) -> Completion {
        if let Err(expired) = call.deadline.check() {
            return expired.into();
        }
        self.motor.halt();
        self.record.acted(call, "halt");
        self.position()
    }

    fn position(&self) -> Completion {
        Completion::Ok(json!({ "percent": self.motor.percent().round(), "moving": self.motor.is_moving() }))
    }
}

impl Plugin for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn methods(&self) -> Vec<Method> {
        self.methods.clone()
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            match call.method.as_str() {
                "gate.open" => self.open(call).await,
                "gate.halt" => self.halt(call),
                "gate.position" => self.position(),
                other => {
                    let message = format!("the gate has no method {other:?}");
                    Completion::Unavailable(CallError::new("unknown_method", message))
                }
            }
        })
    }

    fn explain(&self, method: &str) -> Vec<String> {
        let line = match method {
            "gate.open" => "tells the motor to go to $percent, and waits until it is there",
            "gate.halt" => "tells the motor to stop",
            _ => "asks the motor where it is",
        };
        vec![line.into()]
    }
}

#[cfg(test)]
mod tests;
