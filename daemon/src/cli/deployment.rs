//! `nowd check --component-configuration`: whether a core will take what is to be deployed. Needs no core, and connects to nothing.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use nowd_plugin::Plugin;
use serde_json::{Map, Value};

use super::{Failure, Source, say};
use crate::config::ConfigError;
use crate::exit::Exit;
use crate::greengrass::Deployed;
use crate::log;
use crate::setup::Setup;

/// The largest file, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Of each file, whose configuration it is: that of `NAME=FILE`, or our own.
pub(super) fn check(
    source: &Source,
    extra: &[Arc<dyn Plugin>],
    files: &[String],
    quiet: bool,
) -> Result<(), Failure> {
    let layers = source.layers();
    // What the nucleus of this machine says, where it is a core.
    let mut deployed = layers.deployed()?.map(|kept| Deployed::of_nucleus(&kept)).unwrap_or_default();
    let mut own = None;
    for file in files {
        match file.split_once('=') {
            Some((name, file)) => deployed.add_component(name, read(Path::new(file))?),
            None if own.is_none() => own = Some(read(Path::new(file))?),
            None => {
                let message = "--component-configuration: one file is that of the gateway; write NAME=FILE for those of components of maps";
                return Err(Failure { message: message.into(), exit: Exit::Usage });
            }
        }
    }
    let mut deployed = deployed.with_component(own.unwrap_or_default());
    let missed = deployed.pass_over_missing()?;
    let loaded = layers.with(Arc::new(deployed)).load()?;
    log::check(&loaded.config.log)?;
    let (maps, drop_ins) = (loaded.maps.len(), loaded.drop_ins.len());
    let (registry, from_there) = Setup::check_deployment(loaded, extra)?;
    if quiet {
        return Ok(());
    }
    let mut out = std::io::stdout();
    let methods = registry.methods().count();
    say(&mut out, &format!("ok: {methods} methods from {maps} maps, {drop_ins} drop-ins"));
    if !from_there.is_empty() {
        say(&mut out, &format!("note: not checked, since the core has it: {}", from_there.join(", ")));
    }
    for name in missed {
        let text = format!(
            "note: not checked: the maps of {name}; give them with --component-configuration {name}=FILE"
        );
        say(&mut out, &text);
    }
    Ok(())
}

fn read(path: &Path) -> Result<Map<String, Value>, Failure> {
    let error = |source| ConfigError::Read { file: path.into(), source };
    let wrong = |message: String| ConfigError::Layer { origin: path.display().to_string(), message };
    let mut text = String::new();
    File::open(path).map_err(error)?.take(LARGEST).read_to_string(&mut text).map_err(error)?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(configuration)) => Ok(configuration),
        Ok(_) => Err(wrong("must be a JSON object, as the nucleus merges it".into()).into()),
        Err(e) => Err(wrong(format!("is no JSON: {e}")).into()),
    }
}
