//! Everything that knows AWS: the Lambda function, credentials and signatures, MQTT over WebSocket, Direct Messaging.
//!
//! Built with the feature `aws`, which is on unless a dependent says otherwise. The parts that decide know nothing of it.

mod credentials;
mod direct;
mod emf;
pub mod lambda;
pub mod sign;
mod websocket;

pub use credentials::{Aws, RegionError};
pub use direct::{Direct, DirectError};
pub use websocket::{WebSocket, WebSocketError};
