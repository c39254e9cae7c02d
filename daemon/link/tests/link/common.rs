//! Short ways to do in a test what is done in most of them.

use std::time::Duration;

use nowd_link::{Connection, Event, LinkError, Message, Options, Publish, Qos};
use nowd_testkit::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A test that waits longer than this has failed.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// Options that make no test fail because the machine is slow.
pub(crate) fn options(id: &str, port: u16) -> Options {
    Options {
        keep_alive: Duration::from_secs(5),
        user_timeout: BOUND,
        connect_timeout: BOUND,
        ..Options::new(id, "127.0.0.1", port)
    }
}

/// Options that find a silent broker soon.
pub(crate) fn impatient(id: &str, port: u16) -> Options {
    Options { user_timeout: Duration::from_secs(2), ..options(id, port) }
}

pub(crate) async fn open(id: &str, port: u16) -> Connection {
    Connection::open(&options(id, port)).await.unwrap_or_else(|error| panic!("{id}: {error:?}"))
}

pub(crate) async fn next(connection: &mut Connection) -> Event {
    within(BOUND, "an event", connection.next()).await.unwrap_or_else(|error| panic!("{error:?}"))
}

/// Why the connection ends; events before it are dropped.
pub(crate) async fn end(connection: &mut Connection) -> LinkError {
    within(BOUND, "the end of the connection", async {
        loop {
            if let Err(error) = connection.next().await {
                return error;
            }
        }
    })
    .await
}

pub(crate) async fn subscribe(connection: &mut Connection, filter: &str) {
    let ticket = connection.sender().subscribe(&[filter], Qos::AtLeastOnce).unwrap();
    let Event::Subscribed { ticket: answered, results } = next(connection).await else {
        panic!("no SUBACK for {filter}");
    };
    assert_eq!(answered, ticket);
    assert_eq!(results, [(filter.to_owned(), Ok(Qos::AtLeastOnce))]);
}

/// The next message, acknowledged.
pub(crate) async fn message(connection: &mut Connection) -> Message {
    let Event::Message(mut message) = next(connection).await else { panic!("no message") };
    if let Some(ack) = message.ack.take() {
        ack.send().unwrap();
    }
    message
}

pub(crate) fn publish(topic: &str, payload: &str, qos: Qos) -> Publish {
    Publish { topic: topic.to_owned(), payload: payload.to_owned().into(), qos, ..Publish::default() }
}

/// Options for a broker that accepts a connection and then does what the test does with its stream.
pub(crate) async fn broker_by_hand() -> (Options, tokio::task::JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    let stream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut connect = [0; 1024];
        within(BOUND, "CONNECT", stream.read(&mut connect)).await.unwrap();
        stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        stream
    });
    (impatient("gate-1", port), stream)
}
