//! The nucleus's own connection to a real broker.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;

use super::state::{Bridged, Out};
use super::{Published, Shared, locked};

/// Between two attempts to reach the broker.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn run(shared: Arc<Shared>, port: u16, mut queued: mpsc::Receiver<Bridged>) {
    let thing = locked(&shared.state).thing.clone();
    let mut options = MqttOptions::new(thing, "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(5));
    // Beyond what AWS IoT Core takes, so that the broker decides.
    options.set_max_packet_size(Some(1 << 20));
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::new(options, super::state::QUEUE);
    let mut filters = BTreeSet::new();
    // One for each SUBACK that is to come.
    let mut waiting: VecDeque<Vec<(u64, Vec<Out>)>> = VecDeque::new();
    loop {
        tokio::select! {
                   event = events.poll() => match event {
                       Ok(Event::Incoming(Packet::ConnAck(_))) => {
                           locked(&shared.state).online = true;
                           // All that waits is answered after the last filter.
                           let all = waiting.drain(..).flatten().collect::<Vec<_>>();
                           for filter in &filters {
                               drop(client.try_subscribe(filter, QoS::AtLeastOnce));
                               waiting.push_back(Vec::new());
                           }
                           if let Some(last) = waiting.back_mut() {
                               *last = all;
                           }
                       }
                       Ok(Event::Incoming(Packet::SubAck(_))) => {
                           for (session, outs) in waiting.pop_front().unwrap_or_default() {
                               let state = locked(&shared.state);
                               let Some(session) = state.sessions.get(&session) else { continue };
                               for out in outs {
        session.send(out);
        }
                           }
                       }
                       Ok(Event::Incoming(Packet::Publish(message))) => {
                           locked(&shared.state).deliver(&heard(message));
                       }
                       Ok(_) => {}
                       Err(_) => {
                           locked(&shared.state).online = false;
                           tokio::time::sleep(PAUSE).await;
                       }
                   },
                   Some(bridged) = queued.recv() => match bridged {
                       Bridged::Subscribe(filter, session, outs) => {
                           if locked(&shared.state).online {
                               drop(client.try_subscribe(&filter, QoS::AtLeastOnce));
                           }
                           filters.insert(filter);
                           waiting.push_back(vec![(session, outs)]);
                       }
                       Bridged::Publish(message) => publish(&client, message),
                   },
               }
    }
}

fn heard(message: Publish) -> Published {
    let properties = message.properties.unwrap_or_default();
    Published {
        component: String::new(),
        topic: String::from_utf8_lossy(&message.topic).into_owned(),
        payload: message.payload.to_vec(),
        qos: u8::from(message.qos != QoS::AtMostOnce),
        retain: message.retain,
        user_properties: properties.user_properties,
        expiry: properties.message_expiry_interval.map(u64::from),
        correlation_data: properties.correlation_data.map(|data| data.to_vec()),
        response_topic: properties.response_topic,
        content_type: properties.content_type,
    }
}

fn publish(client: &AsyncClient, message: Published) {
    let properties = PublishProperties {
        user_properties: message.user_properties,
        message_expiry_interval: message.expiry.and_then(|seconds| u32::try_from(seconds).ok()),
        correlation_data: message.correlation_data.map(Into::into),
        response_topic: message.response_topic,
        content_type: message.content_type,
        ..PublishProperties::default()
    };
    let qos = if message.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    drop(client.try_publish_with_properties(message.topic, qos, message.retain, message.payload, properties));
}
