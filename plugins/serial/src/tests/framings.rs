//! Framings, typed fields and checksums against a device at the other end of a pty.

use nowd_plugin::Plugin;

use super::*;

async fn rig(device: &Device, map: &str) -> Rig {
    let mut rig = Rig::load(&[("relay", PortConfig::new(device.path()))], &[map]);
    rig.run();
    rig.wait_open("ring").await;
    rig
}

fn table(framing: &str, methods: &str) -> String {
    format!("[serial]\nport = \"relay\"\nframing = {framing}\n{methods}\n")
}

/// Calls `m`; the device must hear `heard` and says `said`.
async fn exchange(rig: &Rig, device: &mut Device, params: Value, heard: &[u8], said: &[u8]) -> Completion {
    let (completion, ()) = tokio::join!(rig.call("m", params, LONG), async {
        let mut bytes = vec![0; heard.len()];
        device.master.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, heard);
        device.master.write_all(said).await.unwrap();
    });
    completion
}

#[tokio::test]
async fn every_framing_both_ways_on_a_noisy_line() {
    let text = "[methods.m]\nsend = \"ST$x\"\nreply = '^OK(?<n>\\d)$'\nvalues.n = \"integer\"\nparams.x = true\n\
                [methods.ring]\nsend = \"RING\"";
    for (framing, heard, said) in [
        ("{ line = \"\\r\" }", &b"ST7\r"[..], &b"NOISE\rOK3\r"[..]),
        (
            "{ line = \"\\r\\n\" }\nchecksum = { name = \"XOR\", as = \"hex\", after = \"*\" }",
            b"ST7*30\r\n",
            b"OK4*31\r\nOK4*00\r\nOK3*37\r\n",
        ),
        ("{ start = 0x02, end = 0x03 }", b"\x02ST7\x03", b"xx\x02O\x02OK3\x03"),
        (
            "{ start = 0x02, end = 0x03 }\nchecksum = { name = \"XOR\", after_end = true }",
            b"\x02ST7\x03\x33",
            b"\x02OK4\x03\x00\x02OK3\x03\x34",
        ),
        ("\"slip\"", b"\xc0ST7\xc0", b"noise\xc0OK3\xc0"),
        (
            "\"slip\"\nchecksum = \"CRC-16/MODBUS\"",
            b"\xc0ST7\x93\x44\xc0",
            b"\xc0OK4\x00\x00\xc0OK3\xd2\x06\xc0",
        ),
        ("\"cobs\"", b"\x04ST7\x00", b"\x02\x00\x04OK3\x00"),
        ("{ length = \"u8\" }\nchecksum = \"SUM-8\"", b"\x05ST7\xe3", b"\xff\x05OK4\x00\x05OK3\xd2"),
        ("{ length = \"u16be\", at = 1, add = 2 }", b"S\x00\x03T7", b"O\x00\x03K3"),
    ] {
        // What is known of CRCs is what the catalogue's own check values say; here only that both sides agree.
        let mut device = Device::new();
        let rig = rig(&device, &table(framing, text)).await;
        let crc = framing.contains("MODBUS");
        let (heard, said) = if crc { modbus_frames() } else { (heard.to_vec(), said.to_vec()) };
        for _ in 0..2 {
            let completion = exchange(&rig, &mut device, json!({"x": 7}), &heard, &said).await;
            assert_eq!(completion, Completion::Ok(json!({"n": 3})), "{framing}");
        }
    }
}

/// `ST7` and `OK3` in SLIP with CRC-16/MODBUS, computed bit by bit.
fn modbus_frames() -> (Vec<u8>, Vec<u8>) {
    let frame = |content: &[u8]| {
        let mut crc = 0xffff_u16;
        for byte in content {
            crc ^= u16::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 };
            }
        }
        [&[0xc0], content, &crc.to_le_bytes(), &[0xc0]].concat()
    };
    (frame(b"ST7"), [frame(b"OK3")[..4].to_vec(), b"\x00\x00\xc0".to_vec(), frame(b"OK3")].concat())
}

#[tokio::test]
async fn bytes_with_fields() {
    let map = table(
        "{ fixed = 6, pause = \"20ms\" }\nchecksum = \"SUM-8\"",
        "[methods.m]\nsend = { hex = \"A0 $ch:u8 $level:u16le 00\" }\n\
         reply = { hex = \"06 $ch:u8 $level:u16le $mode:u8\" }\n\
         refused = { hex = \"15 $code:u8 ..\" }\nfailed = { hex = \"18 ..\" }\n\
         values.level = { scale = 0.1, offset = -40 }\nvalues.mode = \"boolean\"\n\
         [methods.ring]\nsend = { hex = \"01 02 03 04 05\" }",
    );
    let mut device = Device::new();
    let rig = rig(&device, &map).await;
    let params = || json!({"ch": 2, "level": -15.0});
    // -15.0 is (250 - 400) / 10.
    let heard = [0xa0, 2, 250, 0, 0, 0x9c];
    for (said, expected) in [
        (
            // Garbage, a frame whose checksum is wrong, and the answer.
            &[9, 6, 2, 0xfa, 0, 1, 0, 6, 2, 0xf4, 1, 1, 0xfe][..],
            Completion::Ok(json!({"ch": 2, "level": 10.0, "mode": true})),
        ),
        (&[0x15, 3, 0, 0, 0, 0x18], Completion::Refused(CallError::new("3", "15 03 00 00 00"))),
        (
            &[0x18, 0, 0, 0, 0, 0x18],
            Completion::Failed {
                outcome: Outcome::Unknown,
                error: CallError::new("failed", "18 00 00 00 00"),
            },
        ),
    ] {
        assert_eq!(exchange(&rig, &mut device, params(), &heard, said).await, expected);
    }
    // Checked against the fields before anything moves.
    let described = rig.plugin.methods().into_iter().find(|method| method.name == "m").unwrap();
    let declared = described.params.unwrap();
    assert_eq!(declared.properties()["ch"], json!({"type": "integer", "minimum": 0, "maximum": 255}));
    assert_eq!(
        declared.properties()["level"],
        json!({"type": "number", "minimum": -40.0, "maximum": 6513.5})
    );
    for (params, expected) in [
        (json!({"ch": 256, "level": 0}), "request.ch: 256 does not fit u8: 0 to 255"),
        (json!({"ch": 1, "level": -41}), "request.level: -41 does not fit u16le: -40.0 to 6513.5"),
        (json!({"ch": "1", "level": 0}), "request.ch: the text \"1\" is no number"),
    ] {
        let completion = rig.call("m", params, LONG).await;
        assert!(
            matches!(&completion, Completion::InvalidRequest(e) if e.message == expected),
            "{completion:?}"
        );
    }
    let completion = exchange(&rig, &mut device, params(), &heard, &[6, 0, 0, 0, 0, 6]).await;
    assert_eq!(completion, Completion::Ok(json!({"ch": 0, "level": -40.0, "mode": false})));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_was_executed() {
    let map = table(
        "{ line = \"\\n\" }",
        "[methods.m]\nsteps = [{ send = \"A\", reply = '^A (?<a>\\S+)' }, { send = \"B\", reply = '^B (?<b>\\S+)' }]\n\
         values.a = \"number\"\nvalues.b = \"integer\"\n[methods.ring]\nsend = \"RING\"",
    );
    let mut device = Device::new();
    let rig = rig(&device, &map).await;
    for (answers, outcome) in [(["A x\n", ""], Outcome::Unknown), (["A 1\n", "B y\n"], Outcome::Executed)] {
        let (completion, ()) = tokio::join!(rig.call("m", Value::Null, LONG), async {
            device.expect("A\n").await;
            device.say(answers[0]).await;
            if !answers[1].is_empty() {
                device.expect("B\n").await;
                device.say(answers[1]).await;
            }
        });
        let Completion::Failed { outcome: is, error } = &completion else { panic!("{completion:?}") };
        assert_eq!((is, error.code.as_str()), (&outcome, "bad_response"));
        assert!(error.message.contains("is no "), "{error}");
    }
}

#[tokio::test]
async fn a_silence_begins_a_frame_anew() {
    let map = table(
        "{ fixed = 3 }",
        "[methods.m]\nsend = { hex = \"01 02 03\" }\nreply = { hex = \"06 ?? 07\" }\n\
         [methods.ring]\nsend = { hex = \"00 00 00\" }",
    );
    let mut device = Device::new();
    let rig = rig(&device, &map).await;
    let bound = Deadline::after(LONG);
    loop {
        let (completion, ()) = tokio::join!(rig.call("m", Value::Null, Duration::from_secs(1)), async {
            let mut bytes = [0; 3];
            device.master.read_exact(&mut bytes).await.unwrap();
            device.master.write_all(&[6]).await.unwrap();
            // Longer than the pause in a frame; a machine that stands still may make one of both.
            tokio::time::sleep(Duration::from_millis(200)).await;
            device.master.write_all(&[6, 9, 7]).await.unwrap();
        });
        if completion == Completion::Ok(Value::Null) {
            break;
        }
        assert!(bound.check().is_ok(), "{completion:?}");
    }
}

#[tokio::test]
async fn what_would_be_written_is_told() {
    let map = table(
        "{ start = 0x02, end = 0x03 }\nchecksum = { name = \"XOR\", after_end = true }",
        "[methods.m]\nsteps = [\n{ send = \"SET $ch\", reply = '^OK' },\n{ wait = \"200ms\" },\n\
         { send = { hex = \"41 $level:u16be\" } },\n]\nrefused = '^NO'\n\
         params.ch = { type = \"string\" }\nparams.level = { default = 260 }",
    );
    let rig = Rig::load(&[("relay", PortConfig::new("/dev/none"))], &[&map]);
    assert_eq!(
        rig.plugin.explain("m"),
        [
            "sends       \"SET $ch\"",
            "            and waits for '^OK'",
            "waits       200ms",
            "sends       41 $level:u16be (hex)",
            "            and waits for no answer, so the status is `sent`",
            "refused     '^NO': the device did nothing",
            "framing     frames from 02 to 03, with the checksum XOR",
        ]
    );
    let preview = rig.plugin.preview(&call("m", json!({"ch": "7", "level": 260}), LONG)).unwrap();
    assert_eq!(
        preview,
        [
            "writes      02 53 45 54 20 37 03 56",
            "as text     \"\\x02SET 7\\x03V\"",
            "            and waits for '^OK'",
            "waits       200ms",
            "writes      02 41 01 04 03 47",
            "as text     \"\\x02A\\x01\\x04\\x03G\"",
            "            and waits for no answer, so the status is `sent`",
        ]
    );
    let wrong = rig.plugin.preview(&call("m", json!({"ch": "\u{3}", "level": 1}), LONG)).unwrap_err();
    assert!(matches!(wrong, Completion::InvalidRequest(_)), "{wrong:?}");
}
