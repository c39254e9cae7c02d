//! Fleet provisioning by claim: a certificate of this gateway's own, for a key that never leaves it.
//!
//! Key, certificate, registration, a try as the new thing, and only then does the identity count; each step is on the disk
//! before the next begins, so that a run that is cut off at any point is taken up by the next. It runs beside no gateway and
//! knows nothing of calls. Keys and ownership tokens are never shown.

pub(crate) mod answers;
mod plan;
mod talk;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use nowd_link::{Backoff, LinkError, Tls, TlsError};
use nowd_protocol::Level;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::json;

use crate::clock::wall_ms;
use crate::identity::{Identity, IdentityError, Pending, Stage, Store, date};
use answers::{Created, Registered, Request, Verdict};
use talk::{Answer, Talk, try_identity};

pub(crate) use plan::{Plan, PlanError, configured_name};

/// How often everything is tried from the start, unless for ever.
const ATTEMPTS: u32 = 5;
/// How often the new identity is tried: what a template attaches may take a moment to be known everywhere.
const TRIALS: u32 = 4;
const TRIAL_PAUSE: Duration = Duration::from_secs(2);
/// How many different lines are said before there are words for the end only.
const MOST_SAID: usize = 1_000;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProvisionError {
    /// The service cannot be reached, or asks to wait: running again may help.
    #[error("{0}")]
    Again(String),
    /// It refuses: somebody must change something there first.
    #[error("{0}")]
    Refused(String),
    /// The configuration and what the service says do not fit together.
    #[error("{0}")]
    Misfit(String),
    /// The folder of the identity.
    #[error(transparent)]
    Store(#[from] IdentityError),
    /// Another process is at it.
    #[error("another `nowd provision` is at work in {0}; wait for it")]
    InUse(String),
}

/// A step that did not succeed.
#[derive(Debug)]
struct Failure(ProvisionError);

impl Failure {
    const fn again(sentence: String) -> Self {
        Self(ProvisionError::Again(sentence))
    }

    const fn refused(sentence: String) -> Self {
        Self(ProvisionError::Refused(sentence))
    }

    /// Of a connection made by `whose` certificate.
    fn of_link(e: &LinkError, whose: &str) -> Self {
        let mut sentence = e.to_string();
        let mut source = std::error::Error::source(e);
        while let Some(cause) = source {
            sentence = format!("{sentence}: {cause}");
            source = cause.source();
        }
        if e.is_refusal() {
            Self::refused(format!("{whose} was not let in: {sentence}"))
        } else if matches!(e, LinkError::Tls { .. }) {
            Self(ProvisionError::Misfit(format!(
                "{sentence}; the authorities are those of `provisioning.ca` or `link.ca`"
            )))
        } else {
            Self::again(sentence)
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(e: IdentityError) -> Self {
        Self(e.into())
    }
}

impl From<Verdict> for Failure {
    fn from(Verdict { again, sentence }: Verdict) -> Self {
        if again { Self::again(sentence) } else { Self::refused(sentence) }
    }
}

/// What has come of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) identity: Identity,
    /// Certificates that were made on the way and will not be used.
    pub(crate) unused: Vec<String>,
}

/// A certificate that this process was given and has not registered yet: no other is asked for in its place.
pub(crate) type Waiting = Option<Created>;

/// Gets the gateway its identity. `for_ever` while the service cannot be reached, else a few times; `say` hears each step.
pub(crate) async fn provision(
    plan: &Plan,
    waiting: &mut Waiting,
    for_ever: bool,
    say: &dyn Fn(&str),
) -> Result<Done, ProvisionError> {
    let mut backoff = Backoff::new();
    let mut attempt = 1;
    // A night without a network is a few lines, not thousands.
    let said = RefCell::new(Vec::new());
    let say = &|line: &str| {
        let mut said = said.borrow_mut();
        if !said.iter().any(|earlier| earlier == line) && said.len() < MOST_SAID {
            said.push(line.to_owned());
            say(line);
        }
    };
    loop {
        match try_once(plan, waiting, say).await {
            Ok(done) => return Ok(done),
            Err(Failure(ProvisionError::Again(sentence))) if for_ever || attempt < ATTEMPTS => {
                let pause = backoff.next_delay().max(Duration::from_secs(1));
                say(&format!("{sentence}; trying again"));
                tokio::time::sleep(pause).await;
                attempt = attempt.saturating_add(1);
            }
            Err(Failure(e)) => return Err(e),
        }
    }
}

async fn try_once(plan: &Plan, waiting: &mut Waiting, say: &dyn Fn(&str)) -> Result<Done, Failure> {
    let (pending, damage) = plan.store.pending()?;
    if let Some(damage) = damage {
        say(&format!("{damage}: what was begun is begun anew"));
    }
    let mut pending = plan.fitting(pending);
    let registered = match registered(plan, &pending) {
        Some((certificate_id, target, tls)) => {
            say(&format!("the certificate {certificate_id} was registered for {target} by an earlier run"));
            if check_target(plan, &target).is_ok() {
                Some((certificate_id, target, tls))
            } else {
                // That was told when it was made. Nothing changes its name any more.
                say("that is not this gateway's name: another one is asked for");
                pending.give_up(|_| true);
                plan.store.write_pending(&pending)?;
                None
            }
        }
        None => None,
    };
    let (certificate_id, target, tls) = match registered {
        Some(registered) => registered,
        None => register(plan, &mut pending, waiting, say).await?,
    };
    check_target(plan, &target)?;
    say(&format!("connecting as {target}"));
    if let Err(e) = try_as(plan, &certificate_id, &target, tls).await {
        if matches!(e.0, ProvisionError::Refused(_)) {
            pending.refused = true;
            plan.store.write_pending(&pending)?;
        }
        return Err(e);
    }
    let previous = plan.store.read().ok().flatten().map(|identity| identity.certificate_id);
    pending.unused.retain(|id| Some(id) != previous.as_ref());
    let identity = Identity {
        previous: previous.filter(|previous| *previous != certificate_id),
        target,
        endpoint: plan.endpoint.clone(),
        certificate_id,
        template: plan.template.clone(),
        made: date(i64::try_from(wall_ms() / 1_000).unwrap_or_default()),
    };
    plan.store.commit(&identity)?;
    Ok(Done { identity, unused: pending.unused })
}

/// What an earlier run has registered, if it is whole.
fn registered(plan: &Plan, pending: &Pending) -> Option<(String, Level, Tls)> {
    let Pending { certificate_id: Some(id), stage: Stage::Registered, target: Some(target), .. } = pending
    else {
        return None;
    };
    let tls = plan.load(id).ok()?;
    Some((id.clone(), target.clone(), tls))
}

/// A certificate for the pending key, registered by the template.
async fn register(
    plan: &Plan,
    pending: &mut Pending,
    waiting: &mut Waiting,
    say: &dyn Fn(&str),
) -> Result<(String, Level, Tls), Failure> {
    let key = key(&plan.store, say)?;
    let mut talk = Talk::open(&plan.claim, &plan.template).await?;
    let created = match waiting.take() {
        Some(created) => created,
        None => create(plan, pending, &mut talk, &key, say).await?,
    };
    let id = created.id.clone();
    let tls = plan.load(&id).map_err(|e| {
        let is_its = matches!(
            e,
            TlsError::Mismatch { .. }
                | TlsError::BadCertificate { .. }
                | TlsError::NoCertificate { .. }
                | TlsError::NotPem { .. }
        );
        if is_its {
            Failure::refused(format!("the certificate that the service made cannot be used: {e}"))
        } else {
            Failure(ProvisionError::Misfit(e.to_string()))
        }
    })?;
    say(&format!("registering by the template {}", plan.template));
    let payload = json!({
        "certificateOwnershipToken": created.token.secret(),
        "parameters": plan.parameters,
    });
    // What ends between question and answer is asked again for the same certificate.
    let answer = talk.ask(Request::Registration, payload.to_string()).await;
    let answer = answer.inspect_err(|_| *waiting = Some(created.clone()))?;
    let registered = match answer {
        Answer::Accepted(payload) => Registered::parse(&payload).map_err(unreadable)?,
        Answer::Rejected(rejection) => {
            let rejection = rejection.without(&created.token);
            if !rejection.is_about_the_token() {
                *waiting = Some(created);
            }
            return Err(rejection.verdict(Request::Registration, &plan.template).into());
        }
    };
    pending.stage = Stage::Registered;
    pending.target = Some(registered.thing_name.clone());
    plan.store.write_pending(pending)?;
    talk.close().await;
    Ok((id, registered.thing_name, tls))
}

/// A new certificate for the key, on the disk with it.
async fn create(
    plan: &Plan,
    pending: &mut Pending,
    talk: &mut Talk,
    key: &KeyPair,
    say: &dyn Fn(&str),
) -> Result<Created, Failure> {
    say(&format!("asking {} for a certificate", plan.endpoint));
    let payload = json!({ "certificateSigningRequest": request(key, plan)? }).to_string();
    let created = match talk.ask(Request::Certificate, payload).await? {
        Answer::Accepted(payload) => Created::parse(&payload).map_err(unreadable)?,
        Answer::Rejected(rejection) => {
            return Err(rejection.verdict(Request::Certificate, &plan.template).into());
        }
    };
    // From here on there is a certificate that nobody may forget.
    pending.give_up(|id| *id != created.id);
    pending.certificate_id = Some(created.id.clone());
    pending.stage = Stage::Created;
    pending.target = None;
    plan.store.write_pending(pending)?;
    plan.store.write_pem(&created.id, &created.pem, &key.serialize_pem())?;
    Ok(created)
}

/// The key that waits for a certificate, made if there is none that can be used.
fn key(store: &Store, say: &dyn Fn(&str)) -> Result<KeyPair, Failure> {
    if let Some(pem) = store.read_pending_key()? {
        if let Ok(key) = KeyPair::from_pem(&pem) {
            return Ok(key);
        }
        say("the key of an earlier run is damaged: another one is made");
    }
    let key = KeyPair::generate().map_err(|e| bug(&e))?;
    store.write_pending_key(&key.serialize_pem())?;
    Ok(key)
}

/// PKCS#10, in PEM.
fn request(key: &KeyPair, plan: &Plan) -> Result<String, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let name = plan.target.as_ref().map_or("nowd gateway", Level::as_str);
    // The longest common name that X.509 knows.
    params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.serialize_request(key).and_then(|request| request.pem()).map_err(|e| bug(&e))
}

fn check_target(plan: &Plan, target: &Level) -> Result<(), Failure> {
    crate::setup::check_target(target).map_err(|e| {
        Failure(ProvisionError::Misfit(format!("the template names this gateway {target:?}: {e}")))
    })?;
    match &plan.target {
        Some(expected) if expected != target => Err(Failure(ProvisionError::Misfit(format!(
            "the template names this gateway {:?}, and `target` in the configuration says {:?}; leave `target` out, or mend the template or `provisioning.parameters`, and run this again",
            target.as_str(),
            expected.as_str()
        )))),
        Some(_) | None => Ok(()),
    }
}

async fn try_as(plan: &Plan, certificate_id: &str, target: &Level, tls: Tls) -> Result<(), Failure> {
    let mut options = plan.link.clone();
    options.client_id = plan.client_id.clone().unwrap_or_else(|| target.as_str().to_owned());
    options.tls = Some(Arc::new(tls));
    let mut pause = TRIAL_PAUSE;
    for trial in 1.. {
        match try_identity(&options).await {
            Ok(()) => break,
            Err(e) if e.is_refusal() && trial < TRIALS => {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
            Err(e) if e.is_refusal() => {
                return Err(Failure::refused(format!(
                    "the certificate {certificate_id} was registered for {target}, and the broker does not let it connect: {e}; mend the policy that \
                     the template attaches and run this again, or have another certificate made with --renew"
                )));
            }
            Err(e) => return Err(Failure::of_link(&e, "the new certificate")),
        }
    }
    Ok(())
}

fn unreadable(why: &'static str) -> Failure {
    Failure::refused(format!("the service's answer cannot be used: {why}"))
}

fn bug(e: &rcgen::Error) -> Failure {
    Failure(ProvisionError::Misfit(format!("no key or request can be made: {e}")))
}
