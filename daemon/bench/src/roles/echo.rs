//! The far end of the MQTT floor: a process with a TLS connection of its own, that sends back what it is sent, on the topic
//! on which a gateway would answer, with the same quality of service.
//!
//! There are two of it. `rumqttc` is polled by its own event loop; its own TLS drags in outdated crates, so it is led through a Unix socket to
//! the TLS stream that the gateway has too, which costs some microseconds (docs/PERFORMANCE.md). `bare` has nothing between TLS and the packets, so
//! it is the least that MQTT can cost on this machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nowd_link::{Protocol, Stream, dial};
use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use tokio::io::copy_bidirectional;
use tokio::net::UnixListener;
use uuid::Uuid;

use crate::floor::{Dbus, Line};
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
    /// Calls the service on this bus before it sends a message back
    #[arg(long)]
    dbus: Option<String>,
    /// Writes to the device at this line before it sends a message back
    #[arg(long)]
    line: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Rumqttc,
    Bare,
}

/// Says `ready` when it is subscribed.
pub(super) async fn run(echo: Echo) -> anyhow::Result<()> {
    let Echo { kind, name, port, ca, certificate, key, dbus, line, .. } = echo;
    let login = Login { port, ca, certificate, key };
    let filter = format!("{name}/+/+/+");
    match kind {
        Kind::Bare => {
            let dbus = match dbus {
                Some(address) => Some(Dbus::open(&address).await?),
                None => None,
            };
            let line = line.as_deref().map(Line::open).transpose()?;
            bare(Wire::open(&login.options(&name)?).await?, &filter, dbus, line).await
        }
        Kind::Rumqttc => {
            let stream = dial(&login.options(&name)?, Protocol::Mqtt).await?;
            rumqttc(stream, &name, &filter).await
        }
    }
}

async fn bare(mut wire: Wire, filter: &str, dbus: Option<Dbus>, line: Option<Line>) -> anyhow::Result<()> {
    wire.subscribe(filter).await?;
    println!("ready");
    loop {
        let Message { topic, payload, qos, id } = wire.next().await?;
        if let Some(dbus) = &dbus {
            dbus.once(5).await?;
        }
        if let Some(line) = &line {
            line.once(5).await?;
        }
        if let Some(answer) = answer_topic(&topic) {
            wire.publish(&answer, payload, qos)?;
        }
        wire.acknowledge(id)?;
        wire.flush().await?;
    }
}

async fn rumqttc(mut stream: Box<dyn Stream>, name: &str, filter: &str) -> anyhow::Result<()> {
    // A leading NUL: nothing appears in the file system.
    let socket = format!("\0nowd-bench-{}", Uuid::new_v4());
    let listener = UnixListener::bind(&socket)?;
    let mut options = MqttOptions::new(name, socket, 1883);
    options.set_transport(Transport::Unix).set_keep_alive(Duration::from_secs(30));
    // All that may be under way.
    let (client, mut event_loop) = AsyncClient::new(options, 65_536);
    client.try_subscribe(filter, QoS::AtLeastOnce)?;
    let bridge = async {
        let (mut local, _) = listener.accept().await?;
        copy_bidirectional(&mut local, &mut stream).await?;
        anyhow::bail!("the broker has ended the connection")
    };
    let echo = async {
        loop {
            match event_loop.poll().await? {
                Event::Incoming(Incoming::SubAck(_)) => println!("ready"),
                Event::Incoming(Incoming::Publish(publish)) => {
                    if let Some(topic) = answer_topic(std::str::from_utf8(&publish.topic)?) {
                        client.try_publish(topic, publish.qos, false, publish.payload)?;
                    }
                }
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
    };
    tokio::select! {
        ended = bridge => ended,
        ended = echo => ended,
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
