//! How an invoker comes to a connection: over TCP or TLS as the link does it, or as somebody else knows how.

use std::error::Error;
use std::fmt::Debug;
use std::pin::Pin;

use nowd_link::{Connection, Options};

/// Why no connection was opened; shown with all its sources.
pub type DialError = Box<dyn Error + Send + Sync>;

/// An attempt to connect.
pub type Dialling = Pin<Box<dyn Future<Output = Result<Connection, DialError>> + Send>>;

/// Opens connections to the broker. Each is a new one; what it needs for that, such as credentials, it looks up each time.
pub trait Dial: Debug + Send + Sync {
    /// Opens a connection as `options` say, its client id among them, within their `connect_timeout`.
    fn dial(&self, options: Options) -> Dialling;
}

/// TCP or TLS, with the link's own dialling.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Dial for Plain {
    fn dial(&self, options: Options) -> Dialling {
        Box::pin(async move { Ok(Connection::open(&options).await?) })
    }
}
