//! What a device says without being asked.

use super::*;

const NMEA: &str = r#"
[serial]
port = "gps"
framing = { line = "\r\n" }
checksum = { name = "XOR", as = "hex", after = "*", skip = 1 }
[methods."position"]
hears = '^\$G.GGA,(?<time>[^,]*),(?<lat>[^,]*),(?<ns>[NS]?),(?<lon>[^,]*),(?<ew>[EW]?),(?<fix>\d)'
values.fix = "integer"
values.lat = "number"
values.lon = "number"
[methods."version"]
send = "$$PVER"
reply = '^\$PVER,(?<version>.*)$'
[methods."any"]
hears = '^\$P'
[methods."ring"]
send = "$$PRING"
"#;

const FIX: &str = "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n";

async fn heard(rig: &Rig, method: &str, wanted: impl Fn(&Completion) -> bool) -> Completion {
    let bound = Deadline::after(LONG);
    loop {
        let completion = rig.call(method, Value::Null, LONG).await;
        if wanted(&completion) {
            return completion;
        }
        assert!(bound.check().is_ok(), "still {completion:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn value(completion: &Completion) -> Option<&Value> {
    if let Completion::Ok(response) = completion { response.get("value") } else { None }
}

#[tokio::test]
async fn the_last_frame_of_each_kind_is_told_with_its_age() {
    let mut device = Device::new();
    let mut rig = Rig::load(&[("gps", PortConfig::new(device.path()))], &[NMEA]);
    let lanes: Vec<_> =
        rig.plugin.methods().into_iter().map(|m| (m.name, m.lane.name, m.lane.concurrency.get())).collect();
    assert!(lanes.contains(&("position".into(), "port:gps:hears".into(), 16)), "{lanes:?}");
    assert!(lanes.contains(&("version".into(), "port:gps".into(), 1)), "{lanes:?}");
    assert!(gone(&rig.call("position", Value::Null, LONG).await), "before the port is open");
    rig.run();
    rig.wait_open("ring").await;
    let nothing = rig.call("position", Value::Null, LONG).await;
    assert!(matches!(&nothing, Completion::Unavailable(e) if e.code == "nothing_heard"), "{nothing:?}");
    assert!(matches!(rig.probe("position").await, Completion::Expired(_)));

    // In the middle of a sentence, a wrong checksum, and one that is right, in pieces.
    device.say("07.038,N*00\r\n").await;
    device.say(&FIX.replace("4807", "4808")).await;
    device.say(&FIX[..30]).await;
    device.say(&FIX[30..]).await;
    let first = heard(&rig, "position", |c| value(c).is_some()).await;
    assert_eq!(
        value(&first).unwrap(),
        &json!({"time": "123519", "lat": 4807.038, "ns": "N", "lon": 1131.0, "ew": "E", "fix": 1})
    );
    let age = |completion: &Completion| {
        let Completion::Ok(response) = completion else { panic!("{completion:?}") };
        response["age_ms"].as_u64().unwrap()
    };
    let older = heard(&rig, "position", |c| age(c) > age(&first) + 20).await;
    assert_eq!(value(&older), value(&first));

    // While a call waits for its answer, which is no news by itself.
    let (completion, ()) = tokio::join!(rig.call("version", Value::Null, LONG), async {
        device.expect("$PVER*11\r\n").await;
        device.say("$GPGGA,123520,,,,,0*61\r\n$PVER,7*0A\r\n").await;
    });
    assert_eq!(completion, Completion::Ok(json!({"version": "7"})));
    let none = heard(&rig, "position", |c| value(c).is_some_and(|value| value["fix"] == 0)).await;
    assert_eq!(value(&none).unwrap()["lat"], Value::Null, "no position is no number");
    device.say("$GPGGA,123521,,,,,2*62\r\n").await;
    heard(&rig, "position", |c| value(c).is_some_and(|value| value["fix"] == 2)).await;
    let any = rig.call("any", Value::Null, LONG).await;
    assert!(matches!(&any, Completion::Unavailable(e) if e.code == "nothing_heard"), "{any:?}");

    drop(device);
    let old =
        heard(&rig, "position", |c| matches!(c, Completion::Ok(response) if response.get("error").is_some()))
            .await;
    assert_eq!(value(&old).unwrap()["fix"], 2);
}

#[tokio::test]
async fn a_silence_begins_a_frame_anew() {
    let map = "[serial]\nport = \"gps\"\nframing = { fixed = 3 }\n[methods.button]\n\
               hears = { hex = \"06 $n:u8 07\" }\n[methods.ring]\nsend = { hex = \"01 02 03\" }";
    let mut device = Device::new();
    let mut rig = Rig::load(&[("gps", PortConfig::new(device.path()))], &[map]);
    rig.run();
    rig.wait_open("ring").await;
    let bound = Deadline::after(LONG);
    loop {
        device.master.write_all(&[9]).await.unwrap();
        // Longer than the pause in a frame; a machine that stands still may make one of both.
        tokio::time::sleep(Duration::from_millis(200)).await;
        device.master.write_all(&[6, 5, 7]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let completion = rig.call("button", Value::Null, LONG).await;
        if value(&completion) == Some(&json!({"n": 5})) {
            break;
        }
        assert!(bound.check().is_ok(), "{completion:?}");
    }
}

/// A device that goes in the middle of a frame: what the next one says first is not the rest of it.
#[tokio::test]
async fn half_a_frame_of_a_device_that_went_is_forgotten() {
    let map = "[serial]\nport = \"gps\"\nframing = { line = \"\\r\" }\n[methods.n]\nhears = '^N(?<n>\\d+)$'\n\
               [methods.ring]\nsend = \"RING\"\n[methods.mark]\nhears = '^MARK$'\n[methods.end]\nhears = '^END$'";
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("by-id");
    let mut first = Device::new();
    std::os::unix::fs::symlink(first.path(), &link).unwrap();
    let mut rig = Rig::load(&[("gps", PortConfig::new(&link))], &[map]);
    rig.run();
    rig.wait_open("ring").await;
    first.say("MARK\rN1").await;
    heard(&rig, "mark", |c| value(c).is_some()).await;
    // The rest of the same chunk has been heard with it.
    drop(first);
    rig.wait("ring", gone).await;
    let mut second = Device::new();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(second.path(), &link).unwrap();
    rig.wait_open("ring").await;
    second.say("2\rEND\r").await;
    heard(&rig, "end", |c| value(c).is_some()).await;
    let none = rig.call("n", Value::Null, LONG).await;
    assert!(matches!(&none, Completion::Unavailable(e) if e.code == "nothing_heard"), "{none:?}");
}

/// An answer that is found in garbage, by its checksum and a silence, was not sent by itself.
#[tokio::test]
async fn an_answer_after_garbage_is_not_heard() {
    let map = "[serial]\nport = \"gps\"\nframing = { length = \"u8\" }\nchecksum = \"SUM-8\"\n[methods.all]\nhears = '^.*$'\n\
               [methods.m]\nsend = \"ST7\"\nreply = '^OK3$'\n[methods.ring]\nsend = \"RING\"\n";
    let mut device = Device::new();
    let mut rig = Rig::load(&[("gps", PortConfig::new(device.path()))], &[map]);
    rig.run();
    rig.wait_open("ring").await;
    let (completion, ()) = tokio::join!(rig.call("m", Value::Null, LONG), async {
        device.expect("\u{5}ST7").await;
        let mut sum = [0];
        device.master.read_exact(&mut sum).await.unwrap();
        device.master.write_all(b"\x20\x05OK3\xd2").await.unwrap();
    });
    assert_eq!(completion, Completion::Ok(Value::Null));
    // Longer than the pause of the framing, after which listeners look for frames in what they have.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let none = rig.call("all", Value::Null, LONG).await;
    assert!(matches!(&none, Completion::Unavailable(e) if e.code == "nothing_heard"), "{none:?}");
}

/// A device that talks by itself does not keep the line after a call without an answer, whose late answer is still caught.
#[tokio::test]
async fn frames_that_are_heard_do_not_keep_the_line() {
    let map = "[serial]\nport = \"gps\"\nframing = { line = \"\\n\" }\n[methods.t]\nhears = '^T=(?<t>\\d+)$'\n\
               [methods.m]\nsend = \"M\"\nreply = '^OK'\n[methods.ring]\nsend = \"RING\"\n";
    let mut device = Device::new();
    let silence = Duration::from_secs(2);
    let config = PortConfig { silence: Some(silence), ..PortConfig::new(device.path()) };
    let mut rig = Rig::load(&[("gps", config)], &[map]);
    rig.run();
    rig.wait_open("ring").await;
    for (late, mut answer) in [(false, None), (true, Some("OK late\n"))] {
        let given_up = call("m", Value::Null, SHORT);
        let (ended, talk) = (CancellationToken::new(), CancellationToken::new());
        let (completion, ()) = tokio::join!(
            async {
                let completion = rig.plugin.invoke(&given_up).await;
                ended.cancel();
                completion
            },
            async {
                device.expect("M\n").await;
                given_up.deadline.passed().await;
                // In pieces, and never silent for as long as `silence`.
                while !ended.is_cancelled() {
                    for piece in ["T=", "51\n", answer.take().unwrap_or_default()] {
                        device.say(piece).await;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                talk.cancel();
            }
        );
        let now = nowd_plugin::BootInstant::now();
        let took = now.saturating_since(given_up.deadline.at());
        assert!(
            talk.is_cancelled() && took < silence * 9,
            "it took {took:?}, as long as a line full of noise"
        );
        if late {
            assert_eq!(completion, Completion::Ok(Value::Null));
        } else {
            assert!(took >= silence, "it took {took:?}");
            let Completion::Timeout(error) = &completion else { panic!("{completion:?}") };
            assert!(
                error.message.ends_with("heard \"T=51\", which does not match '^OK'"),
                "{}",
                error.message
            );
        }
    }
    heard(&rig, "t", |c| value(c).is_some_and(|value| value["t"] == "51")).await;
}

/// What the bytes of a device are to those who listen, in pieces as they come.
#[test]
fn talk_is_known_by_whole_frames() {
    use crate::map::hears::{Ears, Talk};
    let map =
        |framing: &str| format!("[serial]\nport = \"gps\"\nframing = {framing}\n[methods.t]\nhears = '^T'\n");
    for (framing, pieces) in [
        (
            "{ line = \"\\n\" }",
            &[
                (&b"T1\n"[..], Talk::Known),
                (b"T", Talk::Open),
                (b"2\nT", Talk::Open),
                (b"3\n", Talk::Known),
                (b"OK\nT", Talk::Noise),
                (b"4\n", Talk::Known),
                (b"O", Talk::Open),
                (b"K\n", Talk::Noise),
                (b"", Talk::Known),
            ][..],
        ),
        (
            "{ start = 2, end = 3 }",
            &[
                (b"\x02T1\x03", Talk::Known),
                (b"x\x02T1\x03", Talk::Noise),
                (b"\x02T\x02T1\x03", Talk::Noise),
                (b"\x02T1", Talk::Open),
                (b"\x03x", Talk::Noise),
            ],
        ),
        ("\"slip\"", &[(b"\xc0T\xc0\xc0T\xc0", Talk::Known), (b"T\xc0T\xdb\x01\xc0", Talk::Noise)]),
        ("\"cobs\"", &[(b"\x03T1\x00", Talk::Known), (b"\x09T1\x00", Talk::Noise), (b"\x00", Talk::Known)]),
    ] {
        let rig = Rig::load(&[("gps", PortConfig::new("/dev/none"))], &[&map(framing)]);
        let ears = Ears::default();
        for hearing in rig.plugin.hearing.values() {
            ears.add(hearing);
        }
        for (piece, expected) in pieces {
            ears.hear(piece, nowd_plugin::BootInstant::now());
            assert_eq!(ears.talk(), *expected, "{framing}: {}", piece.escape_ascii());
        }
    }
    assert_eq!(Ears::default().talk(), Talk::Noise, "nobody listens");
}

/// What was heard and cannot be read is not the same as nothing.
#[tokio::test]
async fn a_frame_that_cannot_be_read_is_told() {
    let map = "[serial]\nport = \"gps\"\nframing = { line = \"\\n\" }\n[methods.t]\nhears = '^T=(?<t>.+)$'\n\
               values.t = \"integer\"\n[methods.ring]\nsend = \"RING\"\n";
    let mut device = Device::new();
    let mut rig = Rig::load(&[("gps", PortConfig::new(device.path()))], &[map]);
    rig.run();
    rig.wait_open("ring").await;
    let why = "was heard, and it said \"T=51.8\", of which `t`: \"51.8\" is no integer";
    device.say("T=51.8\n").await;
    heard(
        &rig,
        "t",
        |c| matches!(c, Completion::Unavailable(e) if e.code == "bad_response" && e.message.ends_with(why)),
    )
    .await;
    let error = |completion: &Completion| {
        let Completion::Ok(response) = completion else { return None };
        response.get("error").and_then(Value::as_str).map(str::to_owned)
    };
    // One that can be read, and one that cannot, in one piece: the old value, and what came since.
    device.say("T=52\nT=51.8\n").await;
    let old = heard(&rig, "t", |c| error(c).is_some()).await;
    assert_eq!(value(&old), Some(&json!({"t": 52})));
    assert!(error(&old).unwrap().ends_with(why), "{old:?}");
    device.say("T=51.8\nT=53\n").await;
    heard(&rig, "t", |c| value(c) == Some(&json!({"t": 53})) && error(c).is_none()).await;
}

/// Maps of other kinds on the same port hear answers as bytes like any others, and do not take them for news.
#[tokio::test]
async fn the_answers_of_other_maps_are_not_heard() {
    let modbus = "[modbus]\nport = \"gps\"\nunit = 3\n[methods.speed]\nread = { holding = 1 }";
    let line =
        "[serial]\nport = \"gps\"\nframing = { line = \"\\n\" }\n[methods.m]\nsend = \"M\"\nreply = '^OK'";
    let any = "[serial]\nport = \"gps\"\nframing = { fixed = 7 }\n[methods.any]\nhears = { hex = \"..\" }";
    let mut device = Device::new();
    let mut rig = Rig::load(&[("gps", PortConfig::new(device.path()))], &[modbus, line, any]);
    rig.run();
    rig.wait_open("m").await;
    let (completion, ()) = tokio::join!(rig.call("speed", Value::Null, LONG), async {
        let mut request = [0; 8];
        device.master.read_exact(&mut request).await.unwrap();
        device.master.write_all(&[3, 3, 2, 0, 7, 0x80, 0x46]).await.unwrap();
    });
    assert_eq!(completion, Completion::Ok(json!(7)));
    let (completion, ()) = tokio::join!(rig.call("m", Value::Null, LONG), async {
        device.expect("M\n").await;
        device.say("OK 123\n").await;
    });
    assert_eq!(completion, Completion::Ok(Value::Null));
    let none = rig.call("any", Value::Null, LONG).await;
    assert!(matches!(&none, Completion::Unavailable(e) if e.code == "nothing_heard"), "{none:?}");
    device.say("1234567").await;
    heard(&rig, "any", |c| value(c).is_some()).await;
}
