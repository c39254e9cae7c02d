//! What a nucleus can make the client hold, counted by what the client takes from the socket.

use std::time::Duration;

use nowd_greengrass::wire::{Frame, Kind};
use nowd_greengrass::{Connection, LONGEST_FRAME, Options, Qos, Token};
use nowd_testkit::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::common::BOUND;

/// No progress for so long is the end of what is taken. Too short, on a slow machine, it only makes the count smaller.
const STILL: Duration = Duration::from_millis(500);
/// 32 events wait, one is being told, one is being read, and the socket holds less than four of these.
const MOST: usize = 38;

fn frame(kind: Kind, flags: i32, stream: i32, model: Option<&str>, payload: Vec<u8>) -> Vec<u8> {
    let model = model.map(|model| format!("aws.greengrass#{model}"));
    Frame { kind, flags, stream, model, operation: None, payload }.write().unwrap()
}

async fn call(stream: &mut UnixStream) -> usize {
    let mut bytes = vec![0; 4096];
    within(BOUND, "a call", stream.read(&mut bytes)).await.unwrap()
}

#[tokio::test]
async fn events_that_nobody_wants_fill_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ipc.socket");
    let listener = UnixListener::bind(&path).unwrap();
    let options = Options::new(path, Token::new("t".to_owned()));
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        call(&mut stream).await;
        stream.write_all(&frame(Kind::ConnectAck, 1, 0, None, vec![])).await.unwrap();
        call(&mut stream).await;
        let answer = frame(Kind::Message, 0, 1, Some("SubscribeToIoTCoreResponse"), b"{}".to_vec());
        stream.write_all(&answer).await.unwrap();
        stream
    };
    let client = async {
        let connection = Connection::open(&options).await.unwrap();
        connection.client().subscribe_iot_core("t", Qos::AtLeastOnce).await.unwrap();
        connection
    };
    let (mut stream, connection) =
        within(BOUND, "a subscription", async { tokio::join!(server, client) }).await;

    // What belongs to nobody costs nothing, however much it is.
    let nobodys = frame(Kind::Message, 0, 99, Some("IoTCoreMessage"), vec![b' '; LONGEST_FRAME - 256]);
    for _ in 0..200 {
        within(BOUND, "room in the socket", stream.write_all(&nobodys)).await.unwrap();
    }
    let event = frame(Kind::Message, 0, 1, Some("IoTCoreMessage"), vec![b' '; LONGEST_FRAME - 256]);
    let mut taken = 0;
    while taken < 1_000 * event.len() {
        tokio::select! {
            written = stream.write(&event[taken % event.len()..]) => taken += written.unwrap(),
            () = tokio::time::sleep(STILL) => break,
        }
    }
    let taken = taken.div_ceil(event.len());
    assert!(taken <= MOST, "{taken} frames were taken");
    drop(connection);
    within(BOUND, "the end", async { while stream.write_all(&event).await.is_ok() {} }).await;
}
