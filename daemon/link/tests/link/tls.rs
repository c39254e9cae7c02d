//! TLS: keys and certificates of all kinds, and what is said when they do not do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nowd_link::{Connection, DatePolicy, LinkError, Options, Tls, TlsError, TlsFiles};
use nowd_testkit::{Ca, Identity, KeyForm, Listener, Mosquitto};

use crate::common::{options, subscribe};

fn broker(server: Identity) -> Mosquitto {
    Mosquitto::with(&[Listener { tls: Some(server), ..Listener::default() }])
}

fn files(identity: Identity) -> TlsFiles {
    TlsFiles { ca: Some(identity.ca), certificate: identity.certificate, key: identity.key }
}

fn with_tls(broker: &Mosquitto, tls: Tls) -> Options {
    Options { tls: Some(Arc::new(tls)), ..options("gate-1", broker.port()) }
}

#[tokio::test]
async fn certificates_of_all_kinds_are_accepted() {
    let ca = Ca::new();
    let broker = broker(ca.server());
    for form in [KeyForm::Ec, KeyForm::EcSec1, KeyForm::Rsa, KeyForm::RsaPkcs1] {
        let tls = Tls::load(&files(ca.client_with("gate-1", form)), DatePolicy::Judge).unwrap();
        let mut by_address = with_tls(&broker, tls);
        for host in ["127.0.0.1", "localhost"] {
            by_address.host = host.to_owned();
            let connection = Connection::open(&by_address).await;
            subscribe(&mut connection.unwrap_or_else(|error| panic!("{form:?}, {host}: {error:?}")), "a")
                .await;
        }
    }
}

#[tokio::test]
async fn strangers_on_either_side_are_turned_away() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let broker = broker(ca.server());

    let client = ca.client("gate-1");
    let distrusting = Identity { ca: stranger.file(), ..client };
    let tls = Tls::load(&files(distrusting), DatePolicy::Judge).unwrap();
    let error = Connection::open(&with_tls(&broker, tls)).await.unwrap_err();
    assert!(
        error.needs_mending() && error.to_string().contains("authority that is not trusted"),
        "{error:?}"
    );

    let unknown = Identity { ca: ca.file(), ..stranger.client("gate-1") };
    for (name, tls) in [
        ("unknown", Tls::load(&files(unknown), DatePolicy::Judge).unwrap()),
        ("none", Tls::anonymous(Some(&ca.file()), DatePolicy::Judge).unwrap()),
    ] {
        let error = Connection::open(&with_tls(&broker, tls)).await.unwrap_err();
        assert!(matches!(error, LinkError::CertificateRejected { .. }), "{name}: {error:?}");
        assert!(error.needs_mending());
    }
}

#[tokio::test]
async fn dates_are_judged_only_while_the_clock_is_set() {
    let ca = Ca::new();
    let client = files(ca.client("gate-1"));
    for (server, said) in [(ca.expired_server(), "has expired"), (ca.future_server(), "is not valid yet")] {
        let broker = broker(server);
        let load = |dates| Tls::load(&client, dates).unwrap();
        for judging in [DatePolicy::Judge, DatePolicy::WhileClockIsSet(Arc::new(|| true))] {
            let error = Connection::open(&with_tls(&broker, load(judging))).await.unwrap_err();
            assert!(error.to_string().contains(said), "{error:?}");
        }
        let lenient = || DatePolicy::WhileClockIsSet(Arc::new(|| false));
        Connection::open(&with_tls(&broker, load(lenient()))).await.unwrap();

        // Everything else is still verified.
        let mut other_name = with_tls(&broker, load(lenient()));
        other_name.host = "127.0.0.2".to_owned();
        let error = Connection::open(&other_name).await.unwrap_err();
        assert!(matches!(error, LinkError::Dial { .. } | LinkError::Tls { .. }), "{error:?}");
        let distrusting = TlsFiles { ca: Some(Ca::new().file()), ..client.clone() };
        let error = Tls::load(&distrusting, lenient());
        assert!(matches!(error, Err(TlsError::Missing { .. })), "the other authority's folder is gone");
        let stranger = Ca::new();
        let distrusting = TlsFiles { ca: Some(stranger.file()), ..client.clone() };
        let tls = Tls::load(&distrusting, lenient()).unwrap();
        let error = Connection::open(&with_tls(&broker, tls)).await.unwrap_err();
        assert!(error.to_string().contains("authority that is not trusted"), "{error:?}");
    }
}

#[tokio::test]
async fn plain_and_tls_do_not_mix_unseen() {
    let ca = Ca::new();
    let tls_broker = broker(ca.server());
    let error = Connection::open(&options("gate-1", tls_broker.port())).await.unwrap_err();
    assert!(
        matches!(error, LinkError::ClosedAtConnect | LinkError::Protocol { .. } | LinkError::Lost { .. }),
        "{error:?}"
    );

    let plain_broker = Mosquitto::start();
    let tls = Tls::load(&files(ca.client("gate-1")), DatePolicy::Judge).unwrap();
    let error = Connection::open(&with_tls(&plain_broker, tls)).await.unwrap_err();
    assert!(matches!(error, LinkError::Tls { .. } | LinkError::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn plain_tcp_leaves_this_machine_only_where_allowed() {
    // TEST-NET-1: nobody is there, and nothing is sent unless plain TCP is allowed.
    let far = Options { host: "192.0.2.1".to_owned(), ..options("gate-1", 1883) };
    let error = Connection::open(&far).await.unwrap_err();
    assert!(matches!(error, LinkError::PlainNotLoopback { .. }) && error.needs_mending(), "{error:?}");
    let broker = Mosquitto::start();
    let near = Options { host: "localhost".to_owned(), ..options("gate-1", broker.port()) };
    Connection::open(&near).await.unwrap();
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let ca = Ca::new();
    let good = files(ca.client("gate-1"));
    let folder = good.key.parent().unwrap().to_owned();
    let write = |name: &str, text: &str| -> PathBuf {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let empty = write("empty.pem", "");
    let broken = write("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let broken_key = write("broken.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let missing = folder.join("missing.pem");
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let other_key = files(ca.client("gate-2")).key;
    let certificate = |file: &Path| TlsFiles { certificate: file.to_owned(), ..good.clone() };
    let key = |file: &Path| TlsFiles { key: file.to_owned(), ..good.clone() };
    let authority = |file: &Path| TlsFiles { ca: Some(file.to_owned()), ..good.clone() };
    for (files, named, said) in [
        (certificate(&missing), &missing, "no such file"),
        (certificate(&empty), &empty, "no certificate"),
        (certificate(&good.key), &good.key, "no certificate"),
        (certificate(&broken), &broken, "no valid PEM file"),
        (certificate(&folder), &folder, "cannot be read"),
        (certificate(&pipe), &pipe, "cannot be read"),
        (key(&missing), &missing, "no such file"),
        (key(&empty), &empty, "no private key"),
        (key(&good.certificate), &good.certificate, "no private key"),
        (key(&broken_key), &broken_key, "cannot be used"),
        (key(&other_key), &other_key, "does not fit the certificate"),
        (authority(&missing), &missing, "no such file"),
        (authority(&empty), &empty, "no certificate"),
    ] {
        let error = Tls::load(&files, DatePolicy::Judge).unwrap_err().to_string();
        assert!(error.starts_with(&named.display().to_string()) && error.contains(said), "{said}: {error}");
    }
    Tls::load(&good, DatePolicy::Judge).unwrap();
}

#[test]
fn what_a_certificate_says_of_itself() {
    let ca = Ca::new();
    for form in [KeyForm::Ec, KeyForm::Rsa] {
        let tls = Tls::load(&files(ca.client_with("gate-1", form)), DatePolicy::Judge).unwrap();
        let facts = tls.certificate().unwrap();
        assert_eq!(facts.subject.as_deref(), Some("gate-1"));
        // What rcgen writes unless it is told otherwise: 1975-01-01 and 4096-01-01.
        assert_eq!((facts.not_before, facts.not_after), (157_766_400, 67_090_118_400));
    }
    let tls = Tls::load(&files(ca.client_valid("gate-1", 1_700_000_000, 2_524_607_999)), DatePolicy::Judge)
        .unwrap();
    let facts = tls.certificate().unwrap();
    assert_eq!((facts.not_before, facts.not_after), (1_700_000_000, 2_524_607_999));
    assert!(Tls::anonymous(Some(&ca.file()), DatePolicy::Judge).unwrap().certificate().is_none());
}

/// What `openssl x509 -req` makes without an `-extfile`.
const OF_VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGTCBvwIUXT9vRYuSs+hbOCsnHm4wOQKGLhEwCgYIKoZIzj0EAwIwDzENMAsG
A1UEAwwEZ3ctMTAeFw0yNjExMjIxOTQyNDZaFw0zNjExMTkxOTQyNDZaMA8xDTAL
BgNVBAMMBGd3LTEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQpafLuHq7l1nj7
TZEyUJjoFs86Ct1MFyqf7/zrAAWoOpeZsIb2u4i6Dwo8i0O1qS/Vz1pjTb2OmCBp
t0pswrOeMAoGCCqGSM49BAMCA0kAMEYCIQDgWNZrgRgCzDqhH85IIVe0VS++ohja
lNqrm31kqgyj3gIhANytjdrB/m0UwvsYG5fBErLQi2c3hXOAB39AtN9NubmR
-----END CERTIFICATE-----
";

#[test]
fn a_certificate_of_version_1_is_told_in_words() {
    let ca = Ca::new();
    let mut identity = ca.client("gate-1");
    identity.certificate = identity.key.with_file_name("old.pem");
    fs::write(&identity.certificate, OF_VERSION_1).unwrap();
    let error = Tls::load(&files(identity), DatePolicy::Judge).unwrap_err().to_string();
    assert!(
        error.contains(
            "old.pem: a certificate in the file cannot be used: it is an X.509 certificate of version 1"
        ),
        "{error}"
    );
}
