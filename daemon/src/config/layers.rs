//! Finding, checking and merging the layers.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::builder::DefaultState;
use config::{ConfigBuilder, Environment, File, FileFormat};
use nowd_plugin::map::{MapError, MapSource};
use nowd_plugin::words::plain;

use super::{Config, ConfigError};
use crate::greengrass::{Deployed, Document, OfNucleus, kept, shown};
use crate::identity::{self, Found};

/// The largest configuration file, in bytes.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Where configuration comes from.
#[derive(Clone)]
pub struct ConfigSource {
    /// The main file; its neighbours `nowd.toml.d/`, `methods.d/` and `plugins.d/` belong to it.
    pub file: PathBuf,
    /// Whether the main file was named by the user, and must then be there.
    pub required: bool,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// `KEY=VALUE` of the command line.
    pub set: Vec<(String, String)>,
    /// What was deployed through Greengrass: a layer between files and environment, and more maps and drop-ins.
    pub deployment: Deployment,
}

/// Where it is found what was deployed through Greengrass.
#[derive(Debug, Clone, Default)]
pub enum Deployment {
    /// Nowhere: there is none.
    #[default]
    None,
    /// In this file, if it is there.
    Kept(PathBuf),
    /// It is this.
    Known(Arc<Deployed>),
}

/// Which files there were, and when each was changed: path, inode, size, seconds and nanoseconds of its last change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Signature(Vec<(PathBuf, u64, u64, (i64, i64))>);

/// The configuration, and the maps and drop-ins beside it.
#[derive(Debug, Clone)]
pub struct ConfigFiles {
    /// The merged configuration.
    pub config: Config,
    /// The maps of `methods.d/`, in the order of their names.
    pub maps: Vec<MapSource>,
    /// The drop-ins of `plugins.d/`, in the order of their names.
    pub drop_ins: Vec<MapSource>,
    /// What stands in for what the configuration leaves out: the identity that `nowd provision` made.
    pub identity: Found,
    /// Which keys are as the nucleus of Greengrass says, for want of anything else.
    pub(crate) of_nucleus: OfNucleus,
    /// How the nucleus is reached, where one has started this process.
    pub(crate) greengrass: Option<nowd_greengrass::Environment>,
}

/// Of the environment the names only: a nucleus of Greengrass puts the component's token there.
impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, required, environment, set, deployment } = self;
        let names: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ConfigSource")
            .field("file", file)
            .field("required", required)
            .field("environment", &names)
            .field("set", set)
            .field("deployment", deployment)
            .finish()
    }
}

impl ConfigSource {
    /// Reads all layers and the maps.
    pub fn load(&self) -> Result<ConfigFiles, ConfigError> {
        let mut builder = config::Config::builder();
        for file in self.files()? {
            let text = read(&file)?;
            check_file(&file, &text)?;
            builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
        }
        let deployed = self.deployed()?;
        let document = deployed.as_deref().map(Deployed::read).transpose()?.unwrap_or_default();
        builder = add_document(builder, &document)?;
        builder = self.add_environment(builder)?;
        builder = self.add_command_line(builder)?;
        let mut config = finish(builder)
            .map_err(|e| ConfigError::Layer { origin: "configuration".into(), message: words(&e) })?;
        let identity = identity::complete(&mut config);
        let of_nucleus = deployed.map(|deployed| deployed.nucleus.complete(&mut config)).unwrap_or_default();
        Ok(ConfigFiles {
            config,
            maps: [self.beside("methods.d")?, document.maps].concat(),
            drop_ins: [self.beside("plugins.d")?, document.drop_ins].concat(),
            identity,
            of_nucleus,
            greengrass: nowd_greengrass::Environment::of(|name| {
                let (_, value) = self.environment.iter().find(|(key, _)| key == name)?;
                Some(value.clone())
            }),
        })
    }

    /// What was deployed, if anything was.
    pub(crate) fn deployed(&self) -> Result<Option<Arc<Deployed>>, ConfigError> {
        match &self.deployment {
            Deployment::None => Ok(None),
            Deployment::Known(deployed) => Ok(Some(Arc::clone(deployed))),
            Deployment::Kept(file) => Ok(kept::read(file)?.map(Arc::new)),
        }
    }

    /// Whether anything was.
    pub(crate) const fn is_deployed(&self) -> bool {
        !matches!(self.deployment, Deployment::None)
    }

    /// The same, with this deployment.
    pub(crate) fn with(&self, deployed: Arc<Deployed>) -> Self {
        Self { deployment: Deployment::Known(deployed), ..self.clone() }
    }

    /// The files as they lie there now, to see later whether they are still the same. What cannot be looked at is not there.
    pub(crate) fn signature(&self) -> Signature {
        let beside = |folder| toml_files(&self.file.parent().unwrap_or(Path::new(".")).join(folder));
        let folders = [self.files(), beside("methods.d"), beside("plugins.d")];
        let about = |file: PathBuf| {
            let about = fs::metadata(&file).ok()?;
            Some((file, about.ino(), about.size(), (about.mtime(), about.mtime_nsec())))
        };
        Signature(folders.into_iter().flatten().flatten().filter_map(about).collect())
    }

    fn files(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let mut files = Vec::new();
        if self.required || self.file.exists() {
            files.push(self.file.clone());
        }
        let mut drop_ins = self.file.clone().into_os_string();
        drop_ins.push(".d");
        files.extend(toml_files(Path::new(&drop_ins))?);
        Ok(files)
    }

    /// The files of a folder beside the main file.
    fn beside(&self, folder: &str) -> Result<Vec<MapSource>, ConfigError> {
        let directory = self.file.parent().unwrap_or(Path::new(".")).join(folder);
        toml_files(&directory)?.iter().map(|file| read_map(file)).collect()
    }

    /// Each variable is tried alone on top of nothing, so that a mistake is told with the variable's name.
    fn add_environment(
        &self,
        mut builder: ConfigBuilder<DefaultState>,
    ) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
        for (name, value) in &self.environment {
            if !name.starts_with("NOWD__") {
                continue;
            }
            let source = Environment::with_prefix("NOWD")
                .prefix_separator("__")
                .separator("__")
                .source(Some([(name.clone(), value.clone())].into()));
            let alone = finish(config::Config::builder().add_source(source.clone())).map(drop);
            alone.or_else(complete).map_err(|e| ConfigError::Layer {
                origin: format!("environment {name}"),
                message: words(&e),
            })?;
            builder = builder.add_source(source);
        }
        Ok(builder)
    }

    fn add_command_line(
        &self,
        mut builder: ConfigBuilder<DefaultState>,
    ) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
        for (key, value) in &self.set {
            let error = |e: &config::ConfigError| ConfigError::Layer {
                origin: format!("--set {key}={value}"),
                message: words(e),
            };
            let alone = config::Config::builder().set_override(key.as_str(), value.as_str());
            let alone = finish(alone.map_err(|e| error(&e))?).map(drop);
            alone.or_else(complete).map_err(|e| error(&e))?;
            builder = builder.set_override(key.as_str(), value.as_str()).map_err(|e| error(&e))?;
        }
        Ok(builder)
    }
}

/// By itself on top of nothing first, so that a mistake is told as one of the component configuration.
fn add_document(
    builder: ConfigBuilder<DefaultState>,
    document: &Document,
) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
    let alone = finish(config::Config::builder().add_source(document.layer.clone())).map(drop);
    alone.or_else(complete).map_err(|e| ConfigError::Layer {
        origin: "component configuration, `nowd`".into(),
        message: shown(&words(&e)),
    })?;
    Ok(builder.add_source(document.layer.clone()))
}

fn finish(builder: ConfigBuilder<DefaultState>) -> Result<Config, config::ConfigError> {
    builder.build()?.try_deserialize()
}

/// A layer may give one key of a port whose others stand in another layer; the whole is judged in the end.
fn complete(error: config::ConfigError) -> Result<(), config::ConfigError> {
    if is_missing(&error.to_string()) { Ok(()) } else { Err(error) }
}

fn is_missing(message: &str) -> bool {
    message.starts_with("missing field") || message.starts_with("missing configuration field")
}

/// The crate's message on one line.
fn words(error: &config::ConfigError) -> String {
    let line = error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(", ");
    // The key that it is about is none of the names that there are.
    match line.rsplit_once(" for key `") {
        Some((what, key)) => format!("{} for key `{key}", plain(what)),
        None => plain(&line),
    }
}

/// One map, named as the user would name it.
pub(crate) fn read_map(file: &Path) -> Result<MapSource, ConfigError> {
    Ok(MapSource { text: read(file)?, file: file.display().to_string() })
}

fn read(file: &Path) -> Result<String, ConfigError> {
    let error = |source| ConfigError::Read { file: file.into(), source };
    let mut text = String::new();
    fs::File::open(file).map_err(error)?.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(error)?;
    if text.len() > usize::try_from(LARGEST_FILE).unwrap_or(usize::MAX) {
        return Err(error(std::io::Error::new(ErrorKind::FileTooLarge, "it is larger than 1 MiB")));
    }
    Ok(text)
}

/// A file by itself, for the sake of the place in the message.
fn check_file(file: &Path, text: &str) -> Result<(), ConfigError> {
    match toml::from_str::<Config>(text) {
        Ok(_) => Ok(()),
        Err(e) if is_missing(e.message()) => Ok(()),
        Err(e) => {
            let source = MapSource { file: file.display().to_string(), text: text.into() };
            Err(MapError::of_reader(&source, &e).into())
        }
    }
}

/// The `*.toml` files of a directory by name; none if there is no such directory.
fn toml_files(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let error = |source| ConfigError::Read { file: directory.into(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(error(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(error)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            // Opening a pipe would wait for ever, and with it every later reload; opening a device might do something to it.
            if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
                let source =
                    std::io::Error::new(ErrorKind::InvalidInput, "it is no regular file; take it away");
                return Err(ConfigError::Read { file: path, source });
            }
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
