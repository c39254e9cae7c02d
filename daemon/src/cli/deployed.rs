//! `nowd check --deployed`: the step before the gateway, by which a deployment learns that its configuration is wrong.
//!
//! It never stands in the way of a gateway for long: what it has refused three times it lets pass, and the gateway goes on with what
//! was right before. The classic nucleus asks it at each of its own starts, too.

use std::sync::Arc;

use nowd_greengrass::Environment;
use nowd_plugin::Plugin;

use super::{Failure, Source, made_out, say};
use crate::config::{ConfigSource, Deployment};
use crate::exit::Exit;
use crate::greengrass::judge::may_come;
use crate::greengrass::{ask, kept};
use crate::log;
use crate::setup::{Setup, SetupError};

/// After so many both nuclei call the component broken, and a deployment has failed.
const REFUSALS: u32 = 3;

/// Wrong, and no more often than that: 78. Everything else is 0.
pub(super) fn check(source: &Source, extra: &[Arc<dyn Plugin>]) -> Result<(), Failure> {
    let Some(environment) = Environment::of(|name| std::env::var(name).ok()) else {
        let message = "--deployed is for the recipe's `install` step, which has a nucleus to ask; without one, `nowd check`";
        return Err(Failure { message: message.into(), exit: Exit::Usage });
    };
    let mut out = std::io::stdout();
    let layers = source.layers();
    let (state_dir, _) = made_out::state_dir(&layers);
    let Some(mut deployed) = ask(&environment) else {
        say(&mut out, "note: the nucleus cannot be asked now, so nothing is checked");
        return Ok(());
    };
    // They may come with the same deployment, or later. What is wrong with their names is said below.
    drop(deployed.pass_over_missing());
    let deployed = Arc::new(deployed);
    let layers = ConfigSource { deployment: Deployment::None, ..layers }.with(Arc::clone(&deployed));
    let said = match judge(&layers, extra) {
        Ok(()) => "ok: a gateway can run with what is deployed".to_owned(),
        Err(e) if may_come(&e) => format!("ok, as far as it can be known now: {e}"),
        Err(e) if kept::count_refusal(&state_dir, &deployed) > REFUSALS => {
            say(&mut out, &format!("note: let pass, since it was refused {REFUSALS} times: {e}"));
            return Ok(());
        }
        Err(e) => return Err(Failure { exit: Exit::Config, ..Failure::from(e) }),
    };
    kept::forget_refusals(&state_dir);
    say(&mut out, &said);
    Ok(())
}

/// Everything that does not depend on what this core has, or does not have yet.
fn judge(source: &ConfigSource, extra: &[Arc<dyn Plugin>]) -> Result<(), SetupError> {
    let files = source.load()?;
    log::check(&files.config.log)?;
    Setup::check_deployment(files, extra).map(drop)
}
