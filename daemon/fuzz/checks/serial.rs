//! What a serial device sends: frames cut out of bytes, and what each means; and what a call's parameters are written as.
//! Included where `crate::map`, `crate::content` and `crate::framing` are the serial plugin's.

use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::map::{MapFile, MapSource};
use nowd_plugin::{BootInstant, Call, Deadline};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::framing::kinds::LONGEST_FRAME;
use crate::framing::reader::{LONGEST_LINE, Reader};
use crate::map::method::{Frame, Keys, SerialMap, SerialTable, Verdict};

/// What ends a line; one of them is not found by looking at single bytes.
const TERMINATORS: [&str; 4] = ["\r\n", "\n", "aab", ";"];

/// The first byte chooses a terminator and how the bytes are cut into chunks; the rest is what the device sends, and, if it
/// is UTF-8, the parameter of a call.
pub(crate) fn check(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else { return };
    let terminator = TERMINATORS.get(usize::from(choice & 3)).copied().unwrap_or_default();
    let chunk = usize::from(choice >> 2) + 1;
    let map = map(terminator);
    let expected = lines(terminator.as_bytes(), stream);
    let mut reader = Reader::new(&map.wire);
    let mut found = Vec::new();
    for bytes in stream.chunks(chunk) {
        let none = reader.feed(bytes, &mut |line| {
            found.push(line.to_vec());
            None::<()>
        });
        assert!(none.is_none());
    }
    assert_eq!(found, expected);
    for line in &found {
        check_line(&map, line);
    }
    if let Ok(text) = std::str::from_utf8(stream) {
        check_frame(&map, terminator, text);
    }
}

/// The rule of the reader, said for the whole at once.
fn lines(terminator: &[u8], mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(at) = rest.windows(terminator.len()).position(|window| window == terminator) {
        let (line, after) = rest.split_at(at);
        if line.len() <= LONGEST_LINE {
            found.push(line.to_vec());
        }
        rest = after.get(terminator.len()..).unwrap_or_default();
    }
    found
}

fn map(terminator: &str) -> SerialMap {
    let text = format!(
        "[serial]\nport = \"p\"\nframing = {{ line = {terminator:?} }}\n[methods.m]\nsend = \"SET $x ON\"\n\
         reply = '^OK( (?<state>\\w+))?( (?<rest>.*))?$'\nrefused = '^NO (?<message>.+)$'\n\
         failed = '^ERR (?<code>\\d+)'\nparams.x = true\n"
    );
    let mut file: MapFile<SerialTable, Keys> =
        MapFile::parse(&MapSource { file: "m.toml".into(), text }).unwrap();
    let origin = file.origin();
    file.backend.read_wire(&origin).unwrap();
    let wire = Arc::clone(file.backend.wire(&origin).unwrap());
    SerialMap::new(file.methods.first_mut().unwrap(), &wire).unwrap()
}

fn frames(map: &SerialMap, value: &Value) -> Result<Vec<Frame>, String> {
    let deadline = Deadline::new(BootInstant::from_micros(42), Duration::from_secs(1));
    map.frames(&Call::new(Uuid::nil(), "m", json!({"x": value}), deadline)).map_err(|e| e.to_string())
}

fn check_line(map: &SerialMap, line: &[u8]) {
    let frames = frames(map, &json!(1)).unwrap();
    let Some(Frame::Send { reply: Some(reply), .. }) = frames.first() else { unreachable!("it has a reply") };
    let text = String::from_utf8_lossy(line);
    match map.judge(reply, line) {
        Some(Verdict::Reply(captures)) => {
            assert!(text.starts_with("OK"), "{text:?}");
            for value in captures.values().filter_map(Value::as_str) {
                assert!(text.contains(value), "{text:?}: {value:?}");
            }
        }
        Some(Verdict::Refused(e) | Verdict::Failed(e)) => {
            assert!(text.starts_with("NO ") || text.starts_with("ERR "), "{text:?}");
            assert!(e.message.chars().count() <= 200 && !e.message.contains(char::is_control), "{e:?}");
            assert!(e.code.chars().count() <= 200 && !e.code.contains(char::is_control), "{e:?}");
        }
        Some(Verdict::Bad(e)) => panic!("every text is a text: {e:?}"),
        None => assert!(!text.starts_with("OK ok\0"), "{text:?}"),
    }
}

/// One frame and never two, whatever the parameter is.
fn check_frame(map: &SerialMap, terminator: &str, text: &str) {
    for value in [json!(text), json!([text]), serde_json::from_str(text).unwrap_or_default()] {
        let Ok(frames) = frames(map, &value) else { continue };
        let [Frame::Send { bytes, .. }] = frames.as_slice() else { unreachable!("one step") };
        assert!(bytes.len() <= LONGEST_FRAME);
        let frame = std::str::from_utf8(bytes).unwrap();
        let inside = frame.strip_suffix(terminator).unwrap();
        assert!(!inside.contains(terminator) && !inside.contains(char::is_control), "{frame:?}");
    }
}
