//! How a request reaches its gateway: published to the broker, or handed to somebody who delivers to one MQTT client.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nowd_link::Publish;
use nowd_protocol::Level;

/// How requests are delivered. Replies and presence come over the connection to the broker either way.
#[derive(Debug, Clone, Default)]
pub enum Delivery {
    /// By a publish; presence tells beforehand who is not there.
    #[default]
    Mqtt,
    /// To the one MQTT client whose id is the target, by somebody who says whether it is there.
    Direct(Arc<dyn Deliver>),
}

/// A delivery under way.
pub type Delivering = Pin<Box<dyn Future<Output = Delivered> + Send>>;

/// Delivers messages to one MQTT client, past its subscriptions.
pub trait Deliver: Debug + Send + Sync {
    /// Hands `message` to the MQTT client `target` and waits for its acknowledgement, for `left` at most: what is dropped
    /// may have been delivered.
    fn deliver(&self, target: Level, message: Publish, left: Duration) -> Delivering;
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// The client acknowledged it.
    Taken,
    /// The client is not connected; nothing was delivered.
    NotThere,
    /// It was refused, and surely not delivered; why, for people.
    Refused(String),
    /// Too much at once; surely not delivered.
    Throttled,
    /// It may have been delivered; why that is not known, for people.
    Unknown(String),
}
