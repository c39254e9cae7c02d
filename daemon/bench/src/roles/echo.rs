//! The far end of the MQTT floor: a process with a TLS connection of its own, that sends back what it is sent, on the topic
//! on which a gateway would answer, with the same quality of service.
//!
//! There are two of it. `rumqttc` is what the issue of the floor names: rumqttc's event loop, behind the TLS stream that
//! the gateway has too, because rumqttc's own TLS is not for use. `bare` has nothing between TLS and the packets, so it
//! is the least that MQTT can cost on this machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use nowd_link::{Connection, Event, Publish, Qos};

use crate::wire::{Login, Message, Wire};

#[derive(Debug, Args)]
pub(crate) struct Echo {
    pub(super) parent: i32,
    kind: Kind,
    /// Its name: client id and first level of its topics
    name: String,
    port: u16,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Rumqttc,
    Bare,
}

/// Says `ready` when it is subscribed.
pub(super) async fn run(echo: Echo) -> anyhow::Result<()> {
    let Echo { kind, name, port, ca, certificate, key, .. } = echo;
    let login = Login { port, ca, certificate, key };
    let filter = format!("{name}/+/+/+");
    match kind {
        Kind::Bare => bare(Wire::open(&login.options(&name)?).await?, &filter).await,
        Kind::Rumqttc => {
            let connection = Connection::open(&login.options(&name)?).await?;
            rumqttc(connection, &filter).await
        }
    }
}

async fn bare(mut wire: Wire, filter: &str) -> anyhow::Result<()> {
    wire.subscribe(filter).await?;
    println!("ready");
    loop {
        let Message { topic, payload, qos, id } = wire.next().await?;
        if let Some(answer) = answer_topic(&topic) {
            wire.publish(&answer, payload, qos)?;
        }
        wire.acknowledge(id)?;
        wire.flush().await?;
    }
}

async fn rumqttc(mut connection: Connection, filter: &str) -> anyhow::Result<()> {
    let sender = connection.sender();
    sender.subscribe(&[filter], Qos::AtLeastOnce)?;
    loop {
        match connection.next().await? {
            Event::Subscribed { .. } => println!("ready"),
            Event::Message(message) => {
                if let Some(topic) = answer_topic(&message.topic) {
                    let (payload, qos) = (message.payload, message.qos);
                    let answer = Publish { topic, payload, qos, ..Publish::default() };
                    // Too many wait to be sent: nothing more is taken until there is room.
                    while sender.publish(answer.clone()).is_err() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                if let Some(ack) = message.ack {
                    ack.send().context("an acknowledgement")?;
                }
            }
            Event::Acked { .. } | Event::Unsubscribed { .. } | _ => {}
        }
    }
}

/// Where a gateway would answer: `{client}/{id}/{target}/{method}/ack`.
fn answer_topic(topic: &str) -> Option<String> {
    let mut levels = topic.split('/');
    let (target, method, client, id) = (levels.next()?, levels.next()?, levels.next()?, levels.next()?);
    Some(format!("{client}/{id}/{target}/{method}/ack"))
}

#[cfg(test)]
mod tests {
    use super::answer_topic;

    #[test]
    fn an_echo_answers_where_a_gateway_would() {
        assert_eq!(answer_topic("gw/m/bench-1/id").unwrap(), "bench-1/id/gw/m/ack");
        assert_eq!(answer_topic("gw/m/bench-1"), None);
    }
}
