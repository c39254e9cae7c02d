//! The process of the component: a gateway while one can run, and otherwise somebody who says what is missing.
//!
//! It ends when it is told to, and at most once between two configurations that are right because one is wrong. Other
//! configurations are taken by the gateway that runs, or by one that is started anew in this process; each has an incarnation of
//! its own, so that what was sent to the one before is refused.

mod wait;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nowd_greengrass::Environment;
use nowd_plugin::{CancellationToken, Plugin};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::choice::{Choice, Trying, answered, choose, is_news};
use super::document::{Deployed, Nucleus};
use super::judge::{Verdict, judge_beside};
use super::signals::{Signal, Signals};
use super::standing::Standing;
use super::{keeper, kept};
use crate::config::{ConfigSource, ProvisioningConfig};
use crate::gateway::{Candidate, Gateway, Guidance, StartError, Taken};
use crate::log;
use crate::provision::Waiting;
use crate::setup::{Setup, SetupError};

/// How long the first start waits for the nucleus before it goes on with what it knows.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// How often a configuration that was refused is tried again, for files that may have come.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// What the process begins with.
#[derive(Debug)]
pub(crate) struct Process {
    /// Everything but the deployment.
    pub(crate) source: ConfigSource,
    pub(crate) state_dir: PathBuf,
    pub(crate) extra: Vec<Arc<dyn Plugin>>,
    pub(crate) environment: Environment,
}

/// Why the process ends by itself.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The configuration is wrong, and none was right before.
    Wrong(Box<SetupError>),
    /// The kernel gives no signals.
    Signals(std::io::Error),
}

/// How a gateway, or the wait for one, has ended.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Stop,
    Again,
}

struct Main {
    source: ConfigSource,
    state_dir: PathBuf,
    extra: Vec<Arc<dyn Plugin>>,
    signals: Signals,
    news: watch::Receiver<Option<Arc<Deployed>>>,
    calls: Arc<AtomicUsize>,
    running: watch::Sender<bool>,
    standing: Standing,
    /// What the nucleus says now; before it has said anything, what the environment says.
    latest: Arc<Deployed>,
    /// What a gateway ran with last.
    accepted: Option<Arc<Deployed>>,
    /// What was right, and with what a gateway could not start all the same.
    cannot_start: Option<Arc<Deployed>>,
    /// Keeps what was accepted.
    keeping: Arc<kept::Keeping>,
    /// A certificate that was given and is not registered yet, and by which provisioning.
    certificate: Option<(Box<ProvisioningConfig>, Waiting)>,
    work: JoinSet<()>,
    /// What it was said to wait for.
    said: Option<String>,
}

/// Runs until it is told to stop. Inside a runtime.
pub(crate) async fn run(process: Process, accepted: Option<Deployed>) -> Result<(), Ended> {
    let Process { source, state_dir, extra, environment } = process;
    let signals = Signals::new().map_err(Ended::Signals)?;
    let nucleus = Nucleus {
        thing_name: environment.thing_name.clone(),
        endpoint: None,
        root_ca: environment.root_ca.as_ref().and_then(|file| file.to_str()).map(str::to_owned),
    };
    // The environment is of now.
    let accepted = accepted.map(|accepted| {
        let endpoint = accepted.nucleus.endpoint.clone();
        Arc::new(Deployed { nucleus: Nucleus { endpoint, ..nucleus.clone() }, ..accepted })
    });
    let calls: Arc<AtomicUsize> = Arc::default();
    let (running, is_running) = watch::channel(false);
    let standing = Standing::default();
    let about = keeper::About {
        source: source.clone(),
        extra: extra.clone(),
        calls: Arc::clone(&calls),
        running: is_running,
        standing: standing.clone(),
        nucleus: nucleus.clone(),
        accepted: accepted.clone(),
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        nucleus = environment.nucleus_version.as_deref().unwrap_or("unknown"),
        "starting as a component of Greengrass"
    );
    let news = keeper::start(&environment, about);
    let bare = Arc::new(Deployed { nucleus, ..Deployed::default() });
    let latest = accepted.clone().unwrap_or(bare);
    let main = Main {
        source,
        state_dir,
        extra,
        signals,
        news,
        calls,
        running,
        standing,
        latest,
        accepted,
        cannot_start: None,
        keeping: Arc::default(),
        certificate: None,
        work: JoinSet::new(),
        said: None,
    };
    // It holds a whole configuration.
    Box::pin(main.go()).await
}

impl Main {
    async fn go(mut self) -> Result<(), Ended> {
        tokio::select! {
            _ = self.news.changed() => self.look(),
            () = tokio::time::sleep(FIRST_WITHIN) => {}
            signal = self.signals.next() => if signal == Signal::Stop { return Ok(()) },
        }
        let mut is_first = true;
        loop {
            let choosing = choose(self.source.clone(), self.extra.clone(), self.candidates());
            let choice = tokio::select! {
                choice = choosing => choice,
                () = self.signals.stop() => return Ok(()),
            };
            let left = match choice {
                Choice::Start(setup, deployed) => {
                    match Box::pin(self.serve(*setup, Arc::clone(&deployed))).await {
                        Ok(left) => left,
                        Err(e) if self.has_another_than(&deployed) => {
                            error!(
                                see = "start-failed",
                                "no gateway can start with what was deployed, and the deployment of before goes on: {e}"
                            );
                            self.standing.refused(&deployed, &e.to_string());
                            self.cannot_start = Some(deployed);
                            Left::Again
                        }
                        Err(e) => {
                            self.cannot_start = None;
                            self.wait(e.to_string(), None).await
                        }
                    }
                }
                Choice::Wait(Verdict::Wrong(e)) if is_first && self.may_exit(&e) => {
                    return Err(Ended::Wrong(e));
                }
                Choice::Wait(verdict) => {
                    let why = verdict.why().unwrap_or_default();
                    let files = if let Verdict::Missing { files, .. } = verdict { files } else { None };
                    self.wait(why, files).await
                }
            };
            if left == Left::Stop {
                return Ok(());
            }
            is_first = false;
        }
    }

    /// Takes what the nucleus has said last.
    fn look(&mut self) {
        if let Some(latest) = self.news.borrow_and_update().clone() {
            self.latest = latest;
            self.cannot_start = None;
        }
    }

    /// With what a gateway may be able to run, best first.
    fn candidates(&self) -> [Option<Arc<Deployed>>; 2] {
        [Some(self.latest.clone()), self.accepted.clone()]
            .map(|deployed| deployed.filter(|deployed| Some(deployed) != self.cannot_start.as_ref()))
    }

    fn has_another_than(&self, deployed: &Arc<Deployed>) -> bool {
        self.cannot_start.is_none() && self.accepted.as_ref().is_some_and(|accepted| accepted != deployed)
    }

    /// Three exits within an hour, and a nucleus gives a component up.
    fn may_exit(&self, e: &SetupError) -> bool {
        self.accepted.is_none() && kept::spend_exit(&self.state_dir, &e.to_string())
    }

    /// A gateway runs with it.
    fn accept(&mut self, deployed: Arc<Deployed>) {
        let (state_dir, keeping) = (self.state_dir.clone(), Arc::clone(&self.keeping));
        if let Some(digest) = self.standing.taken(&deployed) {
            info!(digest, "a deployment is in effect");
        }
        self.accepted = Some(Arc::clone(&deployed));
        self.keeping.set(deployed);
        while self.work.try_join_next().is_some() {}
        self.work.spawn_blocking(move || {
            kept::forget_exit(&state_dir);
            if let Err(e) = keeping.write(&state_dir) {
                let file = kept::file(&state_dir);
                warn!(
                    see = "deployment-not-kept",
                    "{}: what was deployed cannot be kept, so a start without the nucleus runs without it: {e}",
                    file.display()
                );
            }
        });
    }

    /// Runs a gateway until it is told to stop, or is to be started anew.
    async fn serve(&mut self, setup: Setup, deployed: Arc<Deployed>) -> Result<Left, StartError> {
        log::filter(&setup.config.log);
        let reload = Arc::new(Notify::new());
        let (calls, standing) = (Arc::clone(&self.calls), Some(self.standing.clone()));
        let guidance = Guidance { calls, standing, ..Guidance::default() };
        let (target, endpoint) = (setup.target().to_string(), setup.endpoint().clone());
        let methods = setup.plugins.registry.methods().count();
        let gateway = Gateway::new(setup)?;
        info!(version = env!("CARGO_PKG_VERSION"), target, endpoint, methods, "starting");
        let gateway = gateway
            .reloading(self.source.with(Arc::clone(&deployed)), Arc::clone(&reload))
            .guided(guidance.clone());
        let stop = CancellationToken::new();
        let mut gateway = pin!(gateway.run(stop.clone()));
        self.said = None;
        self.accept(Arc::clone(&deployed));
        self.running.send_replace(true);
        let everything_else = self.source.clone();
        let hand_over = |deployed: &Arc<Deployed>| {
            let (answer, answered) = oneshot::channel();
            let source = everything_else.with(Arc::clone(deployed));
            guidance.hand_over(Candidate { source, answer });
            reload.notify_one();
            Some(Trying { deployed: Arc::clone(deployed), answer: answered })
        };
        let mut current = deployed;
        let mut refused: Option<Arc<Deployed>> = None;
        let mut trying = None;
        if self.cannot_start.as_ref() == Some(&self.latest) {
            refused = self.cannot_start.take();
        } else if *self.latest != *current {
            trying = hand_over(&self.latest);
        }
        let mut again = tokio::time::interval(TRY_AGAIN);
        again.reset();
        let mut judging = JoinSet::new();
        let mut left = Left::Again;
        loop {
            let listens = !stop.is_cancelled();
            tokio::select! {
                () = &mut gateway => break,
                () = guidance.restart.notified(), if listens => stop.cancel(),
                changed = self.news.changed(), if listens && !self.news_ended() => if changed.is_ok() {
                    self.look();
                    refused = None;
                    self.standing.nothing_refused();
                    if is_news(&self.latest, &current, trying.as_ref()) {
                        trying = hand_over(&self.latest);
                    }
                },
                result = answered(&mut trying) => if let Some((deployed, result)) = result {
                    trying = None;
                    match result {
                        Ok(Taken::InEffect) => {
                            current = Arc::clone(&deployed);
                            self.accept(deployed);
                        }
                        // When a gateway runs with it.
                        Ok(Taken::StartsAnew) => {}
                        Err(why) => {
                            let digest = self.standing.refused(&deployed, &why);
                            info!(digest, "this deployment is not taken, and the one of before goes on");
                            refused = Some(deployed);
                        }
                    }
                },
                _ = again.tick(), if refused.is_some() && judging.is_empty() => {
                    if let Some(refused) = &refused {
                        let (source, extra) = (self.source.with(Arc::clone(refused)), self.extra.clone());
                        judging.spawn_blocking(move || matches!(judge_beside(&source, &extra), Verdict::Ready(_)));
                    }
                }
                Some(ready) = judging.join_next() => if let (Ok(true), Some(deployed)) = (ready, refused.take_if(|_| listens)) {
                    trying = hand_over(&deployed);
                },
                signal = self.signals.next() => match signal {
                    Signal::HangUp => {
                        info!("asked to read the maps again");
                        reload.notify_one();
                    }
                    Signal::Stop if left == Left::Stop => {
                        warn!(
                            see = "left-at-once",
                            "asked to stop a second time: leaving at once; calls that run are not waited for"
                        );
                        break;
                    }
                    Signal::Stop => {
                        left = Left::Stop;
                        stop.cancel();
                    }
                },
            }
        }
        self.running.send_replace(false);
        self.standing.stopped();
        self.calls.store(0, Ordering::Relaxed);
        Ok(left)
    }

    /// The keeper's thread is gone: nothing more comes.
    fn news_ended(&self) -> bool {
        self.news.has_changed().is_err()
    }
}
