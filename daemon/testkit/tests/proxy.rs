//! The proxy, before a server that sends everything back.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use nowd_testkit::{Proxy, Way, wait_for, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const BOUND: Duration = Duration::from_secs(20);

/// A proxy before a server that sends everything back, and a connection through it.
async fn echo(tasks: &mut JoinSet<()>) -> (Proxy, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    tasks.spawn(async move {
        let mut lines = JoinSet::new();
        loop {
            let (mut line, _) = server.accept().await.unwrap();
            lines.spawn(async move {
                let (mut from, mut to) = line.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    let proxy = Proxy::start(port).await;
    let mut line = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(say(&mut line, b"hello").await, b"hello");
    (proxy, line)
}

async fn say(line: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    line.write_all(bytes).await.unwrap();
    let mut heard = vec![0; bytes.len()];
    within(BOUND, "the echo", line.read_exact(&mut heard)).await.unwrap();
    heard
}

/// Nothing comes for a while; that it would come later is another test's business.
async fn is_silent(line: &mut TcpStream) -> bool {
    tokio::select! {
        _ = line.read_u8() => false,
        () = tokio::time::sleep(Duration::from_millis(50)) => true,
    }
}

#[tokio::test]
async fn a_proxy_holds_either_way_and_delivers_all_in_order() {
    let mut tasks = JoinSet::new();
    let (proxy, mut line) = echo(&mut tasks).await;
    let large: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    assert_eq!(say(&mut line, &large).await, large);
    for way in [Way::Up, Way::Down, Way::Both] {
        proxy.hold(way);
        for byte in 0..100_u8 {
            line.write_all(&[byte]).await.unwrap();
        }
        assert!(is_silent(&mut line).await, "{way:?}");
        assert_eq!(proxy.connections(), 1);
        proxy.pass();
        let mut heard = [0; 100];
        within(BOUND, "what was held", line.read_exact(&mut heard)).await.unwrap();
        assert!(heard.iter().copied().eq(0..100), "{way:?}: {heard:?}");
    }
}

#[tokio::test]
async fn a_proxy_is_slow_as_told() {
    let mut tasks = JoinSet::new();
    let (proxy, mut line) = echo(&mut tasks).await;
    let begun = tokio::time::Instant::now();
    proxy.delay(Way::Both, Duration::from_millis(100));
    say(&mut line, b"delayed").await;
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    let begun = tokio::time::Instant::now();
    proxy.pass();
    proxy.throttle(Way::Up, 1_000);
    say(&mut line, &[7; 200]).await;
    assert!(begun.elapsed() >= Duration::from_millis(180), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_proxy_cuts_and_refuses_and_passes_again() {
    let mut tasks = JoinSet::new();
    let (proxy, mut line) = echo(&mut tasks).await;
    let ends = |ended: std::io::Result<u8>| assert!(ended.is_err(), "{ended:?}");
    // What was held of a connection that is cut never comes.
    proxy.hold(Way::Up);
    line.write_all(b"lost").await.unwrap();
    proxy.cut();
    ends(within(BOUND, "the cut", line.read_u8()).await);
    proxy.pass();
    let mut line = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(say(&mut line, b"again").await, b"again");
    proxy.refuse();
    ends(within(BOUND, "the cut", line.read_u8()).await);
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    ends(within(BOUND, "the refusal", refused.read_u8()).await);
    wait_for(BOUND, "no connection", || proxy.connections() == 0).await;
    proxy.pass();
    let mut line = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(say(&mut line, b"again").await, b"again");
}

#[tokio::test]
async fn a_proxy_abandons_what_there_is_and_carries_what_is_new() {
    let mut tasks = JoinSet::new();
    let (proxy, mut old) = echo(&mut tasks).await;
    say(&mut old, b"before").await;
    proxy.abandon();
    old.write_all(b"lost").await.unwrap();
    let mut new = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    say(&mut new, b"after").await;
    // By now it would have come back on the old one, which has not ended either.
    let mut buffer = [0; 4];
    let error = old.try_read(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    proxy.cut();
    assert!(old.read_u8().await.is_err());
}
