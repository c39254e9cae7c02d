//! One connection to the nucleus: what it says is heard at once, and what it is asked runs beside.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nowd_greengrass::{Client, Connection, Event, IpcError, State, Verdict as Said};
use nowd_plugin::BootInstant;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::super::Deployed;
use super::super::judge::{Verdict, judge_beside};
use super::About;
use super::deferral::Deferral;
use super::gather::{Gathered, Subscribed, component, gather};

/// A deployment tells each key that it changes: asked when none has come for so long ...
const QUIET: Duration = Duration::from_secs(1);
/// ... and so long after the first at the latest.
const LATEST: Duration = Duration::from_secs(5);
/// Asked without having been told, for a nucleus that tells nothing.
const REGULAR: Duration = Duration::from_secs(300);
/// How often what was read while a deployment was being written, and may be of two moments, is not told.
const MOST_PASSED_OVER: u32 = 3;
/// Asked again where something could not be had, or a component of maps is not there: nobody tells when it comes.
const AGAIN: Duration = Duration::from_secs(30);
/// How long a judgement may take, and what is asked for it, of the 20 s after which the nucleus lets the deployment fail.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);
const ASKED_WITHIN: Duration = Duration::from_secs(3);
/// How many questions run beside one another, but for those before a deployment, of which a nucleus asks one at a time ...
const MOST: usize = 16;
/// ... and how many with them.
const MOST_IN_ALL: usize = 32;

/// When everything is asked for.
struct Schedule {
    at: BootInstant,
    /// The first change that it has to wait for.
    since: Option<BootInstant>,
}

impl Schedule {
    fn changed(&mut self, now: BootInstant) {
        let since = *self.since.get_or_insert(now);
        self.at = now.saturating_add(QUIET).min(since.saturating_add(LATEST));
    }
}

/// What has ended beside.
enum Done {
    Gathered(Subscribed, Option<Gathered>),
    Answered,
}

/// Ends with the connection.
pub(super) async fn run(
    mut connection: Connection,
    about: &mut About,
    news: &watch::Sender<Option<Arc<Deployed>>>,
) -> IpcError {
    let client = connection.client();
    let mut beside: JoinSet<Done> = JoinSet::new();
    let mut schedule = Schedule { at: BootInstant::now(), since: None };
    let mut subscribed = Some(Subscribed::default());
    let mut deferral = Deferral::default();
    let mut told = false;
    let mut passed_over = 0;
    loop {
        let running = *about.running.borrow_and_update();
        if running && !std::mem::replace(&mut told, true) {
            beside.spawn(say_running(client.clone()));
        }
        told &= running;
        let wait = schedule.at.saturating_since(BootInstant::now());
        tokio::select! {
            event = connection.next() => match event {
                Ok(event) => {
                    let before = known(about, news);
                    if let Some(ended) = heard(event, &client, about, before, &mut schedule, &mut deferral, &mut beside) {
                        return ended;
                    }
                }
                Err(e) => return e,
            },
            Some(done) = beside.join_next() => match done {
                Ok(Done::Gathered(now, gathered)) => {
                    subscribed = Some(now);
                    if schedule.since.is_none() {
                        let whole = gathered.as_ref().is_some_and(|gathered| gathered.whole);
                        let pause = if whole { REGULAR } else { AGAIN };
                        schedule.at = BootInstant::now().saturating_add(pause);
                        passed_over = 0;
                    } else if passed_over < MOST_PASSED_OVER {
                        // What has changed meanwhile is asked for soon, with everything else.
                        passed_over += 1;
                        continue;
                    }
                    if let Some(gathered) = gathered {
                        tell(news, gathered.deployed);
                    }
                }
                Ok(Done::Answered) => {}
                // A bug there: everything is begun anew.
                Err(_) => return IpcError::Closed,
            },
            () = tokio::time::sleep(wait), if subscribed.is_some() => {
                schedule.since = None;
                let (client, before) = (client.clone(), known(about, news));
                let (of, nucleus) = (subscribed.take().unwrap_or_default(), about.nucleus.clone());
                let standing = about.standing.clone();
                beside.spawn(async move {
                    let before = before.map(|before| (*before).clone());
                    let (of, deployed) = gather(client, of, before, nucleus, &standing).await;
                    Done::Gathered(of, deployed)
                });
            }
            changed = about.running.changed() => if changed.is_err() {
                // The process ends.
                return IpcError::Closed;
            },
        }
    }
}

/// Never waits. An error ends the connection.
fn heard(
    event: Event,
    client: &Client,
    about: &About,
    before: Option<Arc<Deployed>>,
    schedule: &mut Schedule,
    deferral: &mut Deferral,
    beside: &mut JoinSet<Done>,
) -> Option<IpcError> {
    // A deployment fails without an answer, and asks once.
    let most = if matches!(event, Event::Validate { .. }) { MOST_IN_ALL } else { MOST };
    if beside.len() >= most {
        debug!("the nucleus asks more than is answered");
        return None;
    }
    match event {
        Event::ConfigurationChanged { .. } => schedule.changed(BootInstant::now()),
        Event::Validate { deployment, configuration, .. } => {
            let (client, about) = (client.clone(), about.clone());
            beside.spawn(validate(client, about, before, deployment, configuration));
        }
        Event::BeforeUpdate { deployment, .. } => {
            let calls = about.calls.load(Ordering::Relaxed);
            let wait = deferral.decide(BootInstant::now(), calls);
            if !wait.is_zero() {
                info!("a deployment waits for {calls} calls");
            }
            beside.spawn(defer(client.clone(), deployment, wait, calls));
        }
        Event::AfterUpdate { .. } => {
            deferral.over();
            schedule.changed(BootInstant::now());
        }
        // Whatever it was, the next connection subscribes to it again.
        Event::Ended { .. } => return Some(IpcError::Closed),
        Event::Message { .. } => {}
        Event::Unreadable { what, .. } => {
            debug!("what the nucleus told cannot be read: {what}");
            schedule.changed(BootInstant::now());
        }
    }
    None
}

/// As far as it is known now.
fn known(about: &About, news: &watch::Sender<Option<Arc<Deployed>>>) -> Option<Arc<Deployed>> {
    news.borrow().clone().or_else(|| about.accepted.clone())
}

fn tell(news: &watch::Sender<Option<Arc<Deployed>>>, deployed: Deployed) {
    news.send_if_modified(|known| {
        if known.as_deref() == Some(&deployed) {
            return false;
        }
        *known = Some(Arc::new(deployed));
        true
    });
}

async fn say_running(client: Client) -> Done {
    if let Err(e) = client.update_state(State::Running).await {
        debug!("the nucleus is not told that the gateway runs: {e}");
    }
    Done::Answered
}

async fn defer(client: Client, deployment: String, wait: Duration, calls: usize) -> Done {
    let words = format!("{calls} calls run or wait");
    if let Err(e) = client.defer_update(&deployment, wait, &words).await {
        debug!("the deployment cannot be asked to wait: {e}");
    }
    Done::Answered
}

/// Judges a configuration before a deployment brings it, and always answers: the deployment fails without.
async fn validate(
    client: Client,
    about: About,
    before: Option<Arc<Deployed>>,
    deployment: String,
    configuration: Value,
) -> Done {
    let (standing, own) = (about.standing.clone(), configuration.as_object().cloned().unwrap_or_default());
    // As it is known now: its maps may be others when it is there.
    let judged_one = before.as_deref().cloned().unwrap_or_default().with_component(own);
    let why = judged(&client, about, before, configuration).await;
    if let Some(why) = &why {
        let digest = standing.refused(&judged_one, why);
        warn!(
            see = "deployment-refused",
            digest,
            "a deployment is told that its configuration cannot be used, and fails: {}",
            // The lines of the file are for those who deploy.
            why.lines().next().unwrap_or_default()
        );
    } else {
        standing.nothing_refused();
        info!("a deployment is told that its configuration can be used");
    }
    let said = why.as_deref().map_or(Said::Accepted, Said::Rejected);
    if let Err(e) = client.report_validity(&deployment, said).await {
        debug!("the deployment cannot be told: {e}");
    }
    Done::Answered
}

/// Why it cannot be used.
async fn judged(
    client: &Client,
    about: About,
    before: Option<Arc<Deployed>>,
    configuration: Value,
) -> Option<String> {
    let Value::Object(own) = configuration else {
        return Some("the component configuration is no object".into());
    };
    let mut deployed = before.map(|before| (*before).clone()).unwrap_or_default();
    deployed.nucleus = super::super::document::Nucleus {
        endpoint: deployed.nucleus.endpoint.take(),
        ..about.nucleus.clone()
    };
    deployed = deployed.with_component(own);
    let client = client.within(ASKED_WITHIN);
    let asked = async {
        for name in deployed.missing() {
            if let Ok(Some(configuration)) = component(&client, &name).await {
                deployed.add_component(&name, configuration);
            }
        }
    };
    tokio::select! {
        () = asked => {}
        () = tokio::time::sleep(ASKED_WITHIN) => {}
    }
    // They may come with the same deployment.
    drop(deployed.pass_over_missing());
    let source = about.source.with(Arc::new(deployed));
    let (extra, runs) = (about.extra.clone(), *about.running.borrow());
    let judging = tokio::task::spawn_blocking(move || judge_beside(&source, &extra));
    let verdict = tokio::select! {
        verdict = judging => verdict.ok(),
        () = tokio::time::sleep(JUDGED_WITHIN) => None,
    };
    match verdict {
        Some(Verdict::Ready(_)) => None,
        // A gateway that waits loses nothing by it, and what is missing may come.
        Some(Verdict::Missing { .. }) if !runs => None,
        Some(verdict) => verdict.why(),
        None => Some("it cannot be judged in time".into()),
    }
}
