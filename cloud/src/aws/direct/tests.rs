//! Against a stand-in for the service, which delivers through a real mosquitto.

use std::sync::Mutex;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use nowd_link::{Ack, Connection, Event, Message, Options, Properties, Qos};
use nowd_testkit::{Ca, DirectAnswer, IotCore, Mosquitto, REGION, within};
use tokio::task::JoinSet;

use super::*;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

struct Bench {
    ca: Ca,
    broker: Mosquitto,
    core: IotCore,
}

impl Bench {
    fn new() -> Self {
        let (ca, broker) = (Ca::new(), Mosquitto::start());
        let core = IotCore::start(&ca, &broker);
        Self { ca, broker, core }
    }

    fn direct(&self) -> Direct {
        self.direct_at(&self.core.endpoint())
    }

    fn direct_at(&self, endpoint: &str) -> Direct {
        Direct::new(&self.sdk(), endpoint, Some(&self.ca.file())).unwrap()
    }

    fn sdk(&self) -> SdkConfig {
        let now = self.core.credentials();
        let credentials =
            Credentials::new(now.access_key, now.secret_key, Some(now.session_token), None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build()
    }
}

/// A client that keeps what it is sent, and acknowledges it or not.
struct Client {
    seen: Arc<Mutex<Vec<Message>>>,
    _tasks: JoinSet<()>,
}

impl Client {
    async fn start(bench: &Bench, acknowledges: bool) -> Self {
        let mut link =
            Connection::open(&Options::new("gw-1", "127.0.0.1", bench.broker.port())).await.unwrap();
        link.sender().subscribe(&["gw-1/+/+/+"], Qos::AtLeastOnce).unwrap();
        within(LONG, "the subscription", async {
            while !matches!(link.next().await.unwrap(), Event::Subscribed { .. }) {}
        })
        .await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut held = Vec::new();
            while let Ok(event) = link.next().await {
                let Event::Message(mut message) = event else { continue };
                match message.ack.take() {
                    Some(ack) if acknowledges => drop(Ack::send(ack)),
                    ack => held.push(ack),
                }
                kept.lock().unwrap().push(message);
            }
        });
        Self { seen, _tasks: tasks }
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn message() -> Publish {
    Publish { topic: "gw-1/m/cloud/id".into(), payload: b"{}".as_slice().into(), ..Publish::default() }
}

async fn deliver(direct: &Direct, left: Duration) -> Delivered {
    let target = Level::new("gw-1").unwrap();
    within(LONG, "a delivery", direct.deliver(target, message(), left)).await
}

#[tokio::test]
async fn a_message_is_taken_with_its_properties_and_the_connection_is_kept() {
    let bench = Bench::new();
    let client = Client::start(&bench, true).await;
    let direct = bench.direct();
    let properties = Properties {
        message_expiry: None,
        response_topic: Some("cloud/id/gw-1/m/ack".into()),
        correlation_data: Some(vec![0, 1, 254, 255].into()),
        content_type: Some("application/json".into()),
    };
    let target = Level::new("gw-1").unwrap();
    let message = Publish { properties: properties.clone(), ..message() };
    let delivered = direct.deliver(target, message, Duration::from_millis(3_001));
    assert_eq!(within(LONG, "a delivery", delivered).await, Delivered::Taken);
    for _ in 0..5 {
        assert_eq!(deliver(&direct, LONG).await, Delivered::Taken);
    }
    let seen = client.seen.lock().unwrap();
    assert_eq!(
        (seen[0].topic.as_str(), &seen[0].payload[..], seen[0].qos),
        ("gw-1/m/cloud/id", &b"{}"[..], Qos::AtLeastOnce)
    );
    assert_eq!(seen[0].properties, properties);
    assert_eq!(seen.len(), 6);
    let asked = bench.core.direct_messages();
    assert_eq!((asked[0].confirmation, asked[0].timeout, asked[1].timeout), (true, Some(4), Some(15)));
    assert_eq!(bench.core.handshakes(), 1);
}

#[tokio::test]
async fn who_is_not_there_and_who_does_not_acknowledge_are_told_apart() {
    let bench = Bench::new();
    let direct = bench.direct();
    assert_eq!(deliver(&direct, LONG).await, Delivered::NotThere);
    let client = Client::start(&bench, false).await;
    // More than the second that the service is asked to wait, so that it answers first.
    let target = Level::new("gw-1").unwrap();
    let sent = direct.client.send_direct_message().client_id("gw-1").topic(message().topic);
    let answer = sent.confirmation(true).timeout(1).send().await;
    let unacknowledged = judge(&answer.unwrap_err(), true, &target);
    assert!(
        matches!(&unacknowledged, Delivered::Unknown(why) if why.contains("no acknowledgement")),
        "{unacknowledged:?}"
    );
    assert_eq!(client.seen(), 1);
}

/// The same kind, for a reason that holds `why`.
fn is_like(delivered: &Delivered, expected: &Delivered, why: &str) -> bool {
    match (delivered, expected) {
        (Delivered::Refused(reason), Delivered::Refused(_))
        | (Delivered::Unknown(reason), Delivered::Unknown(_)) => reason.contains(why),
        _ => delivered == expected,
    }
}

#[tokio::test]
async fn each_answer_of_the_service_means_what_is_known_after_it() {
    let bench = Bench::new();
    let client = Client::start(&bench, true).await;
    let direct = bench.direct();
    let refused = Delivered::Refused(String::new());
    let unknown = Delivered::Unknown(String::new());
    let cases = [
        (DirectAnswer::Refused(400), &refused, "400 InvalidRequestException"),
        (DirectAnswer::Refused(401), &refused, "iot:SendDirectMessage on the client gw-1"),
        (DirectAnswer::Refused(403), &refused, "iot:SendDirectMessage on the client gw-1"),
        (DirectAnswer::Refused(404), &Delivered::NotThere, ""),
        (DirectAnswer::Refused(405), &refused, "405"),
        (DirectAnswer::Refused(413), &refused, "413"),
        (DirectAnswer::Refused(429), &Delivered::Throttled, ""),
        (DirectAnswer::Delivered(408), &unknown, "408"),
        (DirectAnswer::Delivered(500), &unknown, "500 InternalFailureException"),
        (DirectAnswer::Delivered(503), &unknown, "503"),
        (DirectAnswer::Delivered(504), &unknown, "no acknowledgement"),
        (DirectAnswer::Cut, &unknown, "broke"),
        (DirectAnswer::Delivered(200), &Delivered::Taken, ""),
    ];
    for (programmed, expected, why) in cases {
        bench.core.answer_direct(programmed);
        let before = client.seen();
        let delivered = deliver(&direct, LONG).await;
        assert!(is_like(&delivered, expected, why), "{programmed:?}: {delivered:?}");
        if matches!(programmed, DirectAnswer::Refused(_)) {
            assert_eq!(client.seen(), before, "{programmed:?}");
        }
    }
    // Each was asked once: nothing was tried again.
    assert_eq!(bench.core.direct_messages().len(), 13);
    // An answer that no release of the model knows.
    let target = Level::new("gw-1").unwrap();
    let delivered = answer(404, Some("UnknownOperationException"), &target);
    assert!(is_like(&delivered, &refused, "another region"), "{delivered:?}");
}

#[tokio::test]
async fn credentials_that_are_no_longer_valid_are_refused_and_never_shown() {
    let bench = Bench::new();
    let direct = bench.direct();
    let old = bench.core.credentials();
    bench.core.rotate();
    let delivered = deliver(&direct, LONG).await;
    let shown = format!("{delivered:?} {direct:?}");
    assert!(matches!(&delivered, Delivered::Refused(why) if why.contains("credentials")), "{shown}");
    assert!(!shown.contains(&old.secret_key) && !shown.contains(&old.session_token), "{shown}");
    let nobody =
        SdkConfig::builder().behavior_version(BehaviorVersion::latest()).region(Region::new(REGION)).build();
    let direct = Direct::new(&nobody, &bench.core.endpoint(), Some(&bench.ca.file())).unwrap();
    let delivered = deliver(&direct, LONG).await;
    assert!(matches!(&delivered, Delivered::Refused(why) if why.contains("signed")), "{delivered:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up_at_the_deadline() {
    let bench = Bench::new();
    let client = Client::start(&bench, true).await;
    let direct = bench.direct();
    // The connection is there when it matters.
    assert_eq!(deliver(&direct, LONG).await, Delivered::Taken);
    bench.core.answer_direct(DirectAnswer::Silent);
    let delivered = deliver(&direct, Duration::from_secs(2)).await;
    assert_eq!(delivered, Delivered::Unknown("AWS IoT Core did not answer in time".into()));
    assert_eq!(client.seen(), 2);
    assert_eq!(deliver(&direct, LONG).await, Delivered::Taken);
}

/// Whether the kernel knows of a connection to this port that neither side has ended (`proc(5)`, `/proc/net/tcp`).
fn is_established_to(port: u16) -> bool {
    const ESTABLISHED: &str = "01";
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|file| {
        std::fs::read_to_string(file).unwrap_or_default().lines().any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next().is_some_and(|remote| remote.ends_with(&format!(":{port:04X}")))
                && fields.next() == Some(ESTABLISHED)
        })
    })
}

/// As where a process is stood still, its connections are closed meanwhile, and it is asked as soon as it goes on.
#[tokio::test]
async fn a_connection_that_was_closed_while_nobody_looked_loses_no_message() {
    let bench = Bench::new();
    let client = Client::start(&bench, true).await;
    let direct = bench.direct();
    let port: u16 = bench.core.endpoint().rsplit_once(':').unwrap().1.parse().unwrap();
    for round in 0..20 {
        assert_eq!(deliver(&direct, LONG).await, Delivered::Taken, "round {round}");
        bench.core.close_all();
        // Blocks the runtime's only thread on purpose: it must learn nothing of the end of the connection. The kernel must have:
        // on a busy machine the word takes a moment, even to the same machine.
        while bench.core.connected() > 0 || is_established_to(port) {
            std::thread::yield_now();
        }
        assert_eq!(deliver(&direct, LONG).await, Delivered::Taken, "round {round}, after the end");
    }
    assert_eq!(client.seen(), 40);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_has_surely_taken_nothing() {
    let bench = Bench::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for endpoint in [
        format!("localhost:{closed}"),
        // No TLS is spoken there.
        format!("localhost:{}", bench.broker.port()),
        // Nothing is said at all.
        format!("localhost:{}", silent.local_addr().unwrap().port()),
        // Not a name of its certificate.
        format!("127.0.0.2:{}", bench.core.port()),
    ] {
        let delivered = deliver(&bench.direct_at(&endpoint), LONG).await;
        assert!(
            matches!(&delivered, Delivered::Refused(why) if why.contains("reached")),
            "{endpoint}: {delivered:?}"
        );
    }
    let stranger = Direct::new(&bench.sdk(), &bench.core.endpoint(), Some(&Ca::new().file())).unwrap();
    let delivered = deliver(&stranger, LONG).await;
    assert!(matches!(&delivered, Delivered::Refused(why) if why.contains("certificate")), "{delivered:?}");
}

#[test]
fn what_cannot_be_set_up_is_said() {
    let bench = Bench::new();
    for endpoint in ["", "https://a", "a/b", "a b", "me@a", "a?b", "mqtt://a:1"] {
        let error = Direct::new(&bench.sdk(), endpoint, None).unwrap_err();
        assert!(matches!(error, DirectError::Endpoint { .. }), "{endpoint}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (missing, empty, torn) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&torn, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for (file, start) in [(missing, "the authorities in"), (empty, ""), (torn, "")] {
        let error = Direct::new(&bench.sdk(), "localhost", Some(&file)).unwrap_err().to_string();
        assert!(error.starts_with(start) && error.contains(&file.display().to_string()), "{error}");
    }
}

#[test]
fn the_service_is_asked_to_wait_for_the_whole_seconds_that_are_left() {
    for (millis, seconds) in
        [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (14_500, 15), (15_001, 15), (u64::MAX, 15)]
    {
        assert_eq!(wait(Duration::from_millis(millis)), seconds, "{millis}");
    }
}
