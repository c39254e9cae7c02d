//! Keeps in touch with the nucleus: gathers what was deployed, says how the gateway is, and answers before deployments.
//!
//! On a thread of its own, for ever, with pauses that grow. Nobody waits for it: whatever the nucleus refuses, breaks, delays or
//! does not know is done without.

mod deferral;
mod gather;
mod session;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use nowd_greengrass::{Connection, Environment, Options};
use nowd_link::Backoff;
use nowd_plugin::{BootInstant, Plugin};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tracing::{info, warn};

pub(super) use gather::whole;

use super::Deployed;
use super::document::Nucleus;
use super::standing::Standing;
use crate::config::ConfigSource;

/// A connection that lasted so long was a good one.
const LASTED: Duration = Duration::from_secs(10);
/// How long the nucleus may take for an answer, and for accepting a connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the keeper knows of the process that it keeps.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// Everything but the deployment.
    pub(super) source: ConfigSource,
    /// Plugins compiled in, for judging.
    pub(super) extra: Vec<Arc<dyn Plugin>>,
    /// How many calls run or wait.
    pub(super) calls: Arc<AtomicUsize>,
    /// Whether a gateway runs.
    pub(super) running: watch::Receiver<bool>,
    /// Where it is told how things are with the nucleus.
    pub(super) standing: Standing,
    /// What the environment says of the core.
    pub(super) nucleus: Nucleus,
    /// What was accepted by an earlier process: as it was known before, until the nucleus has said everything once.
    pub(super) accepted: Option<Arc<Deployed>>,
}

/// Begins, on a thread of its own that ends with the process. What was deployed is seen where it says, each time that it is
/// another; nothing where the machine gives no thread.
pub(super) fn start(environment: &Environment, about: About) -> watch::Receiver<Option<Arc<Deployed>>> {
    let (news, heard) = watch::channel(None);
    let mut options = Options::from(environment);
    options.open_timeout = ANSWER_WITHIN;
    options.answer_timeout = ANSWER_WITHIN;
    let thread = move || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(keep(&options, about, &news)),
        Err(e) => lost(&format!("no runtime can be made: {e}")),
    };
    if let Err(e) = std::thread::Builder::new().name("nowd-nucleus".into()).spawn(thread) {
        lost(&format!("no thread can be started: {e}"));
    }
    heard
}

/// Until nobody hears it any more.
async fn keep(options: &Options, mut about: About, news: &watch::Sender<Option<Arc<Deployed>>>) {
    let mut backoff = Backoff::new();
    let mut told = false;
    loop {
        let begun = BootInstant::now();
        let why = match Connection::open(options).await {
            Ok(connection) => {
                info!("connected to the nucleus of Greengrass");
                about.standing.connected();
                tokio::select! {
                    why = session::run(connection, &mut about, news) => chain(&why),
                    () = news.closed() => return,
                }
            }
            Err(e) => chain(&e),
        };
        about.standing.lost(&why);
        if BootInstant::now().saturating_since(begun) > LASTED {
            backoff.reset();
            told = false;
        }
        // Each loss of a good connection once, and that there never was one, once.
        if !std::mem::replace(&mut told, true) {
            lost(&why);
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_delay()) => {}
            () = news.closed() => return,
        }
    }
}

fn lost(why: &str) {
    warn!(
        see = "nucleus-lost",
        "the nucleus of Greengrass cannot be asked, and the gateway goes on with what it knows: {why}"
    );
}

/// An error and its causes, on one line.
fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
