//! Frames cut out of what a serial device sends, by every framing and with checksums. Included where `crate::framing` is
//! the serial plugin's.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::framing::kinds::LONGEST_FRAME;
use crate::framing::reader::Reader;
use crate::framing::wire::Wire;

fn wire(which: u8) -> Arc<Wire> {
    let (framing, checksum) = match which % 16 {
        0 => (json!({"fixed": 1}), None),
        1 => (json!({"fixed": 8}), Some(json!("CRC-16/MODBUS"))),
        2 => (json!({"line": "\r\n"}), None),
        3 => (json!({"line": "\n"}), Some(json!({"name": "XOR", "as": "hex", "after": "*", "skip": 1}))),
        4 => (json!({"length": "u8", "at": 1}), None),
        5 => (json!({"length": "u16le", "add": -3}), Some(json!("SUM-8"))),
        6 => (json!({"length": "u16be", "at": 2, "add": 5}), Some(json!("CRC-8"))),
        7 => (json!({"start": 2, "end": 3}), None),
        8 => (json!({"start": 2, "end": 3}), Some(json!({"name": "XOR", "after_end": true}))),
        9 => (json!({"start": 2, "end": 3, "escape": 0x10}), Some(json!({"name": "LRC", "after_end": true}))),
        10 => (json!({"start": 0x7e, "end": 0x7e, "escape": 0x7d, "xor": 0x20}), Some(json!("CRC-16/X-25"))),
        11 => (json!({"start": 1, "end": 1}), Some(json!({"name": "SUM-16", "as": "hex-lower"}))),
        12 => (json!("slip"), None),
        13 => (json!("slip"), Some(json!("CRC-32"))),
        14 => (json!("cobs"), None),
        _ => (json!("cobs"), Some(json!("CRC-8/MAXIM-DOW"))),
    };
    Arc::new(Wire::parse(&framing, checksum.as_ref()).unwrap())
}

/// The first byte chooses framing and checksum, the second how the rest is cut into chunks; the rest is what a device
/// sends, and what is sent to it. If it is UTF-8, it is also read as the value of `framing` and of `checksum`.
pub(crate) fn check(data: &[u8]) {
    let Some((&[which, cut], stream)) = data.split_first_chunk::<2>() else { return };
    let wire = wire(which);
    let chunk = usize::from(cut) + 1;
    let found = contents(&wire, stream.chunks(chunk));
    assert_eq!(found, contents(&wire, std::iter::once(stream)), "other frames in other chunks");
    for content in found.iter().take(8).map(Vec::as_slice).chain([stream]) {
        let Ok(frame) = wire.wrap(content) else { continue };
        assert!(frame.len() <= LONGEST_FRAME);
        assert_eq!(contents(&wire, frame.chunks(chunk)), [content], "not what was sent");
    }
    // Whatever came before, after a silence the second frame at the latest is heard.
    let Some(frame) = found.first().and_then(|content| wire.wrap(content).ok()) else { return };
    let mut reader = Reader::new(&wire);
    reader.feed(stream, &mut |_| None::<()>);
    let mut last = None;
    for _ in 0..2 {
        reader.silence(&mut |_| None::<()>);
        last = reader.feed(&frame, &mut |content| Some(content.to_vec()));
    }
    assert_eq!(last.as_ref(), found.first(), "not heard after garbage");
    check_keys(stream);
}

fn contents<'a>(wire: &Arc<Wire>, chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(wire);
    let mut found = Vec::new();
    for bytes in chunks {
        let none = reader.feed(bytes, &mut |content| {
            found.push(content.to_vec());
            None::<()>
        });
        assert!(none.is_none());
        assert!(reader.held() <= LONGEST_FRAME + 8, "{} bytes are held", reader.held());
    }
    found
}

fn check_keys(text: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(text) else { return };
    for wire in [Wire::parse(&value, None), Wire::parse(&json!("cobs"), Some(&value))] {
        match wire {
            Ok(wire) => drop(wire.wrap(b"content")),
            Err(e) => {
                let message = e.to_string();
                assert!(!message.ends_with('.') && !message.contains('\n'), "{message:?}");
            }
        }
    }
}
