//! After a freeze: the question on the old connection, and the new one beside it.

use nowd_link::{Event, Options, Qos};

use super::pulse::Gap;
use super::{Background, LONGEST_PAUSE_OF_A_CALL, Phase, Step};
use crate::clock::BootInstant;

impl Background {
    /// This process was stood still: nothing that it knew is known any more.
    pub(super) fn thawed(&mut self, gap: Gap) {
        tracing::debug!(gap = ?gap.lasted, clock_stood = gap.clock_stood, "this process was stood still");
        let now = BootInstant::now();
        self.core.thawed(now, gap.clock_stood, &mut self.desk);
        self.backoff.reset();
        if !matches!(self.phase, Phase::Up(..)) {
            // A handshake that was cut in two by it had better begin again.
            self.phase = Phase::Resting(now);
            return;
        }
        let asked = self.core.probe().map(|(message, id)| self.desk.ask(message, id));
        self.doubt = asked.and_then(Result::ok);
        if self.doubt.is_none() {
            // It takes nothing more, so nothing will ever be heard of it.
            return self.left(now);
        }
        self.spare = Some(Phase::Resting(now));
    }

    /// The connection from before the gap works.
    pub(super) fn trust(&mut self) {
        self.doubt = None;
        self.spare = None;
        self.core.proved(BootInstant::now(), &mut self.desk);
    }

    pub(super) fn spare_stepped(&mut self, step: Step) {
        let Some(spare) = self.spare.take() else { return };
        let next = match (step, spare) {
            (Step::Rested, _) => {
                self.spares = self.spares.wrapping_add(1);
                // A second connection with the same client id would end the first, which may still work.
                let client_id = format!("{}-{}", self.options.client_id, self.spares);
                Phase::Opening(self.dial.dial(Options { client_id, ..self.options.clone() }))
            }
            (Step::Opened(Ok(connection)), _) => {
                match connection.sender().subscribe(&[&self.replies], Qos::AtLeastOnce) {
                    Ok(ticket) => Phase::Joining(Box::new(connection), ticket),
                    Err(error) => self.rest_spare(&error),
                }
            }
            (Step::Opened(Err(error)) | Step::Ended(error), _) => self.rest_spare(&*error),
            (Step::Event(Event::Subscribed { ticket, results }), Phase::Joining(connection, joining))
                if ticket == joining =>
            {
                if results.iter().all(|(_, result)| result.is_ok()) {
                    tracing::info!("the connection from before is given up for a new one");
                    self.left(BootInstant::now());
                    return self.join(connection);
                }
                self.rest_spare(&*Box::<dyn std::error::Error>::from("the broker refused the subscription"))
            }
            (Step::Event(_), spare) => spare,
        };
        self.spare = Some(next);
    }

    /// The spare could not be had: to be tried again, as long as the connection is in doubt.
    fn rest_spare(&mut self, error: &(dyn std::error::Error + 'static)) -> Phase {
        tracing::debug!(error, "no connection beside the one in doubt");
        let pause = self.backoff.next_delay().min(LONGEST_PAUSE_OF_A_CALL);
        Phase::Resting(BootInstant::now().saturating_add(pause))
    }
}
