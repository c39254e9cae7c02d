//! One question over the bus, and its answer.

use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream};

use futures_util::StreamExt;

use super::client::AskError;

/// Sends, and hears until the answer comes.
pub(super) async fn answer(connection: &Connection, message: &Message) -> Result<Message, AskError> {
    let gone = |e: zbus::Error| AskError::Gone(e.to_string());
    let mut stream = MessageStream::from(connection);
    connection.send(message).await.map_err(gone)?;
    let serial = message.primary_header().serial_num();
    while let Some(next) = stream.next().await {
        let next = next.map_err(gone)?;
        let header = next.header();
        if header.reply_serial() != Some(serial) {
            continue;
        }
        if next.message_type() != Type::Error {
            return Ok(next.clone());
        }
        let name = header.error_name().map(ToString::to_string).unwrap_or_default();
        let message = next.body().deserialize::<String>().unwrap_or_else(|_| name.clone());
        return Err(AskError::Said { name, message });
    }
    Err(AskError::Gone("the connection was closed".into()))
}
