//! What a device's exception says of the physical world. Knows no line.
//!
//! - 1 to 3 (function, address, value): the device did not accept the request, so it did nothing: `refused`. If this call
//!   has written before, something was done all the same: `failed`, unknown.
//! - 6 (busy): by the protocol it did not accept the request either and wants it sent again later. That is no refusal of what
//!   was asked, so it is `failed`; but not executed, and a caller may try again.
//! - 5 (acknowledge): it accepted the request, works on it and does not say when it is done: `failed`, unknown. It is no `ok`,
//!   because nothing was confirmed, and no `sent`, because a device that answers this wants to be asked again.
//! - All others: `failed`, unknown. A device may fail (4) at any point of its work, and a gateway (10, 11) does not know.
//!
//! What fails in a call that has written nothing and was only reading is `failed` and not executed, as reading moves nothing.

use nowd_plugin::{CallError, Completion, Outcome};
use tokio_modbus::ExceptionCode;

/// How far a call had come when the exception was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It only read, and this was a read.
    Reads,
    /// This was its first write.
    Nothing,
    /// A write had been done.
    Write,
}

/// How a call ends whose request was answered with an exception. `place`: what it was about.
pub(crate) fn completion(
    exception: ExceptionCode,
    unit: u8,
    place: &str,
    hint: Option<&str>,
    after: After,
) -> Completion {
    let code = u8::from(exception);
    let mut message = format!("unit {unit} answered exception {code} ({}) for the {place}", words(code));
    if after == After::Write {
        message.push_str(", after an earlier write of this call had been done");
    }
    if let (2, Some(hint)) = (code, hint) {
        message = format!("{message}; {hint}");
    }
    let error = CallError::new(format!("modbus_exception_{code}"), message);
    match (code, after) {
        (1..=3, After::Reads | After::Nothing) => Completion::Refused(error),
        (6, After::Nothing) | (_, After::Reads) => {
            Completion::Failed { outcome: Outcome::NotExecuted, error }
        }
        (_, After::Nothing | After::Write) => Completion::Failed { outcome: Outcome::Unknown, error },
    }
}

/// The words of the protocol.
const fn words(code: u8) -> &'static str {
    match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        4 => "device failure",
        5 => "acknowledge: accepted, and not done yet",
        6 => "device busy",
        7 => "negative acknowledge",
        8 => "memory parity error",
        10 => "gateway path unavailable",
        11 => "gateway target device failed to respond",
        _ => "not a code of the protocol",
    }
}
