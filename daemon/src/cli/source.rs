//! Which configuration a command is about, and where it is looked for.

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;

use super::{Failure, made_out, say};
use crate::config::{ConfigError, ConfigFiles, ConfigSource, Deployment};
use crate::greengrass::kept;

/// Where the configuration is unless said otherwise.
pub(super) const DEFAULT_CONFIG: &str = "/etc/nowd/nowd.toml";

#[derive(Debug, Clone, Args)]
pub(super) struct Source {
    /// The configuration; `nowd.toml.d/` and `methods.d/` lie beside it [default: /etc/nowd/nowd.toml; except for `run`
    /// and `plugin serve`, a nowd.toml in this folder or beside the map goes before that]
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The folder (`state_dir`) for what must survive a restart. What was deployed through Greengrass lies there,
    /// as greengrass.json, and is read with the configuration
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    pub(super) state_dir: Option<String>,
    /// Set one key over all other layers, such as --set link.endpoint=broker:8883
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) set: Vec<(String, String)>,
}

impl Source {
    pub(super) fn load(&self) -> Result<ConfigFiles, crate::config::ConfigError> {
        let source = self.layers();
        // What may not be looked for is told with the reason, below.
        if !source.required && !source.is_deployed() && matches!(source.file.try_exists(), Ok(false)) {
            let text = format!(
                "note: there is no {}, so it is done without; --config names another file",
                source.file.display()
            );
            say(&mut std::io::stderr(), &text);
        }
        source.load()
    }

    /// A file that was named must be there, also for those who can do without what it says.
    pub(super) fn named(&self) -> Result<(), Failure> {
        match self.config.as_ref().map(|file| (file, file.metadata())) {
            Some((file, Err(source))) if source.kind() == ErrorKind::NotFound => {
                Err(ConfigError::Read { file: file.clone(), source }.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The same, or, where no file was named, the `nowd.toml` of this folder, for whoever tries something out.
    pub(super) fn or_here(&self) -> Self {
        let here = Some(PathBuf::from("nowd.toml")).filter(|file| file.is_file());
        Self { config: self.config.clone().or(here), ..self.clone() }
    }

    /// The same, or, where no file was named, the configuration that lies beside the first of `maps`.
    pub(super) fn or_beside(&self, maps: &[PathBuf]) -> Self {
        let folder = maps
            .first()
            .and_then(|map| map.canonicalize().ok())
            .and_then(|map| Some(map.parent()?.to_owned()));
        let beside = folder.and_then(|folder| {
            let mut places = [Some(folder.as_path()), folder.parent()].into_iter().flatten();
            places.find_map(|place| Some(place.join("nowd.toml")).filter(|file| file.is_file()))
        });
        Self { config: self.config.clone().or(beside), ..self.clone() }
    }

    pub(super) fn layers(&self) -> ConfigSource {
        // Variables that are not UTF-8 cannot be ours.
        let environment = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let state_dir = self.state_dir.iter().map(|folder| ("state_dir".to_owned(), folder.clone()));
        let source = ConfigSource {
            file: self.file(),
            required: self.config.is_some(),
            environment,
            set: state_dir.chain(self.set.iter().cloned()).collect(),
            deployment: Deployment::None,
        };
        // Who may not look into the folder is not told of a file that is hardly ever there.
        let kept = kept::file(&made_out::state_dir(&source).0);
        let deployment =
            if kept.symlink_metadata().is_ok() { Deployment::Kept(kept) } else { Deployment::None };
        ConfigSource { deployment, ..source }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into())
    }
}

/// A folder of the working folder is what people mean, and what is kept of it must not depend on that.
pub(super) fn absolute(text: &str) -> Result<String, &'static str> {
    let path = std::path::absolute(text).map_err(|_| "expected a folder")?;
    path.into_os_string().into_string().map_err(|_| "the path of this folder is no UTF-8; give it whole")
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
