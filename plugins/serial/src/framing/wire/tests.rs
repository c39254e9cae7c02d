use serde_json::json;

use super::*;

fn parse(framing: &Value, checksum: Option<&Value>) -> Result<Wire, String> {
    Wire::parse(framing, checksum).map_err(|e| e.to_string())
}

#[test]
fn frames_as_they_are_on_the_line() {
    for (framing, checksum, content, expected) in [
        (json!({"line": "\r\n"}), None, &b"RING"[..], &b"RING\r\n"[..]),
        (json!({"fixed": 4}), None, b"\xa0\x01\x01\xa2", b"\xa0\x01\x01\xa2"),
        // The USB relay boards of type LCUS: A0, channel, state, sum.
        (json!({"fixed": 4}), Some(json!("SUM-8")), b"\xa0\x01\x01", b"\xa0\x01\x01\xa2"),
        (json!({"length": "u8", "at": 1}), None, b"\xaahi", b"\xaa\x04hi"),
        (json!({"length": "u16le", "at": 1, "add": 3}), None, b"\xaahi", b"\xaa\x02\x00hi"),
        (json!({"length": "u16be"}), Some(json!("XOR")), b"hi", b"\x00\x05hi\x04"),
        (json!({"start": 2, "end": 3}), None, b"hi", b"\x02hi\x03"),
        (
            json!({"start": 2, "end": 3}),
            Some(json!({"name": "XOR", "after_end": true})),
            b"A",
            b"\x02A\x03\x42",
        ),
        (json!({"start": 2, "end": 3, "escape": 0x10}), None, b"a\x02\x10", b"\x02a\x10\x02\x10\x10\x03"),
        (
            json!({"start": 0x7e, "end": 0x7e, "escape": 0x7d, "xor": 0x20}),
            None,
            b"\x7e\x7d\x01",
            b"\x7e\x7d\x5e\x7d\x5d\x01\x7e",
        ),
        (json!("slip"), None, b"\xc0\xdb!", b"\xc0\xdb\xdc\xdb\xdd!\xc0"),
        (json!("cobs"), None, b"\x11\x22\x00\x33", b"\x03\x11\x22\x02\x33\x00"),
        (json!("cobs"), None, b"", b"\x01\x00"),
    ] {
        let wire = parse(&framing, checksum.as_ref()).unwrap();
        assert_eq!(wire.wrap(content).as_deref(), Ok(expected), "{framing}");
    }
    // From the paper: 254 bytes without a zero need one byte more, and no second one.
    let wire = parse(&json!("cobs"), None).unwrap();
    let long: Vec<u8> = (1..=254).collect();
    assert_eq!(wire.wrap(&long).unwrap(), [&[0xff], long.as_slice(), &[0]].concat());
}

#[test]
fn what_would_be_no_frame() {
    let nmea = json!({"name": "XOR", "as": "hex", "after": "*"});
    for (framing, checksum, content, expected) in [
        (json!({"line": ";"}), None, b"a;b".to_vec(), "holds the terminator of the frame"),
        (json!("slip"), None, Vec::new(), "is empty, which this framing cannot send"),
        (json!({"line": "aa"}), None, b"xa".to_vec(), "holds the terminator of the frame"),
        (json!({"line": "*"}), Some(nmea), b"x".to_vec(), "holds the terminator of the frame"),
        (json!({"fixed": 4}), None, b"abc".to_vec(), "makes a frame of 3 bytes, and `framing.fixed` is 4"),
        (
            json!({"start": 2, "end": 3}),
            None,
            b"a\x03".to_vec(),
            "holds the byte 03, which starts or ends a frame",
        ),
        (json!({"length": "u8"}), None, vec![0; 256], "makes a frame of 257 bytes, which its length field"),
        (
            json!({"length": "u8", "add": 9}),
            None,
            vec![0; 2],
            "makes a frame of 3 bytes, which its length field",
        ),
        (json!({"length": "u8", "at": 3}), None, vec![0; 2], "is shorter than the 3 bytes"),
        (json!("slip"), None, vec![0xc0; 2048], "makes a frame of 4098 bytes, more than 4096"),
        (json!("cobs"), None, vec![1; 4096], "makes a frame of 4114 bytes, more than 4096"),
    ] {
        let wire = parse(&framing, checksum.as_ref()).unwrap();
        let message = wire.wrap(&content).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{framing}: {message}");
    }
}

#[test]
fn a_framing_is_told_with_all_its_keys() {
    for (framing, expected) in [
        (json!({"start": 2, "end": 3}), "frames from 02 to 03"),
        (
            json!({"start": 2, "end": 3, "escape": 0x1b}),
            "frames from 02 to 03; inside, 1B stands before such a byte",
        ),
        (
            json!({"start": 0x7e, "end": 0x7e, "escape": 0x7d, "xor": 0x20}),
            "frames from 7E to 7E; inside, 7D stands before such a byte, which is exclusive-ored with 20",
        ),
        (json!("slip"), "SLIP frames"),
    ] {
        assert_eq!(Wire::parse(&framing, None).unwrap().to_string(), expected);
    }
}

#[test]
fn mistakes() {
    for (framing, expected) in [
        (json!({"line": ""}), "`framing.line`: must be 1 to 8 bytes, such as \"\\r\\n\""),
        (json!({"line": "123456789"}), "`framing.line`: must be 1 to 8 bytes"),
        (
            json!({"line": "\\r\\n"}),
            "`framing.line`: '\\r' in single quotes is 4 characters, a backslash first; write \"\\r\\n\" in double quotes",
        ),
        (json!({"line": "\\x03"}), "`framing.line`: '\\x' in single quotes is 4 characters"),
        (json!({"line": "\\r\n"}), "`framing.line`: '\\r' in single quotes is 3 characters"),
        (json!({"a\nb": 1}), "`framing.a\u{fffd}b`: unknown key; "),
        (json!({"line": 10}), "`framing.line`: the number 10 where a text is expected"),
        (json!({"line": "CR"}), "`framing.line`: \"CR\" is 2 characters of their own; write \"\\r\""),
        (json!({"line": "lf"}), "`framing.line`: \"lf\" is 2 characters of their own; write \"\\n\""),
        (
            json!({"line": "<ETX>"}),
            "`framing.line`: \"<ETX>\" is 5 characters of their own; write \"\\u0003\"",
        ),
        (
            json!({"line": "<CR><LF>"}),
            "`framing.line`: \"<CR><LF>\" is 8 characters of their own; write \"\\r\\n\"",
        ),
        (json!("lines"), "`framing`: \"lines\" is no framing; write { line = \"\\r\\n\" }"),
        (
            json!("binary"),
            "`framing`: \"binary\" is no framing; write one of { line = \"\\r\\n\" }, { fixed = 8 }",
        ),
        (json!("slpi"), "`framing`: \"slpi\" is no framing; did you mean `slip`?"),
        (json!("\r\n"), "`framing`: \"\\r\\n\" is no framing; write { line = \"\\r\\n\" }"),
        (json!("CRLF"), "`framing`: \"CRLF\" is no framing; write { line = \"\\r\\n\" }"),
        (json!({"lines": "\n"}), "`framing.lines`: unknown key; did you mean `line`?"),
        (json!({}), "`framing`: must be one of { line"),
        (json!(8), "`framing`: the number 8 where one of { line"),
        (json!({"line": "\n", "fixed": 8}), "`framing`: has line and fixed; only one of them can be"),
        (json!({"line": "\n", "pause": "1s"}), "`framing.pause`: does not go together with `line`"),
        (
            json!({"fixed": 0}),
            "`framing.fixed`: the number 0 where a whole number from 1 to 4096 is expected",
        ),
        (json!({"fixed": 8, "pause": 5}), "`framing.pause`: invalid type: integer `5`"),
        (json!({"fixed": 8, "pause": "0s"}), "`framing.pause`: must be longer than 0"),
        (json!({"length": "u16"}), "`framing.length`: u16 has no byte order; write u16be or u16le"),
        (json!({"length": "u16el"}), "`framing.length`: \"u16el\" is no length field; did you mean"),
        (json!({"length": "u8", "at": 1.5}), "`framing.at`: the number 1.5 where a whole number"),
        (json!({"start": 2}), "`framing.start`: needs `end`"),
        (json!({"start": 2, "end": 256}), "`framing.end`: the number 256 where one byte as a number"),
        (
            json!({"start": "\u{2}", "end": 3}),
            "`framing.start`: the text \"\\u{2}\" where one byte as a number",
        ),
        (json!({"start": 2, "end": 3, "escape": 2}), "`framing.escape`: must be another byte"),
        (json!({"start": 2, "end": 3, "xor": 2}), "`framing.xor`: is nothing without `escape`"),
        (json!({"start": 2, "end": 3, "escape": 1, "xor": 1}), "`framing.xor`: makes a start or end byte"),
    ] {
        let message = parse(&framing, None).unwrap_err();
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(message.starts_with(expected), "{framing}: {message}");
    }
    for (framing, checksum, expected) in [
        (json!({"line": "\n"}), json!("XOR"), "`checksum`: a binary checksum could hold the terminator"),
        (
            json!({"start": 2, "end": 3}),
            json!("XOR"),
            "`checksum`: a binary checksum could hold the end byte",
        ),
        (json!({"fixed": 2}), json!("CRC-16/ARC"), "`checksum`: is as long as the whole frame"),
        (json!("slip"), json!({"name": "XOR", "after_end": true}), "`checksum`: `after_end`, `covers_start`"),
    ] {
        let message = parse(&framing, Some(&checksum)).unwrap_err();
        assert!(message.starts_with(expected), "{framing}: {message}");
    }
}
