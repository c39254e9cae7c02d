use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn wire(framing: &Value, checksum: Option<&Value>) -> Arc<Wire> {
    Arc::new(Wire::parse(framing, checksum).unwrap())
}

/// All contents that a reader finds in chunks, a silence behind each chunk that is empty.
fn contents(wire: &Arc<Wire>, chunks: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(wire);
    let mut found = Vec::new();
    for chunk in chunks {
        let mut judge = |content: &[u8]| {
            found.push(content.to_vec());
            None::<()>
        };
        let none = if chunk.is_empty() { reader.silence(&mut judge) } else { reader.feed(chunk, &mut judge) };
        assert!(none.is_none());
        assert!(reader.held() <= LONGEST_FRAME + 8, "{}", reader.held());
    }
    found
}

/// Every framing, and checksums with it. The content must be 6 bytes long for the first.
fn wires() -> Vec<(Value, Option<Value>)> {
    let crc = || Some(json!("CRC-16/MODBUS"));
    let nmea = json!({"name": "XOR", "as": "hex", "after": "*", "skip": 1});
    vec![
        (json!({"fixed": 6}), None),
        (json!({"fixed": 8}), crc()),
        (json!({"fixed": 10}), Some(json!("CRC-32"))),
        (json!({"line": "\r\n"}), None),
        (json!({"line": ";"}), Some(nmea)),
        (json!({"length": "u8", "at": 1}), None),
        (json!({"length": "u8", "at": 1, "add": 4}), crc()),
        (json!({"length": "u16be"}), Some(json!("LRC"))),
        (json!({"length": "u16le", "at": 2, "add": -3}), Some(json!({"name": "SUM-16", "skip": 2}))),
        (json!({"start": 2, "end": 3}), None),
        (json!({"start": 2, "end": 3}), Some(json!({"name": "XOR", "after_end": true}))),
        (json!({"start": 2, "end": 3}), Some(json!({"name": "CRC-16/XMODEM", "as": "hex-lower"}))),
        (json!({"start": 2, "end": 3, "escape": 0x1b}), crc()),
        (json!({"start": 0x7e, "end": 0x7e, "escape": 0x7d, "xor": 0x20}), Some(json!("CRC-16/X-25"))),
        (
            json!({"start": 2, "end": 3, "escape": 0x10}),
            Some(json!({"name": "SUM-8", "after_end": true, "covers_start": true})),
        ),
        (json!("slip"), None),
        (json!("slip"), crc()),
        (json!("cobs"), None),
        (json!("cobs"), Some(json!("CRC-32C"))),
    ]
}

#[test]
fn every_framing_finds_what_it_made_after_garbage() {
    for (framing, checksum) in wires() {
        let wire = wire(&framing, checksum.as_ref());
        let frames: Vec<Vec<u8>> =
            [b"STATE1", b"abcdef", b"zzzzzz"].map(|content| wire.wrap(content).unwrap()).into();
        let all = frames.concat();
        let expected = [b"STATE1".to_vec(), b"abcdef".to_vec(), b"zzzzzz".to_vec()];
        assert_eq!(contents(&wire, &[&all]), expected, "{framing} {checksum:?}");
        for garbage in
            [&b"\x00\xff garbage"[..], &all[1..all.len() - 1], &[b'x'; 5000], &[2; 9], &[0xff; 300]]
        {
            // A silence, and then twice a frame, because the first may end the garbage.
            let found = contents(&wire, &[garbage, b"", &frames[1], b"", &frames[2], b""]);
            assert_eq!(
                found.last().map(Vec::as_slice),
                Some(&b"zzzzzz"[..]),
                "{framing} {checksum:?} {garbage:?}"
            );
        }
    }
}

#[test]
fn with_a_checksum_frames_are_found_within_garbage_without_a_silence() {
    for (framing, checksum) in wires() {
        let Some(sum) = &checksum else { continue };
        let wire = wire(&framing, Some(sum));
        let frame = wire.wrap(b"STATE1").unwrap();
        let stream = [&[0, 1, 0xff][..], &frame, &frame[..3], &frame, &frame].concat();
        let found = contents(&wire, &[&stream, b""]);
        // What stands right behind garbage may be taken for a part of it; what follows is not.
        assert_eq!(
            found.last().map(Vec::as_slice),
            Some(&b"STATE1"[..]),
            "{framing} {checksum:?}: {found:?}"
        );
        let searched = matches!(wire.framing, Framing::Fixed { .. } | Framing::Length { .. });
        assert!(!searched || found.len() == 3, "{framing} {checksum:?}: {found:?}");
    }
}

#[test]
fn a_wrong_checksum_is_dropped_and_noticed() {
    for (framing, checksum) in wires() {
        let Some(sum) = &checksum else { continue };
        let wire = wire(&framing, Some(sum));
        let mut wrong = wire.wrap(b"STATE1").unwrap();
        let at = wrong.windows(2).position(|pair| pair == b"AT").unwrap();
        wrong[at] ^= 0x20;
        let mut reader = Reader::new(&wire);
        assert_eq!(reader.feed(&wrong, &mut |content| Some(content.to_vec())), None, "{framing}");
        assert!(reader.silence(&mut |content| Some(content.to_vec())).is_none());
        assert!(reader.take_lost() && !reader.take_lost(), "{framing}");
        let right = wire.wrap(b"STATE1").unwrap();
        assert_eq!(
            reader.feed(&right, &mut |content| Some(content.to_vec())),
            Some(b"STATE1".to_vec()),
            "{framing}"
        );
    }
}

#[test]
fn known_streams() {
    for (framing, checksum, stream, expected) in [
        // RFC 1055: an END first flushes noise; ESC ESC_END and ESC ESC_ESC inside.
        (json!("slip"), None, &b"\xc0\x01\xdb\xdc\xdb\xdd\x02\xc0"[..], vec![&b"\x01\xc0\xdb\x02"[..]]),
        (json!("slip"), None, b"noise\xc0\xc0ab\xc0cd\xc0", vec![b"noise", b"ab", b"cd"]),
        (json!("slip"), None, b"\xc0a\xdbb\xc0ok\xc0", vec![b"ok"]),
        // Cheshire and Baker, and the examples of Wikipedia's article.
        (json!("cobs"), None, b"\x01\x01\x00", vec![b"\x00"]),
        (json!("cobs"), None, b"\x01\x02\x11\x01\x00", vec![b"\x00\x11\x00"]),
        (json!("cobs"), None, b"\x03\x11\x22\x02\x33\x00", vec![b"\x11\x22\x00\x33"]),
        (json!("cobs"), None, b"\x02\x11\x01\x01\x01\x00", vec![b"\x11\x00\x00\x00"]),
        (json!("cobs"), None, b"\x00\x05\x11\x00\x02\x41\x00", vec![b"\x41"]),
        // A drive that answers STX .. ETX BCC; a start byte inside begins anew.
        (
            json!({"start": 2, "end": 3}),
            Some(json!({"name": "XOR", "after_end": true})),
            b"x\x02gar\x02AB\x03\x00\x02AB\x03\x01",
            vec![b"AB"],
        ),
        (
            json!({"line": "\r\n"}),
            Some(json!({"name": "XOR", "as": "hex", "after": "*", "skip": 1})),
            b"$GPGLL,5057.970,N,00146.110,E,142451,A*27\r\n$GPGLL,5057.970,N,00146.110,E,142451,A\r\n",
            vec![b"$GPGLL,5057.970,N,00146.110,E,142451,A"],
        ),
        // The length counts everything behind it but the checksum.
        (
            json!({"length": "u8", "at": 1, "add": 3}),
            Some(json!("SUM-8")),
            b"\xaa\x02hi\x7d\xaa\x00\xaa",
            vec![b"\xaahi", b"\xaa"],
        ),
    ] {
        let wire = wire(&framing, checksum.as_ref());
        for chunk in [1, 2, 3, 100] {
            let chunks: Vec<&[u8]> = stream.chunks(chunk).collect();
            assert_eq!(contents(&wire, &chunks), expected, "{framing} {stream:?}");
        }
    }
}

#[test]
fn a_frame_that_is_too_long_is_dropped_and_the_next_is_heard() {
    let longest = vec![b'a'; LONGEST_LINE];
    for (first, heard) in [(longest.clone(), true), ([longest.as_slice(), b"a"].concat(), false)] {
        for (framing, stream) in [
            (json!({"line": "\r\n"}), [first.as_slice(), b"\r\nOK\r\n"].concat()),
            (json!({"start": 2, "end": 3}), [b"\x02", first.as_slice(), b"\x03\x02OK\x03"].concat()),
        ] {
            let found = contents(&wire(&framing, None), &[&stream]);
            assert_eq!(found.last().unwrap(), b"OK");
            assert_eq!(found.len(), if heard { 2 } else { 1 }, "{framing}");
        }
    }
}

#[test]
fn a_silence_ends_what_has_no_end_of_its_own() {
    let fixed = wire(&json!({"fixed": 3}), None);
    assert_eq!(contents(&fixed, &[b"x", b"", b"abc", b"d", b"", b"efg"]), [b"abc", b"efg"]);
    let line = wire(&json!({"line": "\n"}), None);
    assert_eq!(contents(&line, &[b"ab", b"", b"c\n"]), [b"abc"], "a slow typist");
    // A length that nobody meant swallows the answer behind it, until a checksum is found inside.
    let length = wire(&json!({"length": "u8"}), Some(&json!("CRC-8")));
    let frame = length.wrap(b"ok").unwrap();
    assert_eq!(contents(&length, &[&[200], &frame, b""]), [b"ok"]);
}

#[test]
fn what_follows_the_frame_looked_for_is_dropped() {
    let mut reader = Reader::new(&wire(&json!({"line": "\n"}), None));
    let found = reader.feed(b"a\nOK\nb\nc", &mut |line| (line == b"OK").then_some(1));
    assert_eq!(found, Some(1));
    assert_eq!(reader.feed(b"\n", &mut |line| Some(line.to_vec())), Some(vec![]));
}

/// The rule of lines, said for the whole at once.
fn expected_lines(terminator: &[u8], mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(at) = rest.windows(terminator.len()).position(|window| window == terminator) {
        if at <= LONGEST_LINE {
            found.push(rest[..at].to_vec());
        }
        rest = &rest[at + terminator.len()..];
    }
    found
}

proptest! {
    #[test]
    fn any_bytes_in_any_chunks_give_the_same_lines(
        terminator in prop_oneof![Just("\r\n"), Just("\n"), Just("aab"), Just("\r\r\n")],
        pieces in prop::collection::vec(
            prop_oneof![
                3 => prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), Just(b'b'), any::<u8>()], 0..20),
                1 => (4000_usize..4200).prop_map(|len| vec![b'a'; len]),
            ],
            0..12,
        ),
        cut in 1_usize..600,
    ) {
        let wire = wire(&json!({"line": terminator}), None);
        let stream = pieces.concat();
        let chunks: Vec<&[u8]> = stream.chunks(cut).collect();
        let whole: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let expected = expected_lines(terminator.as_bytes(), &stream);
        prop_assert_eq!(&contents(&wire, &chunks), &expected);
        prop_assert_eq!(&contents(&wire, &whole), &expected);
    }

    /// What goes in comes out, in any chunks, behind any garbage that a silence ends.
    #[test]
    fn round_trip(
        which in 0..wires().len(),
        sent in prop::collection::vec(prop::collection::vec(prop_oneof![Just(2_u8), Just(3), Just(0xc0), any::<u8>()], 2..40), 1..6),
        garbage in prop::collection::vec(any::<u8>(), 0..80),
        cut in 1_usize..60,
    ) {
        let (framing, checksum) = wires().swap_remove(which);
        let wire = wire(&framing, checksum.as_ref());
        let mut sent = sent;
        if which < 3 {
            for content in &mut sent {
                content.resize(6, 7);
            }
        }
        // Contents that a framing without escapes cannot carry are not sent; nor what only a map's author would.
        let frames: Vec<(Vec<u8>, Vec<u8>)> = sent.into_iter()
            .filter_map(|content| wire.wrap(&content).ok().map(|frame| (content, frame)))
            .collect();
        let stream: Vec<u8> = frames.iter().flat_map(|(_, frame)| frame.clone()).collect();
        let chunks: Vec<&[u8]> = stream.chunks(cut).collect();
        let expected: Vec<Vec<u8>> = frames.iter().map(|(content, _)| content.clone()).collect();
        prop_assert_eq!(&contents(&wire, &chunks), &expected, "{} {:?}", framing, checksum);
        // Any bytes whatever: the same for any chunks, and afterwards the second frame at the latest is heard.
        let noisy: Vec<&[u8]> = garbage.chunks(cut).collect();
        prop_assert_eq!(contents(&wire, &noisy), contents(&wire, &[&garbage]));
        if let Some((content, frame)) = frames.first() {
            let chunks = [&noisy[..], &[b"", frame, b"", frame, b""]].concat();
            let found = contents(&wire, &chunks);
            prop_assert_eq!(found.last(), Some(content), "{} {:?}", framing, checksum);
        }
    }
}
