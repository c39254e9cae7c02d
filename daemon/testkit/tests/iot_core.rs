//! The stand-in for IoT Core, by a client that signs by itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on stops, in its helpers too"
)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nowd_testkit::{Ca, Credentials, DirectAnswer, IotCore, Mosquitto, REGION, wait_for, within};
use ring::{digest, hmac};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

const BOUND: Duration = Duration::from_secs(20);
type Socket = WebSocketStream<TlsStream<TcpStream>>;

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// `20260102T030405Z`.
fn date() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn sign(with: &Credentials, service: &str, date: &str, request: &str) -> String {
    let day = &date[..8];
    let scope = format!("{day}/{REGION}/{service}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(request));
    let mut key = format!("AWS4{}", with.secret_key).into_bytes();
    for part in [day, REGION, service, "aws4_request", &to_sign] {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    hex(&key)
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

/// The path and query of a WebSocket's URL.
fn presign(core: &IotCore, with: &Credentials) -> String {
    let date = date();
    let credential = format!("{}/{}/{REGION}/iotdevicegateway/aws4_request", with.access_key, &date[..8]);
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={date}&X-Amz-Expires=300&X-Amz-SignedHeaders=host",
        escape(&credential)
    );
    let request = format!("GET\n/mqtt\n{query}\nhost:{}\n\nhost\n{}", core.endpoint(), sha256(""));
    let signature = sign(with, "iotdevicegateway", &date, &request);
    format!("/mqtt?{query}&X-Amz-Signature={signature}&X-Amz-Security-Token={}", escape(&with.session_token))
}

async fn tls(ca: &Ca, core: &IotCore, name: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.file()).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", core.port())).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream).await
}

async fn upgrade(ca: &Ca, core: &IotCore, path: &str) -> Result<Socket, Error> {
    let stream = tls(ca, core, "localhost").await?;
    let request = http::Request::builder()
        .uri(format!("wss://{}{path}", core.endpoint()))
        .header("host", core.endpoint())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "mqtt")
        .body(())
        .unwrap();
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    Ok(socket)
}

/// The status and the body of a refusal.
fn refused(result: Result<Socket, Error>) -> (u16, String) {
    match result {
        Err(Error::Http(response)) => {
            let body = String::from_utf8(response.body().clone().unwrap_or_default()).unwrap();
            (response.status().as_u16(), body)
        }
        other => panic!("{other:?}"),
    }
}

/// A CONNECT of MQTT 5 with properties.
fn connect(id: &str) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x05\x02\x00\x3c\x05\x11\x00\x00\x00\x00\x00".to_vec();
    body.push(u8::try_from(id.len()).unwrap());
    body.extend_from_slice(id.as_bytes());
    [vec![0x10, u8::try_from(body.len()).unwrap()], body].concat()
}

async fn read(socket: &mut Socket, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    within(BOUND, "bytes of the broker", async {
        while bytes.len() < len {
            if let Message::Binary(piece) = socket.next().await.unwrap().unwrap() {
                bytes.extend_from_slice(&piece);
            }
        }
    })
    .await;
    bytes
}

#[tokio::test]
async fn mqtt_passes_a_websocket_however_it_is_cut() {
    let (ca, broker) = (Ca::new(), Mosquitto::start());
    let core = IotCore::start(&ca, &broker);
    let mut socket = upgrade(&ca, &core, &presign(&core, &core.credentials())).await.unwrap();
    for byte in connect("cut-in-bytes") {
        socket.send(Message::binary(vec![byte])).await.unwrap();
    }
    let connack = read(&mut socket, 2).await;
    assert_eq!(connack[0], 0x20);
    read(&mut socket, 2 + usize::from(connack[1]) - connack.len()).await;

    // SUBSCRIBE to "t" and 40 PUBLISH of 3,000 bytes in one message.
    let mut bytes = b"\x82\x07\x00\x01\x00\x00\x01t\x00".to_vec();
    let payload: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    let publish = [b"\x30\xbc\x17\x00\x01t\x00", payload.as_slice()].concat();
    let all = publish.repeat(40);
    bytes.extend_from_slice(&all);
    socket.send(Message::Ping(b"there?".as_slice().into())).await.unwrap();
    socket.send(Message::binary(bytes)).await.unwrap();
    let mut heard = Vec::new();
    let mut ponged = false;
    within(BOUND, "what was published", async {
        while heard.len() < 6 + all.len() {
            match socket.next().await.unwrap().unwrap() {
                Message::Binary(piece) => heard.extend_from_slice(&piece),
                Message::Pong(_) => ponged = true,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert!(heard[6..] == all);
    assert!(ponged);
    assert_eq!(core.client_ids(), ["cut-in-bytes"]);
    assert_eq!((core.connections(), core.accepted(), core.refused()), (1, 1, 0));

    core.close_all();
    within(BOUND, "the end", async { while socket.next().await.is_some_and(|message| message.is_ok()) {} })
        .await;
    wait_for(BOUND, "no connection", || core.connections() == 0).await;
    upgrade(&ca, &core, &presign(&core, &core.credentials())).await.unwrap();
}

#[tokio::test]
async fn old_credentials_are_refused_with_a_body_like_awss_and_old_connections_stay() {
    let (ca, broker) = (Ca::new(), Mosquitto::start());
    let core = IotCore::start(&ca, &broker);
    let old = core.credentials();
    let mut socket = upgrade(&ca, &core, &presign(&core, &old)).await.unwrap();
    core.rotate();
    let (status, body) = refused(upgrade(&ca, &core, &presign(&core, &old)).await);
    assert_eq!(status, 403);
    assert!(body.contains(r#""message":"Forbidden""#) && body.contains(r#""traceId":""#), "{body}");
    assert_eq!(core.reasons(), ["the access key is not valid"]);
    upgrade(&ca, &core, &presign(&core, &core.credentials())).await.unwrap();
    socket.send(Message::binary(connect("still-here"))).await.unwrap();
    assert_eq!(read(&mut socket, 1).await[0], 0x20);
}

#[tokio::test]
async fn an_upgrade_without_signature_or_server_name_or_as_the_test_says_is_refused() {
    let (ca, broker) = (Ca::new(), Mosquitto::start());
    let core = IotCore::start(&ca, &broker);
    assert_eq!(refused(upgrade(&ca, &core, "/mqtt").await).0, 403);
    assert_eq!(refused(upgrade(&ca, &core, "/else").await).0, 403);
    let mut stream = tls(&ca, &core, "127.0.0.1").await.unwrap();
    let mut byte = [0];
    let ended = within(BOUND, "the end", stream.read(&mut byte)).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
    core.refuse_upgrades(1);
    assert_eq!(refused(upgrade(&ca, &core, &presign(&core, &core.credentials())).await).0, 503);
    let mut socket = upgrade(&ca, &core, &presign(&core, &core.credentials())).await.unwrap();
    assert!(core.reasons().contains(&"TLS without a server name (SNI)"));
    assert_eq!(core.accepted(), 1);
    drop(core);
    within(BOUND, "the end", async { while socket.next().await.is_some_and(|message| message.is_ok()) {} })
        .await;
}

#[tokio::test]
async fn credentials_are_given_to_whoever_asks() {
    let (ca, broker) = (Ca::new(), Mosquitto::start());
    let core = IotCore::start(&ca, &broker);
    let uri = core.credentials_uri();
    let (host, _) = uri.strip_prefix("http://").unwrap().split_once('/').unwrap();
    for rotated in [false, true] {
        if rotated {
            core.rotate();
            core.set_lifetime(Duration::from_secs(1));
        }
        let mut stream = TcpStream::connect(host).await.unwrap();
        let request = format!("GET /credentials HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(BOUND, "the answer", stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let given: serde_json::Value = serde_json::from_str(body).unwrap();
        let now = core.credentials();
        assert_eq!(given["AccessKeyId"], now.access_key);
        assert_eq!(given["SecretAccessKey"], now.secret_key);
        assert_eq!(given["Token"], now.session_token);
        assert!(given["Expiration"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(core.asked_for_credentials(), 2);
}

/// Posts a direct message that is signed by hand; the answer's status and body.
async fn post(
    ca: &Ca,
    core: &IotCore,
    client: &str,
    query: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let (date, with) = (date(), core.credentials());
    let mut lines: Vec<_> = headers.lines().map(str::to_owned).collect();
    lines.push(format!("host:{}", core.endpoint()));
    lines.push(format!("x-amz-date:{date}"));
    lines.push(format!("x-amz-security-token:{}", with.session_token));
    lines.sort();
    let names: Vec<_> = lines.iter().map(|line| line.split_once(':').unwrap().0).collect();
    let signed = names.join(";");
    let path = format!("/connections/{client}/messages");
    let canonical = path.replace('%', "%25");
    let lines = lines.join("\n");
    let request = format!("POST\n{canonical}\n{query}\n{lines}\n\n{signed}\n{}", sha256(body));
    let signature = sign(&with, "iotdata", &date, &request);
    let credential = format!("{}/{}/{REGION}/iotdata/aws4_request", with.access_key, &date[..8]);
    let mut stream = tls(ca, core, "localhost").await.unwrap();
    let request = format!(
        "POST {path}?{query} HTTP/1.1\r\n{}\r\nconnection: close\r\ncontent-length: {}\r\nauthorization: \
         AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}\r\n\r\n{body}",
        lines.replace('\n', "\r\n"),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that closes without a word of TLS is still heard.
    drop(within(BOUND, "the answer", stream.read_to_end(&mut answer)).await);
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    (status, answer)
}

/// A client that takes one message below its own name.
async fn subscriber(broker: &Mosquitto, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", broker.port())).await.unwrap();
    stream.write_all(&connect(id)).await.unwrap();
    let filter = format!("{id}/#");
    let len = u8::try_from(filter.len()).unwrap();
    let subscribe = [&[0x82, len + 6, 0, 1, 0, 0, len], filter.as_bytes(), &[1]].concat();
    stream.write_all(&subscribe).await.unwrap();
    for kind in [0x20, 0x90] {
        assert_eq!(packet(&mut stream).await.0, kind);
    }
    stream
}

async fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    within(BOUND, "a packet", stream.read_exact(&mut head)).await.unwrap();
    let mut body = vec![0; usize::from(head[1])];
    within(BOUND, "a packet's body", stream.read_exact(&mut body)).await.unwrap();
    (head[0], body)
}

#[tokio::test]
async fn a_direct_message_is_delivered_to_a_client_that_is_there_and_waits_for_its_acknowledgement() {
    let (ca, broker) = (Ca::new(), Mosquitto::start());
    let core = IotCore::start(&ca, &broker);
    let query = "confirmation=true&contentType=a%2Fb&responseTopic=r%2Fs&timeout=15&topic=gw-1%2Ft";
    let headers = "x-amz-mqtt5-correlation-data:AAEC";
    let (status, answer) = post(&ca, &core, "gw-1", query, headers, "hello").await;
    assert!(status == 404 && answer.contains("ResourceNotFoundException"), "{answer}");

    let mut gateway = subscriber(&broker, "gw-1").await;
    let acknowledging = async {
        let (kind, body) = packet(&mut gateway).await;
        assert_eq!(kind, 0x32);
        let expected =
            b"\x00\x06gw-1/t\x00\x01\x12\x03\x00\x03a/b\x08\x00\x03r/s\x09\x00\x03\x00\x01\x02hello";
        assert_eq!(body, expected);
        gateway.write_all(b"\x40\x02\x00\x01").await.unwrap();
    };
    let (posted, ()) = tokio::join!(post(&ca, &core, "gw-1", query, headers, "hello"), acknowledging);
    assert_eq!(posted.0, 200, "{}", posted.1);

    // Delivered, but not acknowledged.
    let impatient = query.replace("15", "1");
    let (posted, delivered) =
        tokio::join!(post(&ca, &core, "gw-1", &impatient, "", "hello"), packet(&mut gateway));
    assert!(posted.0 == 504 && posted.1.contains("GatewayTimeoutException"), "{}", posted.1);
    assert_eq!(delivered.0, 0x32);
    // Without confirmation nobody waits.
    assert_eq!(post(&ca, &core, "gw-1", "topic=gw-1%2Ft", "", "hello").await.0, 200);
    assert_eq!(packet(&mut gateway).await.0, 0x30);

    drop(gateway);
    wait_for(BOUND, "its end", || broker.log().iter().any(|line| line.contains("gw-1 closed"))).await;
    assert_eq!(post(&ca, &core, "gw-1", query, "", "").await.0, 404);
    let seen = core.direct_messages();
    assert_eq!(
        (seen.len(), seen[0].timeout, seen[2].timeout, seen[3].confirmation),
        (5, Some(15), Some(1), false)
    );
}

#[tokio::test]
async fn a_direct_message_that_is_not_well_formed_or_signed_is_refused_with_awss_code() {
    let (ca, broker) = (Ca::new(), Mosquitto::start());
    let core = IotCore::start(&ca, &broker);
    let large = "x".repeat(128 * 1024 + 1);
    for (client, query, headers, body, status) in [
        ("gw", "confirmation=true&timeout=0&topic=t", "", "", 400),
        ("gw", "confirmation=true&timeout=16&topic=t", "", "", 400),
        ("gw", "confirmation=true&timeout=1.5&topic=t", "", "", 400),
        ("gw", "confirmation=yes&topic=t", "", "", 400),
        ("gw", "confirmation=true", "", "", 400),
        ("gw", "topic=a%2F%23", "", "", 400),
        ("gw", "responseTopic=%2B&topic=t", "", "", 400),
        ("gw", "topic=a%2Fb%2Fc%2Fd%2Fe%2Ff%2Fg%2Fh%2Fi", "", "", 400),
        ("gw", "topic=t", "x-amz-mqtt5-correlation-data:*", "", 400),
        ("%24gw", "topic=t", "", "", 400),
        ("gw", "topic=t", "", large.as_str(), 413),
    ] {
        let (found, answer) = post(&ca, &core, client, query, headers, body).await;
        assert_eq!(found, status, "{query}: {answer}");
    }
    core.answer_direct(DirectAnswer::Refused(429));
    core.answer_direct(DirectAnswer::Delivered(500));
    core.answer_direct(DirectAnswer::Cut);
    for (status, code) in [(429, "ThrottlingException"), (500, "InternalFailureException"), (0, "")] {
        let (found, answer) = post(&ca, &core, "gw", "topic=t", "", "").await;
        assert!(found == status && answer.contains(code), "{answer}");
    }
    assert!(core.reasons().is_empty());
    core.rotate();
    let mut stream = tls(&ca, &core, "localhost").await.unwrap();
    let request =
        format!("POST /connections/gw/messages?topic=t HTTP/1.1\r\nhost:{}\r\n\r\n", core.endpoint());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within(BOUND, "the answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
    assert_eq!(core.reasons(), ["there is no header authorization"]);
}
