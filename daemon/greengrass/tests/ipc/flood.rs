//! What a nucleus can make the client hold, by taking nothing, and by sending what nobody wants: counted by what the client
//! takes from the socket.

use std::time::Duration;

use nowd_greengrass::wire::{Frame, Kind};
use nowd_greengrass::{
    CallError, Connection, IpcError, LONGEST_FRAME, MOST_STREAMS, Options, Publish, Qos, State, Token,
};
use nowd_testkit::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::common::{BOUND, end};

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

/// A nucleus as far as the answer to the first call, with this payload, if there is one.
async fn nucleus(listener: &UnixListener, answer: Option<Vec<u8>>) -> UnixStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    call(&mut stream).await;
    stream.write_all(&frame(Kind::ConnectAck, 1, 0, None, vec![])).await.unwrap();
    if let Some(answer) = answer {
        call(&mut stream).await;
        stream.write_all(&answer).await.unwrap();
    }
    stream
}

#[tokio::test]
async fn a_nucleus_that_takes_nothing_loses_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ipc.socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut options = Options::new(path, Token::new("t".to_owned()));
    options.answer_timeout = Duration::from_millis(200);
    let (stream, connection) = tokio::join!(nucleus(&listener, None), Connection::open(&options));
    let mut connection = connection.unwrap();
    let client = connection.client();
    // More than any socket holds, and as much as the client keeps for it.
    let publish = Publish { topic: "t".to_owned(), payload: vec![0; 128 * 1024], ..Publish::default() };
    let mut calls = JoinSet::new();
    for _ in 0..MOST_STREAMS {
        let (client, publish) = (client.within(BOUND), publish.clone());
        calls.spawn(async move { client.publish_iot_core(&publish).await });
    }
    let error = end(&mut connection).await;
    assert!(matches!(error, IpcError::Stuck { what: "took no message", .. }), "{error:?}");
    let ends = within(BOUND, "the ends of the calls", calls.join_all()).await;
    assert!(ends.iter().all(|end| matches!(end, Err(CallError::Closed { .. }))), "{ends:?}");
    drop(stream);
}

#[tokio::test]
async fn events_that_nobody_wants_fill_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ipc.socket");
    let listener = UnixListener::bind(&path).unwrap();
    let options = Options::new(path, Token::new("t".to_owned()));
    let answer = frame(Kind::Message, 0, 1, Some("SubscribeToIoTCoreResponse"), b"{}".to_vec());
    let server = nucleus(&listener, Some(answer));
    let client = async {
        let connection = Connection::open(&options).await.unwrap();
        connection.client().subscribe_iot_core("t", Qos::AtLeastOnce).await.unwrap();
        connection
    };
    let (mut stream, connection) =
        within(BOUND, "a subscription", async { tokio::join!(server, client) }).await;

    // What belongs to nobody costs nothing, however much it is.
    let nobodys = frame(Kind::Message, 0, 99, Some("IoTCoreMessage"), vec![b' '; LONGEST_FRAME - 256]);
    for _ in 0..60 {
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

#[tokio::test]
async fn last_words_are_heard_although_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ipc.socket");
    let listener = UnixListener::bind(&path).unwrap();
    let options = Options::new(path, Token::new("t".to_owned()));
    let (stream, connection) = tokio::join!(nucleus(&listener, None), Connection::open(&options));
    let (mut stream, mut connection) = (stream, connection.unwrap());
    let client = connection.client();
    // Queued before the reader is woken: the writer is the first to see that nobody is there.
    stream
        .write_all(&frame(Kind::ProtocolError, 0, 0, None, br#"{"message":"enough."}"#.to_vec()))
        .await
        .unwrap();
    drop(stream);
    let call = client.update_state(State::Running);
    let (answer, error) = within(BOUND, "the end", async { tokio::join!(call, connection.next()) }).await;
    assert_eq!(answer, Err(CallError::Closed { operation: "UpdateState" }));
    let error = error.unwrap_err();
    assert!(matches!(&error, IpcError::Protocol { message } if message == "enough"), "{error:?}");
}
