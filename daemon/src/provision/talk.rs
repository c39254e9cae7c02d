//! Asking the provisioning service over one connection: what it answers comes on the same one. Nothing is sent again here.

use std::time::Duration;

use bytes::Bytes;
use nowd_link::{Connection, Event, LinkError, Options, Publish, Qos, SendError, Sender, Ticket};

use super::Failure;
use super::answers::{Rejection, Request};

/// How long the service may take: its hook has 5 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

const CERTIFICATE: &str = "$aws/certificates/create-from-csr/json";

/// A connection by the claim, subscribed to all that may be answered.
pub(super) struct Talk {
    connection: Connection,
    sender: Sender,
    registration: String,
}

/// What was answered.
#[derive(Debug)]
pub(super) enum Answer {
    Accepted(Bytes),
    Rejected(Rejection),
}

impl Talk {
    /// Connects, and subscribes before anything is asked, as the service demands.
    pub(super) async fn open(options: &Options, template: &str) -> Result<Self, Failure> {
        let connection =
            Connection::open(options).await.map_err(|e| Failure::of_link(&e, "the claim certificate"))?;
        let sender = connection.sender();
        let registration = format!("$aws/provisioning-templates/{template}/provision/json");
        let mut talk = Self { connection, sender, registration };
        let topics = [CERTIFICATE, talk.registration.as_str()];
        let filters: Vec<String> = topics
            .iter()
            .flat_map(|topic| [format!("{topic}/accepted"), format!("{topic}/rejected")])
            .collect();
        let ticket = talk.sender.subscribe(&filters, Qos::AtLeastOnce).map_err(|e| unsent(&e))?;
        within(talk.subscribed(ticket)).await?;
        Ok(talk)
    }

    async fn subscribed(&mut self, ticket: Ticket) -> Result<(), Failure> {
        loop {
            let Event::Subscribed { ticket: answered, results } = self.next().await? else { continue };
            if answered != ticket {
                continue;
            }
            for (filter, result) in results {
                if let Err(reason) = result {
                    return Err(Failure::refused(format!(
                        "the claim certificate may not subscribe to {filter} ({reason}); let its policy allow iot:Subscribe and iot:Receive there"
                    )));
                }
            }
            return Ok(());
        }
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&mut self, request: Request, payload: String) -> Result<Answer, Failure> {
        let topic = match request {
            Request::Certificate => CERTIFICATE.to_owned(),
            Request::Registration => self.registration.clone(),
        };
        let publish = Publish {
            topic: topic.clone(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            ..Publish::default()
        };
        let ticket = self.sender.publish(publish).map_err(|e| unsent(&e))?;
        within(self.answered(ticket, &topic)).await
    }

    async fn answered(&mut self, ticket: Ticket, topic: &str) -> Result<Answer, Failure> {
        loop {
            match self.next().await? {
                Event::Message(message) => {
                    if let Some(ack) = message.ack {
                        // The answer is here, whether the broker hears that or not.
                        drop(ack.send());
                    }
                    match message.topic.strip_prefix(topic) {
                        Some("/accepted") => return Ok(Answer::Accepted(message.payload)),
                        Some("/rejected") => return Ok(Answer::Rejected(Rejection::parse(&message.payload))),
                        Some(_) | None => {}
                    }
                }
                Event::Acked { ticket: answered, result: Err(reason), .. } if answered == ticket => {
                    // Everybody's business but the policy's: that nobody listens there.
                    if reason == "NoMatchingSubscribers" {
                        continue;
                    }
                    return Err(Failure::refused(format!(
                        "the claim certificate may not publish to {topic} ({reason}); let its policy allow iot:Publish there"
                    )));
                }
                Event::Acked { .. } | Event::Subscribed { .. } | Event::Unsubscribed { .. } | _ => {}
            }
        }
    }

    async fn next(&mut self) -> Result<Event, Failure> {
        self.connection.next().await.map_err(|e| Failure::of_link(&e, "the claim certificate"))
    }

    pub(super) async fn close(self) {
        self.connection.close().await;
    }
}

/// Whether the broker lets this identity in.
pub(super) async fn try_identity(options: &Options) -> Result<(), LinkError> {
    Connection::open(options).await?.close().await;
    Ok(())
}

async fn within<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        answer = answer => answer,
        () = tokio::time::sleep(ANSWER_WITHIN) => Err(Failure::again(format!(
            "the service did not answer within {} s; if that stays so, check that the claim certificate's policy allows iot:Receive, and the template's name",
            ANSWER_WITHIN.as_secs()
        ))),
    }
}

fn unsent(e: &SendError) -> Failure {
    Failure::again(format!("the service was not asked: {e}"))
}
