//! One line of a chip, or one that is only in memory. Knows no calls and no deadlines.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gpiocdev::line::Value;
use gpiocdev::{Request, chip::Chip};

use crate::config::{LineName, SIMULATED};

/// Who holds the line, as `gpioinfo` shows it.
const CONSUMER: &str = "nowd-gpio-relay";

/// An output. Off when it is made, and when it is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    chip: String,
    name: LineName,
    active_low: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// None where the line is simulated, and after it failed.
    request: Option<Request>,
    on: bool,
    fault: Option<String>,
}

/// A line cannot be had or set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The kernel said no.
    #[error("{chip}, line {line}: {source}")]
    Kernel {
        /// The chip.
        chip: String,
        /// The line.
        line: String,
        /// Why.
        source: gpiocdev::Error,
    },
    /// The chip has no line of this name.
    #[error("{chip} has no line named {line:?}; `gpioinfo` lists them")]
    NoSuchLine {
        /// The chip.
        chip: String,
        /// The name.
        line: String,
    },
}

impl Line {
    /// Takes the line and switches it off.
    pub(crate) fn take(chip: &str, name: &LineName, active_low: bool) -> Result<Self, LineError> {
        let state = Mutex::new(State { request: None, on: false, fault: None });
        let line = Self { chip: chip.to_owned(), name: name.clone(), active_low, state };
        line.set(false)?;
        Ok(line)
    }

    /// Sets the line. One that failed before is taken anew, so that a chip which was unplugged comes back.
    pub(crate) fn set(&self, on: bool) -> Result<(), LineError> {
        let mut state = self.lock();
        let result = self.write(&mut state, on);
        match &result {
            Ok(()) => {
                state.on = on;
                state.fault = None;
            }
            Err(e) => {
                state.request = None;
                state.fault = Some(e.to_string());
            }
        }
        result
    }

    fn write(&self, state: &mut State, on: bool) -> Result<(), LineError> {
        if self.chip == SIMULATED {
            return Ok(());
        }
        let value = if on { Value::Active } else { Value::Inactive };
        if let Some(request) = &state.request {
            return request.set_lone_value(value).map_err(|source| self.error(source));
        }
        state.request = Some(self.request(value)?);
        Ok(())
    }

    /// What it was set to last. A relay board does not say whether its contact has moved.
    pub(crate) fn is_on(&self) -> bool {
        self.lock().on
    }

    /// Why it cannot be set, if the last attempt failed.
    pub(crate) fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    /// The first value comes with the request: the line is never an output of another level.
    fn request(&self, value: Value) -> Result<Request, LineError> {
        let offset = match &self.name {
            LineName::Offset(offset) => *offset,
            LineName::Name(name) => {
                let chip = Chip::from_path(&self.chip).map_err(|source| self.error(source))?;
                let found = chip.find_line_info(name);
                found
                    .map(|info| info.offset)
                    .ok_or_else(|| LineError::NoSuchLine { chip: self.chip.clone(), line: name.clone() })?
            }
        };
        let mut builder = Request::builder();
        builder.on_chip(&self.chip).with_consumer(CONSUMER).with_line(offset);
        if self.active_low {
            builder.as_active_low();
        }
        builder.as_output(value).request().map_err(|source| self.error(source))
    }

    fn error(&self, source: gpiocdev::Error) -> LineError {
        let line = match &self.name {
            LineName::Offset(offset) => offset.to_string(),
            LineName::Name(name) => format!("{name:?}"),
        };
        LineError::Kernel { chip: self.chip.clone(), line, source }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // What the level is once nobody holds the line is the kernel's affair; until then it is off.
        if self.lock().request.is_some()
            && let Err(e) = self.set(false)
        {
            tracing::error!("a relay could not be switched off at the end: {e}");
        }
    }
}
