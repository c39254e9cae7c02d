//! One call on its way to a port's task, and what all kinds of calls have in common there. Knows no frames.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::{Call, CallError, CancellationToken, Completion, Deadline, Outcome};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Port;
use super::earlier::Open;
use super::inbox::Inbox;
use super::line::{GiveUp, Interrupt, Line};
use crate::map::exchange::Exchange;
use crate::modbus;

/// A call on its way to the port's task.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) call: Call,
    pub(crate) work: Work,
    pub(crate) safety: Arc<Safety>,
    pub(crate) done: oneshot::Sender<Completion>,
}

/// What a method has to do with safe actions.
#[derive(Debug, Default)]
pub(crate) struct Safety {
    /// The safe actions of its calls that use the same port.
    pub(crate) by: Vec<String>,
    /// How long these may take, in all.
    pub(crate) within: Duration,
    /// Whether it is the safe action of another.
    pub(crate) makes_safe: bool,
}

/// What is done for a call once it has the line.
#[derive(Debug)]
pub(crate) enum Work {
    /// `[serial]`.
    Frames(Exchange),
    /// `[modbus]`.
    Modbus(modbus::Exchange),
}

/// How far a call has come with the line.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It has ended, and the line is free; or the device is gone.
    Ended(Completion, io::Result<()>),
    /// It was cut off, and may still be answered.
    Open(Open),
}

/// An open line, lent to one call.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) port: &'a Port,
    pub(crate) line: &'a mut Line,
    pub(crate) call: &'a Call,
    /// To be given to everything that waits or writes.
    pub(crate) give_up: &'a GiveUp,
}

impl Work {
    async fn attempt(self, session: Session<'_>) -> Attempt {
        match self {
            Self::Frames(exchange) => exchange.attempt(session).await,
            Self::Modbus(exchange) => exchange.attempt(session).await,
        }
    }
}

impl Transaction {
    /// Runs the call, tells its completion when the line is free again, and says so if the device is gone.
    ///
    /// A safe action of the call that comes meanwhile takes the line from it: nothing more of the call is written, and the
    /// safe action is, as soon as the line is silent for a moment. Gives the call that came and has not been begun.
    pub(crate) async fn run(
        self,
        port: &Port,
        line: &mut Line,
        inbox: &mut Inbox,
        stop: &CancellationToken,
    ) -> (Option<Self>, io::Result<()>) {
        let Self { call, work, safety, done } = self;
        let give_up = GiveUp::of(&call, stop, safety.makes_safe);
        let mut next: Option<Self> = None;
        let attempt = {
            let mut attempt =
                pin!(work.attempt(Session { port, line: &mut *line, call: &call, give_up: &give_up }));
            loop {
                tokio::select! {
                    biased;
                    attempt = &mut attempt => break attempt,
                    other = inbox.urgent(), if next.is_none() && !safety.by.is_empty() => {
                        if safety.by.contains(&other.call.method) {
                            give_up.cut.cancel();
                        }
                        next = Some(other);
                    }
                }
            }
        };
        let open = match attempt {
            Attempt::Open(open) => open,
            Attempt::Ended(completion, line) => {
                done.send(completion).ok();
                return (next, line);
            }
        };
        line.earlier.push(open);
        let mut all = vec![done];
        // What was begun in time goes out whole: after half a frame the device would not understand the next one.
        let is_cut = give_up.cut.is_cancelled() && !give_up.is_over();
        let mut begun = is_cut.then_some(call.deadline);
        let mut left = if is_cut { Ok(()) } else { line.discard_output() };
        while left.is_ok() {
            if let Some(action) = next.take_if(|next| safety.by.contains(&next.call.method)) {
                (next, left) = action.run_beside(port, line, inbox, stop, begun.take(), &mut all).await;
                continue;
            }
            tokio::select! {
                biased;
                other = inbox.urgent(), if next.is_none() && !safety.by.is_empty() => next = Some(other),
                settled = line.settle(port.config.silence(), stop) => {
                    left = settled;
                    break;
                }
            }
        }
        line.end_echo();
        for (open, done) in line.earlier.take().into_iter().zip(all) {
            done.send(open.conclude(port)).ok();
        }
        (next, left)
    }

    /// Runs a safe action beside the call that was cut off. It ends by itself, or is added to those that may still be
    /// answered. Gives the one that came meanwhile, which takes the line from it when half of its own time is over.
    ///
    /// `begun`: until when a frame of the call before may still go out.
    async fn run_beside(
        self,
        port: &Port,
        line: &mut Line,
        inbox: &mut Inbox,
        stop: &CancellationToken,
        begun: Option<Deadline>,
        all: &mut Vec<oneshot::Sender<Completion>>,
    ) -> (Option<Self>, io::Result<()>) {
        let Self { call, work, done, .. } = self;
        let give_up = GiveUp::of(&call, stop, true);
        let mut next: Option<Self> = None;
        let attempt = {
            let mut attempt = pin!(async {
                let quiet = line.quieten(begun, &give_up).await;
                line.end_echo();
                let unsent = line.discard_output().map_err(Interrupt::Gone);
                let session = Session { port, line: &mut *line, call: &call, give_up: &give_up };
                match quiet.and(unsent) {
                    Ok(()) => work.attempt(session).await,
                    Err(interrupt) => match session.cut(interrupt, false) {
                        Err((completion, left)) => Attempt::Ended(completion, left),
                        Ok(_) => Attempt::Ended(port.cancelled(), Ok(())),
                    },
                }
            });
            let mut patience: Option<Duration> = None;
            loop {
                tokio::select! {
                    biased;
                    attempt = &mut attempt => break attempt,
                    other = inbox.urgent(), if next.is_none() => {
                        patience = Some(other.call.deadline.remaining() / 2);
                        next = Some(other);
                    }
                    () = sleep(patience.unwrap_or_default()), if patience.is_some() => {
                        patience = None;
                        give_up.cut.cancel();
                    }
                }
            }
        };
        let left = match attempt {
            Attempt::Ended(completion, left) => {
                done.send(completion).ok();
                left
            }
            Attempt::Open(open) => {
                line.earlier.push(open);
                all.push(done);
                line.discard_output()
            }
        };
        (next, left)
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
