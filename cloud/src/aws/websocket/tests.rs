use std::time::Duration;

use aws_credential_types::Credentials;

use futures_util::{SinkExt as _, StreamExt as _};
use nowd_link::{DatePolicy, Event, Properties, Publish, Qos, Tls};
use nowd_testkit::{Ca, IotCore, Mosquitto, REGION, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// How the front answers.
#[derive(Clone, Copy, PartialEq)]
enum Front {
    /// As IoT Core does; what the broker says comes in messages of 7 bytes, with pings between them.
    Piecemeal,
    Text,
    NoSubprotocol,
    Status(&'static str),
    Silence,
}

/// A WebSocket front before a broker.
struct Server {
    port: u16,
    _tasks: JoinSet<()>,
}

async fn serve(front: Front, broker: u16) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(connection(front, stream, port, broker));
        }
    });
    Server { port, _tasks: tasks }
}

async fn connection(front: Front, mut stream: TcpStream, port: u16, broker: u16) {
    if front == Front::Silence {
        return std::future::pending().await;
    }
    if let Front::Status(head) = front {
        let mut asked = [0; 4096];
        let length = stream.read(&mut asked).await.unwrap();
        let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
        let body = if head.contains("ECHO") { asked } else { r#"{"message":"Forbidden"}"#.into() };
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        return;
    }
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let check = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let query = request.uri().query().unwrap();
        assert_eq!(request.uri().path(), "/mqtt");
        assert_eq!(request.headers()["host"], format!("127.0.0.1:{port}"));
        assert!(query.contains("X-Amz-Signature="), "{query}");
        assert!(query.ends_with("&X-Amz-Security-Token=token%2F%2B%3D"), "{query}");
        if front != Front::NoSubprotocol {
            response.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        }
        Ok(response)
    };
    let socket = accept_hdr_async(stream, check).await.unwrap();
    let (mut out, mut incoming) = socket.split();
    let (mut from, mut to) = TcpStream::connect(("127.0.0.1", broker)).await.unwrap().into_split();
    let up = async {
        while let Some(Ok(message)) = incoming.next().await {
            if let Message::Binary(bytes) = message {
                to.write_all(&bytes).await.unwrap();
            }
        }
    };
    let down = async {
        let mut buffer = [0; 7];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let bytes = buffer[..length].to_vec();
            let message =
                if front == Front::Text { Message::text("text") } else { Message::Binary(bytes.into()) };
            if out.send(message).await.is_err() || out.send(Message::Ping("p".into())).await.is_err() {
                return;
            }
        }
        drop(out.close().await);
    };
    tokio::select! { () = up => {}, () = down => {} }
}

fn dialler() -> WebSocket {
    let credentials = Credentials::new("AKIDEXAMPLE", "very-secret", Some("token/+=".into()), None, "test");
    WebSocket::new(Arc::new(Aws::fixed("eu-central-1", credentials)))
}

fn options(port: u16) -> Options {
    Options { connect_timeout: PATIENCE, ..Options::new("client", "127.0.0.1", port) }
}

fn publish(size: usize) -> Publish {
    Publish {
        topic: "echo".into(),
        payload: vec![b'x'; size].into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
    }
}

async fn refused(front: Front) -> String {
    let server = serve(front, 1).await;
    let bound = if front == Front::Silence { Duration::from_millis(500) } else { PATIENCE };
    let options = Options { connect_timeout: bound, ..options(server.port) };
    let error = within(PATIENCE, "a refusal", dialler().dial(options)).await.unwrap_err();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    assert!(!text.to_ascii_lowercase().contains("x-amz-") && !text.contains("AKID"), "{text}");
    text.replace(&server.port.to_string(), "PORT")
}

#[tokio::test]
async fn messages_of_any_size_cross_it_both_ways() {
    let mut broker = Mosquitto::start();
    let server = serve(Front::Piecemeal, broker.port()).await;
    let mut link = within(PATIENCE, "a connection", dialler().dial(options(server.port))).await.unwrap();
    let sender = link.sender();
    sender.subscribe(&["echo"], Qos::AtLeastOnce).unwrap();
    for size in [0, 1, 5_000, 100_000, 131_072] {
        sender.publish(publish(size)).unwrap();
    }
    let mut sizes = Vec::new();
    while sizes.len() < 5 {
        if let Event::Message(message) = within(PATIENCE, "a message", link.next()).await.unwrap() {
            sizes.push(message.payload.len());
            message.ack.unwrap().send().unwrap();
        }
    }
    assert_eq!(sizes, [0, 1, 5_000, 100_000, 131_072]);
    broker.stop();
    let ended = within(PATIENCE, "the end", async {
        loop {
            if let Err(error) = link.next().await {
                return error;
            }
        }
    });
    assert!(matches!(ended.await, LinkError::Lost { .. }));
}

#[tokio::test]
async fn what_went_wrong_is_said_in_a_sentence_without_secrets() {
    let broker = Mosquitto::start();
    let table = [
        (
            Front::Status("403 Forbidden"),
            r#"refused the WebSocket (403: {"message":"Forbidden"}); check that the role"#,
        ),
        (Front::Status("403 ECHO"), "127.0.0.1:PORT refused the WebSocket (403); check that the role"),
        (Front::Status("404 Not Found"), "answered 404"),
        (Front::Silence, "did not answer within 500 ms"),
    ];
    for (front, said) in table {
        let text = refused(front).await;
        assert!(text.contains(said), "{text}");
    }
    for (front, said) in
        [(Front::NoSubprotocol, "does not offer the subprotocol mqtt"), (Front::Text, "sent text")]
    {
        let server = serve(front, broker.port()).await;
        let error = within(PATIENCE, "a refusal", dialler().dial(options(server.port))).await.unwrap_err();
        let text = format!("{error} {:?}", error.source().map(ToString::to_string));
        assert!(text.contains(said), "{text}");
    }
}

#[tokio::test]
async fn tls_problems_and_missing_credentials_are_told_apart() {
    let (broker, ca) = (Mosquitto::start(), Ca::new());
    let core = IotCore::start(&ca, &broker);
    let given = core.credentials();
    let given = Credentials::new(given.access_key, given.secret_key, Some(given.session_token), None, "test");
    let wrong = Credentials::new("AKIDEXAMPLE", "very-secret", None, None, "test");
    let none = Aws::without_credentials(REGION);
    let tls = |ca: &Ca| Some(Arc::new(Tls::anonymous(Some(&ca.file()), DatePolicy::Judge).unwrap()));
    let table = [
        (Aws::fixed(REGION, given.clone()), &ca, None),
        (Aws::fixed(REGION, given.clone()), &Ca::new(), Some("TLS with localhost failed: ")),
        (Aws::fixed("us-east-1", given), &ca, Some("refused the WebSocket (403")),
        (Aws::fixed(REGION, wrong), &ca, Some("refused the WebSocket (403")),
        (none, &ca, Some("no AWS credentials were found")),
    ];
    for (aws, ca, said) in table {
        let options = Options { tls: tls(ca), host: "localhost".into(), ..options(core.port()) };
        let dialled = within(PATIENCE, "an end", WebSocket::new(Arc::new(aws)).dial(options)).await;
        match (dialled, said) {
            (Ok(_), None) => {}
            (Err(error), Some(said)) => assert!(error.to_string().contains(said), "{error}"),
            (dialled, said) => panic!("{dialled:?} instead of {said:?}"),
        }
    }
}

#[test]
fn what_the_endpoint_is_called() {
    let table =
        [("a.example", 443, "a.example"), ("a.example", 8443, "a.example:8443"), ("::1", 443, "[::1]")];
    for (host, port, name) in table {
        assert_eq!(authority(&Options::new("c", host, port)), name);
    }
}
