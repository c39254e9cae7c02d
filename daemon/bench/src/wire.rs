//! MQTT with nothing around it: rumqttc's packets straight on a TLS stream. The load generator has one for all that it
//! measures, floor and gateway, so that its own cost is small and the same everywhere.
//!
//! It knows one connection, sends no pings (it asks for no keep-alive), and is no client for anything but measuring.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use bytes::{Bytes, BytesMut};
use nowd_link::{DatePolicy, Options, Protocol, Qos, Stream, Tls, TlsFiles, dial};
use nowd_testkit::Identity;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, ConnectReturnCode, Filter, Packet, PubAck, PubAckReason, Publish, Subscribe,
    SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The largest packet that is taken, in bytes.
const LARGEST: u32 = 160 * 1024;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// How to get into the broker.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) port: u16,
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Login {
    pub(crate) fn new(port: u16, identity: Identity) -> Self {
        let Identity { ca, certificate, key } = identity;
        Self { port, ca, certificate, key }
    }

    /// Loads the files: a configuration of its own, and so no TLS session of an earlier connection.
    pub(crate) fn options(&self, client: &str) -> anyhow::Result<Options> {
        let Self { port, ca, certificate, key } = self.clone();
        let mut options = Options::new(client, "localhost", port);
        let files = TlsFiles { ca: Some(ca), certificate, key };
        options.tls = Some(Arc::new(Tls::load(&files, DatePolicy::Judge)?));
        Ok(options)
    }
}

/// A message that came in.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    /// To acknowledge it by; 0 for `QoS` 0.
    pub(crate) id: u16,
}

/// One connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    read: BytesMut,
    write: BytesMut,
    last_id: u16,
}

impl Wire {
    /// Dials, and waits for CONNACK.
    pub(crate) async fn open(options: &Options) -> anyhow::Result<Self> {
        let mut wire = Self::over(dial(options, Protocol::Mqtt).await?);
        let properties = ConnectProperties { receive_maximum: Some(u16::MAX), ..ConnectProperties::new() };
        let connect = Connect {
            keep_alive: 0,
            client_id: options.client_id.clone(),
            clean_start: true,
            properties: Some(properties),
        };
        wire.queue(&Packet::Connect(connect, None, None))?;
        wire.flush().await?;
        let packet = wire.packet().await?;
        let Packet::ConnAck(connack) = packet else { bail!("no CONNACK but {packet:?}") };
        ensure!(connack.code == ConnectReturnCode::Success, "the broker says {:?}", connack.code);
        Ok(wire)
    }

    /// Nothing has been said over the stream yet.
    pub(crate) fn over(stream: Box<dyn Stream>) -> Self {
        Self { stream, read: BytesMut::new(), write: BytesMut::new(), last_id: 0 }
    }

    /// Subscribes with `QoS` 1, and waits for SUBACK.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> anyhow::Result<()> {
        let mut subscribe = Subscribe::new(Filter::new(filter, QoS::AtLeastOnce), None);
        subscribe.pkid = self.next_id();
        self.queue(&Packet::Subscribe(subscribe))?;
        self.flush().await?;
        let packet = self.packet().await?;
        let Packet::SubAck(ack) = packet else { bail!("no SUBACK but {packet:?}") };
        let granted = ack.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_)));
        ensure!(granted, "the broker does not grant {filter}: {:?}", ack.return_codes);
        Ok(())
    }

    /// Queues a message; [`Self::flush`] sends it.
    pub(crate) fn publish(&mut self, topic: &str, payload: Bytes, qos: Qos) -> anyhow::Result<()> {
        let wire_qos = match qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
        };
        let mut publish = Publish::new(topic, wire_qos, payload, None);
        if qos == Qos::AtLeastOnce {
            publish.pkid = self.next_id();
        }
        self.queue(&Packet::Publish(publish))
    }

    /// Queues the acknowledgement of a message.
    pub(crate) fn acknowledge(&mut self, id: u16) -> anyhow::Result<()> {
        if id == 0 { Ok(()) } else { self.queue(&Packet::PubAck(PubAck::new(id, None))) }
    }

    /// Sends what is queued. May be dropped and called again.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.write.is_empty() {
            self.stream.write_all_buf(&mut self.write).await.context("the broker takes nothing")?;
            self.stream.flush().await.context("the broker takes nothing")?;
        }
        Ok(())
    }

    /// The next message. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Message> {
        loop {
            let packet = self.packet().await?;
            if let Some(message) = message(packet)? {
                return Ok(message);
            }
        }
    }

    /// A message that has been read already.
    pub(crate) fn ready(&mut self) -> anyhow::Result<Option<Message>> {
        while let Some(packet) = self.parse()? {
            if let Some(message) = message(packet)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    fn queue(&mut self, packet: &Packet) -> anyhow::Result<()> {
        packet.write(&mut self.write, Some(LARGEST)).context("a packet that cannot be written")?;
        Ok(())
    }

    async fn packet(&mut self) -> anyhow::Result<Packet> {
        loop {
            if let Some(packet) = self.parse()? {
                return Ok(packet);
            }
            self.read.reserve(CHUNK);
            let len = self.stream.read_buf(&mut self.read).await.context("the broker is not there")?;
            ensure!(len > 0, "the broker hung up");
        }
    }

    fn parse(&mut self) -> anyhow::Result<Option<Packet>> {
        match Packet::read(&mut self.read, Some(LARGEST)) {
            Ok(packet) => Ok(Some(packet)),
            Err(Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error).context("what the broker says is no MQTT"),
        }
    }
}

/// What is left of a packet for whoever measures; acknowledgements that say no are errors.
fn message(packet: Packet) -> anyhow::Result<Option<Message>> {
    if let Packet::Publish(publish) = packet {
        let topic = String::from_utf8(publish.topic.to_vec()).context("a topic")?;
        let qos = if publish.qos == QoS::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        return Ok(Some(Message { topic, payload: publish.payload, qos, id: publish.pkid }));
    }
    if let Packet::Disconnect(disconnect) = &packet {
        bail!("the broker disconnects: {:?}", disconnect.reason_code);
    }
    if let Packet::PubAck(ack) = &packet {
        let taken = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        ensure!(taken, "the broker does not take a message: {:?}", ack.reason);
    }
    Ok(None)
}
