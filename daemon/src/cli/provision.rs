//! `nowd provision`: gets this gateway an identity of its own. Safe to cut off at any point, and to run again.

use std::io::stdout;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clap::Args;
use nix::unistd::{Uid, User, geteuid};
use tokio::runtime::Builder;

use super::{Failure, Source, internal, say};
use crate::clock::WallClock;
use crate::exit::Exit;
use crate::identity::{Identity, IdentityError, Store};
use crate::provision::{Done, Plan, PlanError, ProvisionError, configured_name, provision};

#[derive(Debug, Args)]
pub(super) struct Provision {
    #[command(flatten)]
    source: Source,
    /// Another key and certificate, also where there is a sound identity
    #[arg(long)]
    renew: bool,
    /// While the service cannot be reached, try again for ever
    #[arg(long)]
    wait: bool,
}

impl From<ProvisionError> for Failure {
    fn from(e: ProvisionError) -> Self {
        let exit = match &e {
            ProvisionError::Again(_) => Exit::Unreachable,
            ProvisionError::Refused(_) => Exit::Denied,
            ProvisionError::Misfit(_)
            | ProvisionError::Store(
                IdentityError::Damaged { .. } | IdentityError::Misnamed { .. } | IdentityError::Other { .. },
            ) => Exit::Config,
            ProvisionError::Store(IdentityError::Io { .. }) | ProvisionError::InUse(_) => Exit::Io,
        };
        Self { message: e.to_string(), exit }
    }
}

impl From<PlanError> for Failure {
    fn from(e: PlanError) -> Self {
        match e {
            PlanError::Config(e) => e.into(),
            // Nobody renews a claim: it is as it was given.
            PlanError::Tls(e) => Self { message: e.to_string(), exit: Exit::Config },
        }
    }
}

pub(super) fn run(Provision { source, renew, wait }: &Provision) -> Result<(), Failure> {
    let files = source.or_here().load()?;
    let state_dir = &files.config.state_dir;
    if !state_dir.is_absolute() {
        let message = "`state_dir`: must be an absolute path, such as /var/lib/nowd".into();
        return Err(Failure { message, exit: Exit::Config });
    }
    check_user(state_dir)?;
    let store = Store::of(state_dir);
    let tell = |line: &str| say(&mut stdout(), line);
    let clock = WallClock::of_this_machine(files.config.clock);
    let held = store.hold().map_err(ProvisionError::from)?;
    let held = held.ok_or_else(|| ProvisionError::InUse(state_dir.display().to_string()))?;
    let is = sound(&store, |identity| Plan::is_sound(identity, &files, &clock), &tell)?;
    let mut goes_on = false;
    if let Some((identity, _)) = &is {
        let unused = store.finish(identity).map_err(ProvisionError::from)?;
        if let Some(line) = made_in_vain(&unused) {
            tell(&line);
        }
        goes_on = store.pending().map_err(ProvisionError::from)?.0.renew;
    }
    if let Some((identity, until)) = &is
        && !renew
        && !goes_on
    {
        if let Some(target) = configured_name(&files) {
            identity.check_name(&store, target).map_err(ProvisionError::from)?;
        }
        tell(&format!(
            "this gateway has an identity: {} at {}, certificate {} until {until}; nothing to do (--renew gets another certificate)",
            identity.target, identity.endpoint, identity.certificate_id
        ));
        return Ok(());
    }
    let plan = Plan::new(&files, is.as_ref().map(|(identity, _)| identity), &clock)?;
    if *renew {
        goes_on = plan.begin_renewal().map_err(ProvisionError::from)?;
    }
    if goes_on {
        tell("a renewal was begun and not ended: it is taken up");
    }
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| internal(&e))?;
    let done = runtime.block_on(provision(&plan, &mut None, *wait, &tell));
    // Cut off whatever is still being resolved.
    runtime.shutdown_background();
    drop(held);
    for line in words(&done?) {
        tell(&line);
    }
    Ok(())
}

/// The identity that counts, if it can be used; that it cannot is told, and mended by going on.
fn sound(
    store: &Store,
    judge: impl Fn(&Identity) -> Result<String, String>,
    tell: &dyn Fn(&str),
) -> Result<Option<(Identity, String)>, Failure> {
    match store.read() {
        Ok(None) => Ok(None),
        Ok(Some(identity)) => match judge(&identity) {
            Ok(until) => Ok(Some((identity, until))),
            Err(why) => {
                tell(&format!(
                    "the identity of {} cannot be used: {why}; another one is made",
                    identity.target
                ));
                Ok(None)
            }
        },
        Err(e @ IdentityError::Damaged { .. }) => {
            tell(&format!("{e}: another one is made"));
            Ok(None)
        }
        Err(e) => Err(ProvisionError::from(e).into()),
    }
}

fn words(Done { identity, unused }: &Done) -> Vec<String> {
    let Identity { target, endpoint, certificate_id, previous, .. } = identity;
    let mut lines =
        vec![format!("done: this gateway is {target} at {endpoint}, certificate {certificate_id}")];
    lines.extend(previous.as_ref().map(|previous| {
        format!("the certificate of before, {previous}, is still active: deactivate it when the gateway is connected with the new one")
    }));
    lines.extend(made_in_vain(unused));
    lines
}

fn made_in_vain(unused: &[String]) -> Option<String> {
    (!unused.is_empty()).then(|| {
        format!(
            "made on the way and not used, so deactivate and delete them where they are active: {}",
            unused.join(", ")
        )
    })
}

/// What is made here belongs to whoever makes it, and the daemon must be able to read it.
fn check_user(state_dir: &Path) -> Result<(), Failure> {
    let me = geteuid();
    let daemon = User::from_name("nowd").ok().flatten();
    let owner = match state_dir.metadata() {
        Ok(folder) => Uid::from_raw(folder.uid()),
        // It will be made, for the daemon's user where there is one.
        Err(_) => daemon.filter(|_| me.is_root()).map_or(me, |user| user.uid),
    };
    if owner == me {
        return Ok(());
    }
    let name = User::from_uid(owner).ok().flatten().map_or_else(|| format!("#{owner}"), |user| user.name);
    Err(Failure {
        message: format!(
            "{} is the folder of the user {name}, who must be able to read what is made here; run `sudo -u {name} nowd provision`",
            state_dir.display()
        ),
        exit: Exit::Denied,
    })
}
