//! What is told of what came instead of an answer.

use serde_json::json;

use super::unfinished::heard;
use super::*;
use crate::content::pattern::Pattern;
use crate::content::value::Values;
use crate::framing::reader::Reader;
use crate::framing::wire::Wire;

fn told(framing: &Value, checksum: Option<&Value>, reply: &Value, came: &[u8]) -> String {
    let wire = Arc::new(Wire::parse(framing, checksum).unwrap());
    let reply = Pattern::parse(reply, "reply", &wire, &Values::default()).unwrap();
    let mut reader = Reader::new(&wire);
    assert_eq!(reader.feed(came, &mut |_| None::<()>), None);
    assert_eq!(reader.silence(&mut |_| None::<()>), None);
    heard(reader.missed(), &reply, &wire, false)
}

#[test]
fn what_came_is_told_in_the_form_of_the_map() {
    let (crlf, fixed) = (json!({"line": "\r\n"}), json!({"fixed": 4}));
    let (ack, bytes, sum) = (json!("^ACK$"), json!({"hex": "06 .."}), json!("SUM-8"));
    for (framing, checksum, reply, came, expected) in [
        (
            &crlf,
            None,
            &ack,
            &b""[..],
            "nothing was heard: look at the wires, the device's power, `baud` and `format`",
        ),
        (&crlf, None, &ack, b"BUSY\r\nOK\r\nA", "heard \"OK\", which does not match '^ACK$'"),
        (&crlf, None, &ack, b"\r\n", "heard \"\", which does not match '^ACK$'"),
        (
            &crlf,
            None,
            &ack,
            b"\x1b[2J\xff\"it's\"\r\n",
            "heard \"\\u{1b}[2J\\xff\\\"it's\\\"\", which does not match '^ACK$'",
        ),
        (
            &crlf,
            None,
            &ack,
            b"ACK\nACK\n",
            "heard 8 bytes without a whole frame: \"ACK\\nACK\\n\"; the map's `framing` is lines that end in \"\\r\\n\"",
        ),
        (&crlf, None, &bytes, b"\x15\x00\r\n", "heard 15 00, which does not match 06 .. (hex)"),
        (&crlf, None, &bytes, b"\r\n", "heard an empty frame, which does not match 06 .. (hex)"),
        (
            &fixed,
            None,
            &bytes,
            b"\x06",
            "heard 1 byte without a whole frame: 06; the map's `framing` is frames of 4 bytes",
        ),
        (
            &fixed,
            Some(&sum),
            &bytes,
            b"\x06\x01\x02\x00",
            "heard 06 01 02 00, in which the checksum (SUM-8) is wrong",
        ),
    ] {
        assert_eq!(told(framing, checksum, reply, came), expected);
    }
    let long = told(&crlf, None, &ack, &[&[b'x'; 3000][..], b"\r\n"].concat());
    assert_eq!(long, format!("heard \"{}\" ... (3000 bytes), which does not match '^ACK$'", "x".repeat(64)));
}
