//! One call on its way to a port's task, and what all kinds of calls have in common there. Knows no frames.

use std::io;

use nowd_plugin::{Call, CallError, CancellationToken, Completion, Outcome};
use tokio::sync::oneshot;

use super::Port;
use super::line::{GiveUp, Interrupt, Line};
use crate::map::exchange::Exchange;
use crate::modbus;

/// A call on its way to the port's task.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) call: Call,
    pub(crate) work: Work,
    pub(crate) done: oneshot::Sender<Completion>,
}

/// What is done for a call once it has the line.
#[derive(Debug)]
pub(crate) enum Work {
    /// `[serial]`.
    Frames(Exchange),
    /// `[modbus]`.
    Modbus(modbus::Exchange),
}

/// An open line, lent to one call.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) port: &'a Port,
    pub(crate) line: &'a mut Line,
    pub(crate) call: &'a Call,
    /// To be given to everything that waits or writes; its `stop` to [`Line::settle`].
    pub(crate) give_up: &'a GiveUp,
}

impl Transaction {
    /// Runs the call, tells its completion when the line is free again, and says so if the device is gone.
    pub(crate) async fn run(self, port: &Port, line: &mut Line, stop: &CancellationToken) -> io::Result<()> {
        let call = &self.call;
        let give_up =
            GiveUp { deadline: call.deadline, cancelled: call.cancelled.clone(), stop: stop.clone() };
        let session = Session { port, line, call, give_up: &give_up };
        let (completion, line) = match self.work {
            Work::Frames(exchange) => exchange.run(session).await,
            Work::Modbus(exchange) => exchange.run(session).await,
        };
        self.done.send(completion).ok();
        line
    }
}

impl Session<'_> {
    /// What an interruption means. `Err`: that is all, with what is known and whether the device is gone. `Ok`: something
    /// was written and the device is still there, so the line must settle; a code and the reason, in words.
    pub(crate) fn cut(
        &self,
        interrupt: Interrupt,
        written: bool,
    ) -> Result<(&'static str, &'static str), (Completion, io::Result<()>)> {
        let port = self.port;
        match interrupt {
            Interrupt::Gone(gone) if written => {
                let error = CallError::new("port_gone", format!("{port} went in mid-call: {gone}"));
                Err((Completion::Failed { outcome: Outcome::Unknown, error }, Err(gone)))
            }
            Interrupt::Gone(gone) => Err((port.gone_because(&gone.to_string()), Err(gone))),
            Interrupt::Late(expired) if !written => Err((expired.into(), Ok(()))),
            Interrupt::Cancelled if !written => Err((port.cancelled(), Ok(()))),
            Interrupt::Late(_) => Ok(("timeout", "the deadline passed")),
            Interrupt::Cancelled => Ok(("cancelled", "the call was cancelled")),
        }
    }
}
