//! The identity that a gateway without one gets by itself: what `nowd provision` does, for ever, with pauses that grow.
//!
//! It runs beside nothing that could run a call. Cut off at any point, the next attempt takes it up.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::WallClock;
use crate::config::{ConfigFiles, Via};
use crate::identity::{Found, IdentityError, Store};
use crate::provision::{Done, Plan, PlanError, ProvisionError, Waiting, provision};

/// After a refusal: somebody must change something at the service, and 20,000 cores ask. A certificate that was given for nothing is
/// used again for the hour that the service remembers it, so each costs one an hour at most.
const AFTER_REFUSAL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60 * 60));
/// While something is missing here.
const WHILE_MISSING: Duration = Duration::from_secs(5);

/// Whether this configuration wants an identity that is not there.
pub(super) fn is_wanted(files: &ConfigFiles) -> bool {
    let link = &files.config.link;
    let none = match &files.identity {
        Found::Nothing => true,
        Found::Unusable(e) => matches!(**e, IdentityError::Damaged { .. }),
        Found::Used(_) => false,
    };
    none && files.config.provisioning.template.is_some()
        && link.via == Via::Direct
        && link.tls
        && link.certificate.is_none()
        && link.key.is_none()
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
}

/// Ends when there is an identity. `waiting` is a certificate that was given and is not registered yet. Puts into `trouble` why the last attempt failed. May be dropped at any point.
pub(super) async fn get(files: &ConfigFiles, waiting: &mut Waiting, trouble: &watch::Sender<Option<String>>) {
    let mut pause = AFTER_REFUSAL.0;
    let mut said = String::new();
    loop {
        let failed = match once(files, waiting).await {
            Ok(Done { identity, unused }) => {
                info!(target = %identity.target, endpoint = identity.endpoint, "this gateway has an identity now");
                for certificate in unused {
                    info!(
                        "made on the way and not used, so delete it where it is active: the certificate {certificate}"
                    );
                }
                return;
            }
            Err(failed) => failed,
        };
        let sentence = failed.to_string();
        if sentence != said {
            warn!(see = "no-identity", "this gateway has no identity yet, and tries on: {sentence}");
            trouble.send_replace(Some(sentence.clone()));
            said = sentence;
        }
        let wait = match failed {
            Failed::Plan(_) | Failed::Provision(ProvisionError::InUse(_)) => WHILE_MISSING,
            Failed::Provision(_) => {
                let wait = pause;
                pause = pause.saturating_mul(2).min(AFTER_REFUSAL.1);
                wait
            }
        };
        tokio::time::sleep(spread(wait)).await;
    }
}

/// A fleet does not come back all at once: between half of it and all of it.
fn spread(pause: Duration) -> Duration {
    let half = pause / 2;
    let drawn = uuid::Uuid::new_v4().as_u128() % half.as_millis().max(1);
    half.saturating_add(Duration::from_millis(u64::try_from(drawn).unwrap_or_default()))
}

async fn once(files: &ConfigFiles, waiting: &mut Waiting) -> Result<Done, Failed> {
    let state_dir = &files.config.state_dir;
    let clock = WallClock::of_this_machine(files.config.clock);
    let held = Store::of(state_dir).hold().map_err(ProvisionError::from)?;
    let _held = held.ok_or_else(|| ProvisionError::InUse(state_dir.display().to_string()))?;
    let plan = Plan::new(files, None, &clock)?;
    Ok(provision(&plan, waiting, true, &|line| info!("{line}")).await?)
}
