//! A process that is stood still at an awkward moment: its only thread sleeps, as after SIGSTOP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nowd_cloud::{CallRequest, Config, Dial, Dialling, Invoker};
use nowd_link::{Connection, Options};
use nowd_testkit::{Mosquitto, Proxy, within};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::gateway::{Gateway, PATIENCE, level, ok, raw};

/// Longer than what counts as a freeze.
const FREEZE: Duration = Duration::from_millis(5_200);

/// Its first connection is open when the process is stood still, and forgotten on the way meanwhile.
#[derive(Debug)]
struct FrozenThen {
    line: Arc<Proxy>,
    first: AtomicBool,
    dialled: Arc<AtomicUsize>,
}

impl Dial for FrozenThen {
    fn dial(&self, options: Options) -> Dialling {
        self.dialled.fetch_add(1, Ordering::SeqCst);
        let (first, line) = (self.first.swap(false, Ordering::SeqCst), Arc::clone(&self.line));
        Box::pin(async move {
            let connection = Connection::open(&options).await?;
            if first {
                line.abandon();
                std::thread::sleep(FREEZE);
            }
            Ok(connection)
        })
    }
}

#[tokio::test]
async fn a_connection_that_was_just_open_before_a_freeze_is_not_used_after_it() {
    let broker = Mosquitto::start();
    let line = Arc::new(Proxy::start(broker.port()).await);
    let _gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let dialled = Arc::new(AtomicUsize::new(0));
    let link = Options::new("", "127.0.0.1", line.port());
    let first = AtomicBool::new(true);
    let dial = Arc::new(FrozenThen { line, first, dialled: Arc::clone(&dialled) });
    let config = Config { dial, freezes: true, ..Config::new(link, level("cloud")) };
    let (invoker, background) = Invoker::new(config).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(background.run(CancellationToken::new()));
    while dialled.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let call = CallRequest::new(level("g"), level("m"), raw("1"), FREEZE + Duration::from_secs(4));
    let answer = within(PATIENCE, "an answer", invoker.invoke(call)).await;
    assert_eq!((answer.status.as_str(), dialled.load(Ordering::SeqCst)), ("ok", 2), "{:?}", answer.error);
}
