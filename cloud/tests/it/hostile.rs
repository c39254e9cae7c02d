//! Requests that nobody should make, against the program itself before a real broker: each is refused in words, and nothing
//! of it is published.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops; this is not in a function marked as one"
)]

use nowd_link::{Connection, Event, Options, Publish, Qos};
use nowd_testkit::{Mosquitto, Process, within};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway::{Gateway, PATIENCE, ok};
use crate::program::{address, serve};

/// The code and the body of the answer to these bytes.
async fn http(address: &str, request: &[u8]) -> (u16, Value) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let talk = async {
        // A server that refuses a body does not read all of it.
        let (_, read) = tokio::join!(writer.write_all(request), reader.read_to_end(&mut answer));
        drop(read);
    };
    within(PATIENCE, "a response", talk).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    (code, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn request(line: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// Hears everything that is published, for whomever.
struct Listener(Connection);

impl Listener {
    const MARK: &str = "this/is/the/mark";

    async fn start(port: u16) -> Self {
        let mut link = Connection::open(&Options::new("listener", "127.0.0.1", port)).await.unwrap();
        link.sender().subscribe(&["#".to_owned()], Qos::AtLeastOnce).unwrap();
        let subscribed = async { while !matches!(link.next().await.unwrap(), Event::Subscribed { .. }) {} };
        within(PATIENCE, "a subscription", subscribed).await;
        Self(link)
    }

    /// The topics of all requests and replies until now: a message of our own comes after them.
    async fn heard(&mut self) -> Vec<String> {
        self.0.sender().publish(Publish { topic: Self::MARK.to_owned(), ..Publish::default() }).unwrap();
        let mut topics = Vec::new();
        within(PATIENCE, "the mark", async {
            loop {
                let Event::Message(message) = self.0.next().await.unwrap() else { continue };
                match &*message.topic {
                    Self::MARK => return,
                    topic if topic.starts_with("nowd/presence/") || topic.ends_with("/probe/ack") => {}
                    topic => topics.push(topic.to_owned()),
                }
                drop(message.ack.map(nowd_link::Ack::send));
            }
        })
        .await;
        topics
    }
}

/// The broker, somebody who listens, a gateway that would answer, and the program with its address.
struct Bed {
    _broker: Mosquitto,
    gateway: Gateway,
    listener: Listener,
    _program: Process,
    address: String,
}

impl Bed {
    async fn start() -> Self {
        let broker = Mosquitto::start();
        let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
        let listener = Listener::start(broker.port()).await;
        let endpoint = format!("127.0.0.1:{}", broker.port());
        let program = serve(&["--listen", "127.0.0.1:0", "--endpoint", &endpoint, "--compat"]);
        let address = address(&program).await;
        let mut bed = Self { _broker: broker, gateway, listener, _program: program, address };
        // It is connected, and calls arrive.
        let call = request("POST /things/g/methods/m?timeout=20000", "", "7");
        assert_eq!(http(&bed.address, &call).await.0, 200);
        let heard = bed.listener.heard().await;
        assert!(
            heard.len() == 2 && heard[0].starts_with("g/m/") && heard[1].ends_with("/g/m/ack"),
            "{heard:?}"
        );
        bed
    }

    async fn refuses(&self, line: &str, headers: &str, body: &str, code: u16, words: &str) {
        let (found, answer) = http(&self.address, &request(line, headers, body)).await;
        let shown: String = line.chars().take(120).collect();
        assert_eq!(found, code, "{shown}: {answer}");
        assert_eq!(answer["outcome"], "not_executed", "{shown}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{shown}: {message}");
        if !line.starts_with("GET /invoke") {
            assert_eq!((&answer["status"], &answer["detail"]), (&Value::from(code), &Value::from(message)));
        }
    }
}

/// What stands where a target or a method should, and a part of what is said about it.
const NAMES: &[(&str, &str)] = &[
    ("a%2Fb", "holds '/'"),
    ("a%2Bb", "holds '+'"),
    ("a%23b", "holds '#'"),
    ("a%00b", "holds '\\0'"),
    ("%24SYS", "starts with `$`"),
    ("$SYS", "starts with `$`"),
    ("..", "it is `.` or holds `..`"),
    (".", "it is `.` or holds `..`"),
    ("a..b", "it is `.` or holds `..`"),
    ("..%2F..%2Fg", "it is `.` or holds `..`"),
    ("%2E%2E", "it is `.` or"),
    ("%2e%2e", "it is `.` or"),
    ("%2e", "it is `.` or"),
    ("%67", "\"g\""),
    ("a%2fb", "holds '/'"),
    ("a%3ab", "\"a%3Ab\""),
    ("g;v=1", "\"g%3Bv%3D1\""),
    ("g;", "\"g%3B\""),
    ("a+b", "holds '+'"),
    ("%", ""),
    ("%2", ""),
    ("%zz", ""),
    ("%FF", "not UTF-8"),
    ("%C0%AF", "not UTF-8"),
    ("%C0%80", "not UTF-8"),
    ("%ED%A0%80", "not UTF-8"),
    ("%F4%90%80%80", "not UTF-8"),
    ("ü", "\"%C3%BC\""),
    ("%01", "a broker may end"),
    ("%0A", "a broker may end"),
    ("%0D%0AX:%20y", "a broker may end"),
    ("%7F", "a broker may end"),
    ("%C2%85", "a broker may end"),
    ("%EF%B7%90", "a broker may end"),
    ("%F0%9F%BF%BF", "a broker may end"),
    ("\"g\"", ""),
    ("{g}", ""),
    ("LONG", "300 bytes long"),
];

const CALL: &str = "POST /things/g/methods/m";
/// These stand for what is too long for a table.
const LARGE: &str = "a megabyte";
const DEEP: &str = "a hundred levels";
const LONG_QUERY: &str = "five thousand digits";

/// The request's line, headers and body; code, and a part of what is said.
type Row = (&'static str, &'static str, &'static str, u16, &'static str);

const REQUESTS: &[Row] = &[
    // Paths that are none.
    ("POST /things//methods/m", "", "1", 400, "is empty"),
    ("POST /things/g/methods/", "", "1", 404, "nothing at this path"),
    ("POST /things/g/methods/m/", "", "1", 404, "nothing at this path"),
    ("POST //things/g/methods/m", "", "1", 404, "nothing at this path"),
    ("POST /things/g//methods/m", "", "1", 404, "nothing at this path"),
    ("POST /things/../things/g/methods/m", "", "1", 404, "nothing at this path"),
    ("POST /things/g/methods/x/../m", "", "1", 404, "nothing at this path"),
    ("POST /Things/g/methods/m", "", "1", 404, "nothing at this path"),
    ("POST /things%2Fg%2Fmethods%2Fm", "", "1", 404, "nothing at this path"),
    ("POST /things/g/m%65thods/m", "", "1", 404, "nothing at this path"),
    ("POST /things;v=1/g/methods/m", "", "1", 404, "nothing at this path"),
    ("OPTIONS *", "", "", 404, "nothing at this path"),
    ("CONNECT localhost:80", "", "", 404, "nothing at this path"),
    ("POST http://localhost/things/../g", "", "1", 404, "nothing at this path"),
    // HTTP methods.
    ("GET /things/g/methods/m", "", "", 405, "takes POST"),
    ("PUT /things/g/methods/m", "", "1", 405, "takes POST"),
    ("TRACE /things/g/methods/m", "", "", 405, "takes POST"),
    ("OPTIONS /things/g/methods/m", "", "", 405, "takes POST"),
    ("FROB /things/g/methods/m", "", "", 405, "takes POST"),
    ("POST /things/g", "", "1", 405, "takes GET"),
    ("DELETE /things/g", "", "", 405, "takes GET"),
    ("POST /invoke?target=g&method=m&request=a", "", "", 405, "takes GET"),
    (CALL, "X-HTTP-Method-Override: GET\r\nContent-Encoding: gzip\r\n", "\u{1f}x", 400, "not JSON"),
    // Timeouts and other queries.
    ("POST /things/g/methods/m?timeout=0", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=-1", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=abc", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=1e9", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=1000000000", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=1.5", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=%2B5", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=5%00", "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=%D9%A5", "", "1", 400, "`timeout` must be"),
    (LONG_QUERY, "", "1", 400, "`timeout` must be"),
    ("POST /things/g/methods/m?timeout=5&timeout=5", "", "1", 400, "stands twice"),
    ("POST /things/g/methods/m?timeout=5&%74imeout=5", "", "1", 400, "stands twice"),
    ("POST /things/g/methods/m?Timeout=5", "", "1", 400, "no query parameter"),
    ("POST /things/g/methods/m?timeout=%FF", "", "1", 400, "not UTF-8"),
    ("GET /things/g?timeout=0", "", "", 400, "`timeout` must be"),
    ("GET /things/g/methods?after=a&after=b", "", "", 400, "stands twice"),
    ("GET /things/g/calls/x", "", "", 400, "a UUID"),
    ("GET /things/g/calls/%30b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c", "", "", 400, "unusual way"),
    ("GET /invoke?target=a%2Fb&method=m&request=a", "", "", 400, "holds '/'"),
    ("GET /invoke?target=..&method=m&request=a", "", "", 400, "holds `..`"),
    ("GET /invoke?target=g&target=h&method=m&request=a", "", "", 400, "stands twice"),
    ("GET /invoke?target=g&method=m&request=a&timeout=0", "", "", 400, "`timeout` must be"),
    ("GET /invoke?target=g&method=m", "", "", 400, "is missing"),
    // Bodies.
    (CALL, "", LARGE, 413, "above 131072 bytes"),
    (CALL, "", DEEP, 400, "nested deeper than 64 levels"),
    (CALL, "", "{", 400, "not JSON"),
    (CALL, "", "percent=40", 400, "not JSON"),
    (CALL, "Content-Type: application/x-www-form-urlencoded\r\n", "percent=40", 400, "not JSON"),
    (CALL, "", "1 2", 400, "not JSON"),
    (CALL, "", "1e999", 400, "not JSON"),
    (CALL, "", "NaN", 400, "not JSON"),
    // Headers.
    (CALL, "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", "1", 400, "`Idempotency-Key` must"),
    (CALL, "Idempotency-Key:\r\n", "1", 400, "`Idempotency-Key` must"),
    (CALL, "Origin: http://evil.example\r\n", "1", 403, "another origin"),
    (CALL, "Sec-Fetch-Site: cross-site\r\n", "1", 403, "another origin"),
];

#[tokio::test]
async fn nothing_of_a_hostile_request_is_published() {
    let mut bed = Bed::start().await;
    for (segment, words) in NAMES {
        let segment = if *segment == "LONG" { "x".repeat(300) } else { (*segment).to_owned() };
        for line in [
            format!("POST /things/{segment}/methods/m"),
            format!("POST /things/g/methods/{segment}"),
            format!("GET /things/{segment}"),
            format!("GET /things/{segment}/methods"),
        ] {
            bed.refuses(&line, "", "1", 400, words).await;
        }
    }
    for (line, headers, body, code, words) in REQUESTS {
        let line = match *line {
            LONG_QUERY => format!("{CALL}?timeout={}", "9".repeat(5_000)),
            line => line.to_owned(),
        };
        let body = match *body {
            LARGE => "x".repeat(1 << 20),
            DEEP => format!("{}{}", "[".repeat(100), "]".repeat(100)),
            body => body.to_owned(),
        };
        bed.refuses(&line, headers, &body, *code, words).await;
    }

    // Not even HTTP: no words, and nothing published either.
    for bytes in [
        &b"POST /things/g/methods/m\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"POST /things/g/methods/m HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n7",
        b"POST /things/g/methods/m HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n7",
    ] {
        assert_eq!(http(&bed.address, bytes).await.0, 400, "{}", bytes.escape_ascii());
    }

    assert_eq!(bed.gateway.requests().len(), 1, "only the first call came");
    assert_eq!(bed.listener.heard().await, [""; 0], "and nothing was published for anybody else");
    // And everybody's connection is still there.
    let call = request("POST /things/g/methods/m?timeout=20000", "", "8");
    assert_eq!(http(&bed.address, &call).await.0, 200);
}
