use tokio::io::AsyncWriteExt;

use super::*;

const MOST: u64 = 4096;

fn pair(longer: Longer) -> (Reader, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Bounded::of(ours, MOST, longer).unwrap().split().take().0, theirs)
}

fn signal(text: &str) -> Message {
    Message::signal("/a", "a.b", "C").build(&text).unwrap()
}

#[tokio::test]
async fn a_long_message_is_refused_before_it_comes() {
    let (mut reader, mut theirs) = pair(Longer::EndsConnection);
    let message = signal("x");
    theirs.write_all(message.data()).await.unwrap();
    let (mut received, mut descriptors) = (Vec::new(), Vec::new());
    let first = reader.receive_message(1, &mut received, &mut descriptors).await.unwrap();
    assert_eq!(first.body().deserialize::<String>().unwrap(), "x");
    // Its first 16 bytes, some of which came with the greeting, and not one more.
    let mut start = message.data().get(..16).unwrap().to_vec();
    start[4..8].copy_from_slice(&100_000_000_u32.to_ne_bytes());
    received.extend(start.drain(..5));
    theirs.write_all(&start).await.unwrap();
    let refused = reader.receive_message(2, &mut received, &mut descriptors).await.unwrap_err();
    let why = too_long(&refused).unwrap();
    assert!(why.starts_with("a message of 1000") && why.ends_with("and at most 4096 are taken"), "{why}");
    assert!(received.capacity() < 1024);
}

#[tokio::test]
async fn a_long_message_loses_its_body() {
    let (mut reader, mut theirs) = pair(Longer::LosesItsBody);
    // Of every length modulo eight, whole or in pieces in what the greeting left.
    let long: Vec<u8> = (0..9).flat_map(|more| signal(&"y".repeat(100_000 + more)).data().to_vec()).collect();
    let short = signal("x");
    assert!(!lost_its_body(&short) && !lost_its_body(&Message::signal("/a", "a.b", "C").build(&()).unwrap()));
    for already in [0, 1, 16, 17, 50_000, 150_000, long.len() + 3] {
        let mut all = long.clone();
        all.extend_from_slice(short.data());
        let rest = all.split_off(already);
        let (mut received, mut descriptors) = (all, Vec::new());
        let write = theirs.write_all(&rest);
        let read = async {
            for _ in 0..9 {
                let message = reader.receive_message(1, &mut received, &mut descriptors).await.unwrap();
                assert!(lost_its_body(&message), "{already}: {message:?}");
                assert_eq!(message.header().member().unwrap().as_str(), "C");
                assert!(message.body().deserialize::<String>().is_err());
            }
            reader.receive_message(1, &mut received, &mut descriptors).await.unwrap()
        };
        let (message, written) = tokio::join!(read, write);
        written.unwrap();
        assert_eq!(message.body().deserialize::<String>().unwrap(), "x", "{already}");
        assert!(received.is_empty());
    }
    // One whose header is the long part.
    let mut start = short.data().get(..16).unwrap().to_vec();
    start[12..16].copy_from_slice(&10_001_u32.to_ne_bytes());
    start.resize(10_024 + short.body().len(), 0);
    start.extend_from_slice(short.data());
    theirs.write_all(&start).await.unwrap();
    let message = reader.receive_message(1, &mut Vec::new(), &mut Vec::new()).await.unwrap();
    assert_eq!(message.body().deserialize::<String>().unwrap(), "x");
    // The end of the connection in the middle of one.
    theirs.write_all(long.get(..60_000).unwrap()).await.unwrap();
    drop(theirs);
    assert!(reader.receive_message(1, &mut Vec::new(), &mut Vec::new()).await.is_err());
}

#[tokio::test]
async fn who_writes_more_than_is_taken_waits_and_the_rest_follows() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let bounded = Bounded::of(ours, MOST, Longer::EndsConnection).unwrap();
    let (_reader, mut writer) = bounded.split().take();
    // More than the kernel keeps for who does not read yet.
    let all: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let write = async {
        let mut left = all.as_slice();
        while !left.is_empty() {
            let count = writer.sendmsg(left, &[]).await.unwrap();
            left = &left[count..];
        }
        drop(writer);
    };
    let mut came = Vec::new();
    let read = async {
        tokio::task::yield_now().await;
        theirs.read_to_end(&mut came).await.unwrap();
    };
    tokio::join!(write, read);
    assert!(came == all, "{} bytes came, and then the end", came.len());
}

#[tokio::test]
async fn abstract_sockets_are_reached() {
    let name = format!("nowd-test-{}", std::process::id());
    let listener = tokio::net::UnixListener::bind(format!("\0{name}")).unwrap();
    let bus = BusAddress::At(format!("unix:abstract={name}"));
    let (connected, accepted) = tokio::join!(bus.bounded(1, Longer::LosesItsBody), listener.accept());
    assert!(connected.unwrap().is_some() && accepted.is_ok());
    let elsewhere = BusAddress::At("tcp:host=localhost,port=1".into());
    assert!(elsewhere.bounded(1, Longer::LosesItsBody).await.unwrap().is_none());
}

#[test]
fn a_message_says_at_its_start_how_long_it_is() {
    let start = |order: u8, body: [u8; 4], fields: [u8; 4]| {
        let mut start = vec![order, 1, 0, 1];
        start.extend(body);
        start.extend([1, 0, 0, 0]);
        start.extend(fields);
        start
    };
    let of = |start: &[u8]| Start::of(start).map(|start| (start.header, start.body));
    assert_eq!(of(&start(b'l', [2, 1, 0, 0], [8, 0, 0, 0])), Some((24, 258)));
    assert_eq!(of(&start(b'B', [0, 0, 1, 2], [0, 0, 0, 9])), Some((32, 258)));
    assert_eq!(of(&start(b'l', [255; 4], [255; 4])), Some((0x1_0000_0010, 0xffff_ffff)));
    assert_eq!(of(&start(b'x', [0; 4], [0; 4])), None);
    assert_eq!(of(b"l"), None);
}
