//! Frames: golden bytes, and what is refused.

use proptest::prelude::*;

use super::*;

/// Put together by hand from the documented form, with the CRC of zlib.
const CONNECT: &str = "0000007800000048d487bdc50d3a6d6573736167652d7479706504000000040e3a6d6573736167652d666c616773\
    04000000000a3a73747265616d2d69640400000000083a76657273696f6e070005302e312e307b2261757468546f6b656e223a22303132\
    33343536373839414243444546227ddb547314";
const ACCEPTED_BY_HAND: &str = "0000004700000037374cfe3f0d3a6d6573736167652d7479706504000000050e3a6d6573736167652d\
    666c61677304000000010a3a73747265616d2d69640400000000e237e27d";
const UPDATE_STATE: &str = "000000d9000000b6c3c5d4f80d3a6d6573736167652d7479706504000000000e3a6d6573736167652d666c\
    61677304000000000a3a73747265616d2d69640400000001096f7065726174696f6e07001a6177732e677265656e677261737323557064\
    61746553746174650d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e12736572766963652d6d6f64656c\
    2d747970650700216177732e677265656e6772617373235570646174655374617465526571756573747b227374617465223a2252554e4e\
    494e47227d8a3c0afe";
const STATE_UPDATED: &str = "000000a2000000909fca80db0d3a6d6573736167652d7479706504000000000e3a6d6573736167652d666c\
    61677304000000020a3a73747265616d2d696404000000010d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a73\
    6f6e12736572766963652d6d6f64656c2d747970650700226177732e677265656e6772617373235570646174655374617465526573706f\
    6e73657b7d95cc54bf";
/// What the official client sends (awsiotsdk 1.31.0 for Python, awscrt 0.36.1), in an order of its own.
const THEIR_CALL: &str = "00000104000000c0c09a68bc0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e12\
    736572766963652d6d6f64656c2d747970650700266177732e677265656e677261737323476574436f6e66696775726174696f6e526571\
    756573740d3a6d6573736167652d7479706504000000000e3a6d6573736167652d666c61677304000000000a3a73747265616d2d696404\
    00000001096f7065726174696f6e07001f6177732e677265656e677261737323476574436f6e66696775726174696f6e7b22636f6d706f\
    6e656e744e616d65223a2022636f6d2e6578616d706c652e41222c20226b657950617468223a205b2261225d7de4f99ba5";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(|letter| !letter.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn message(flags: i32, operation: Option<&str>, model: &str, payload: &str) -> Frame {
    Frame {
        kind: Kind::Message,
        flags,
        stream: 1,
        model: Some(model.to_owned()),
        operation: operation.map(str::to_owned),
        payload: payload.as_bytes().to_vec(),
    }
}

fn connection(kind: Kind, flags: i32, payload: &str) -> Frame {
    Frame { kind, flags, stream: 0, model: None, operation: None, payload: payload.as_bytes().to_vec() }
}

#[test]
fn what_is_sent_is_what_the_documentation_says() {
    let connect = connection(Kind::Connect, 0, r#"{"authToken":"0123456789ABCDEF"}"#);
    assert_eq!(connect.write().unwrap(), bytes(CONNECT));
    let operation = Some("aws.greengrass#UpdateState");
    let call = message(0, operation, "aws.greengrass#UpdateStateRequest", r#"{"state":"RUNNING"}"#);
    assert_eq!(call.write().unwrap(), bytes(UPDATE_STATE));
}

#[test]
fn what_comes_is_read() {
    let accepted = connection(Kind::ConnectAck, ACCEPTED, "");
    assert_eq!(Frame::read(&bytes(ACCEPTED_BY_HAND)).unwrap(), accepted);
    let answer = message(ENDS_STREAM, None, "aws.greengrass#UpdateStateResponse", "{}");
    assert_eq!(Frame::read(&bytes(STATE_UPDATED)).unwrap(), answer);
    let theirs = Frame::read(&bytes(THEIR_CALL)).unwrap();
    assert_eq!(theirs.operation.as_deref(), Some("aws.greengrass#GetConfiguration"));
    assert_eq!(theirs.payload, br#"{"componentName": "com.example.A", "keyPath": ["a"]}"#);
}

/// A frame around these headers, with right checksums.
fn around(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    all.extend(size(16 + headers.len() + payload.len()).to_be_bytes());
    all.extend(size(headers.len()).to_be_bytes());
    all.extend(CRC.checksum(&all).to_be_bytes());
    all.extend(headers);
    all.extend(payload);
    all.extend(CRC.checksum(&all).to_be_bytes());
    all
}

#[test]
fn headers_of_every_type_are_stepped_over() {
    let mut headers = Vec::new();
    for (kind, value) in [
        (0_u8, &[][..]),
        (1, &[]),
        (2, &[1]),
        (3, &[1, 2]),
        (5, &[0; 8]),
        (6, &[0, 3, 1, 2, 3]),
        (8, &[0; 8]),
        (9, &[0; 16]),
    ] {
        headers.extend([1, b'x', kind]);
        headers.extend(value);
    }
    // Ours, of a type that they are not: as if they were not there.
    headers.extend([&[10][..], b":stream-id", &[7, 0, 1, b'9']].concat());
    number(&mut headers, ":message-type", 0);
    number(&mut headers, "unknown", 7);
    text(&mut headers, "unknown too", "x").unwrap();
    let frame = Frame::read(&around(&headers, b"payload")).unwrap();
    assert_eq!(frame, Frame { model: None, stream: 0, ..message(0, None, "", "payload") });
}

#[test]
fn what_cannot_be_read_is_said() {
    let good = bytes(STATE_UPDATED);
    let broken = |bytes: &[u8]| Frame::read(bytes).unwrap_err().to_string();
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        assert!(broken(&changed).contains("checksum is wrong"), "byte {at}");
        assert!(broken(&good[..at]).contains("contradict each other"), "{at} bytes");
    }
    let kind = {
        let mut headers = Vec::new();
        number(&mut headers, ":message-type", 0);
        headers
    };
    for (headers, expected) in [
        (&[][..], "does not say what it is"),
        (&kind[..kind.len() - 1], "a header is not whole"),
        (&[200, b'x'], "a header is not whole"),
        (&[1, b'x', 7, 255, 255, 1], "a header is not whole"),
        (&[1, b'x', 10], "of a type that does not exist"),
    ] {
        assert!(broken(&around(headers, b"")).contains(expected), "{headers:?}");
    }
}

#[test]
fn a_length_is_judged_before_anything_is_read() {
    let prelude = |whole: u32, headers: u32| {
        let mut bytes = [whole.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend(CRC.checksum(&bytes).to_be_bytes());
        Prelude::read(*bytes.first_chunk().unwrap())
    };
    assert_eq!(prelude(262_144, 262_128).unwrap().rest(), 262_132);
    assert_eq!(prelude(16, 0).unwrap().rest(), 4);
    for (whole, headers) in [(262_145, 0), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
        let error = prelude(whole, headers).unwrap_err();
        assert!(matches!(error, IpcError::TooLarge { size, .. } if size == whole), "{error:?}");
    }
    for (whole, headers) in [(0, 0), (15, 0), (16, 1), (100, 85), (100, u32::MAX)] {
        let error = prelude(whole, headers).unwrap_err();
        assert!(matches!(error, IpcError::Broken { .. }), "{error:?}");
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read_again(
        kind in -1..9_i32, flags: i32, stream: i32, model: Option<String>, operation: Option<String>,
        payload: Vec<u8>,
    ) {
        let frame = Frame { kind: Kind::of(kind), flags, stream, model, operation, payload };
        prop_assert_eq!(Frame::read(&frame.write().unwrap()).unwrap(), frame);
    }

    #[test]
    fn nothing_that_comes_is_too_much(headers: Vec<u8>, payload: Vec<u8>) {
        drop(Frame::read(&around(&headers, &payload)));
        drop(Frame::read(&payload));
    }
}
