//! From the configuration to all that provisioning needs. Reads files, and connects to nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nowd_link::{DatePolicy, Options, Tls, TlsError, TlsFiles};
use nowd_protocol::{Level, Uuid};

use crate::clock::WallClock;
use crate::config::{ConfigError, ConfigFiles, Parameter, ProvisioningConfig};
use crate::identity::{Found, Identity, IdentityError, Pending, Store};
use crate::setup::{dates, split_endpoint};

/// The largest file of a parameter, in bytes.
const LARGEST_PARAMETER: u64 = 4_096;
/// AWS IoT Core's longest name of a template.
const LONGEST_TEMPLATE: usize = 36;

/// All that provisioning needs.
pub(crate) struct Plan {
    pub(crate) store: Store,
    /// As the identity will say it.
    pub(super) endpoint: String,
    pub(super) template: String,
    pub(super) parameters: BTreeMap<String, String>,
    /// How to connect by the claim.
    pub(super) claim: Options,
    /// How to connect as the thing, but for name and certificate.
    pub(super) link: Options,
    pub(super) client_id: Option<String>,
    /// The name that the configuration gives this gateway.
    pub(super) target: Option<Level>,
    ca: Option<PathBuf>,
    dates: DatePolicy,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Plan {
    /// By the claim, or, where none is configured, by the identity that there `is`.
    pub(crate) fn new(
        files: &ConfigFiles,
        is: Option<&Identity>,
        clock: &WallClock,
    ) -> Result<Self, PlanError> {
        let (config, own) = (&files.config, &files.config.provisioning);
        if !config.link.tls {
            let message = "is false: an identity is for TLS".into();
            return Err(ConfigError::Value { key: "link.tls", message }.into());
        }
        let hint = "set `template = \"<name>\"` under [provisioning] in nowd.toml";
        let template = own.template.clone().ok_or(missing("provisioning.template", hint))?;
        let is_name = template.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if template.is_empty() || template.len() > LONGEST_TEMPLATE || !is_name {
            let message = "must be 1 to 36 letters, digits, `_` and `-`".into();
            return Err(ConfigError::Value { key: "provisioning.template", message }.into());
        }
        let hint = "set `endpoint = \"host:8883\"` under [provisioning] or [link] in nowd.toml";
        let endpoint = own.endpoint.clone().or_else(|| config.link.endpoint.clone());
        let endpoint = endpoint.ok_or(missing("provisioning.endpoint", hint))?;
        let (host, port) = split_endpoint("provisioning.endpoint", &endpoint)?;
        let store = Store::of(&config.state_dir);
        let dates = dates(clock);
        // Where the daemon will connect: an endpoint that comes from the identity goes with it.
        let of_link = match &files.identity {
            Found::Used(used) if used.endpoint => None,
            Found::Nothing | Found::Used(_) | Found::Unusable(_) => config.link.endpoint.as_deref(),
        };
        let (link_host, link_port) = of_link
            .map_or_else(|| Ok((host.clone(), port)), |of_link| split_endpoint("link.endpoint", of_link))?;
        let (files_of_claim, client_id) = claim(own, config.link.ca.as_ref(), is, &store)?;
        let client_id = own.client_id.clone().unwrap_or(client_id);
        let mut claim = Options::new(client_id, host, port);
        claim.tls = Some(Arc::new(Tls::load(&files_of_claim, dates.clone())?));
        let mut link = Options::new("", link_host, link_port);
        link.user_timeout = config.link.silence;
        Ok(Self {
            store,
            endpoint,
            template,
            parameters: parameters(own)?,
            claim,
            link,
            client_id: config.link.client_id.clone(),
            target: configured_name(files).cloned(),
            ca: config.link.ca.clone().or_else(|| own.ca.clone()),
            dates,
        })
    }

    /// What is pending, if it is for this template, these parameters and this endpoint; else its certificate will not be used.
    pub(super) fn fitting(&self, mut pending: Pending) -> Pending {
        let parameters = digest(&self.parameters);
        if pending.template != self.template
            || pending.endpoint != self.endpoint
            || pending.parameters != parameters
        {
            pending.give_up(|_| true);
            pending.parameters = parameters;
            pending.template.clone_from(&self.template);
            pending.endpoint.clone_from(&self.endpoint);
        }
        pending
    }

    /// Begins a renewal, or takes up one that was cut off, unless the broker did not let it in. What else an earlier run has
    /// begun is not taken up: its certificate will not be used. Says whether one is taken up.
    pub(crate) fn begin_renewal(&self) -> Result<bool, IdentityError> {
        let (mut pending, _) = self.store.pending()?;
        if pending.renew && !pending.refused {
            return Ok(true);
        }
        // The key first: one that is left over when this is cut off in between would be taken for the renewal's.
        self.store.forget_pending_key()?;
        pending.give_up(|_| true);
        pending.renew = true;
        self.store.write_pending(&pending)?;
        Ok(false)
    }

    /// The certificate with its key, ready for a connection.
    pub(super) fn load(&self, certificate_id: &str) -> Result<Tls, TlsError> {
        Tls::load(&self.store.files(certificate_id, self.ca.clone()), self.dates.clone())
    }

    /// Whether an identity can be used and its time is not over.
    pub(crate) fn is_sound(
        identity: &Identity,
        files: &ConfigFiles,
        clock: &WallClock,
    ) -> Result<String, String> {
        let config = &files.config;
        let of_identity = Store::of(&config.state_dir).files(
            &identity.certificate_id,
            config.link.ca.clone().or_else(|| config.provisioning.ca.clone()),
        );
        let tls = Tls::load(&of_identity, dates(clock)).map_err(|e| e.to_string())?;
        let facts = tls.certificate().ok_or_else(|| "its certificate cannot be read".to_owned())?;
        let until = crate::identity::date(facts.not_after);
        let now_s = i64::try_from(clock.now_ms() / 1_000).unwrap_or(i64::MAX);
        if clock.is_set() && now_s > facts.not_after {
            return Err(format!("its certificate has ended, at {until}"));
        }
        Ok(until)
    }
}

/// The name that the configuration gives this gateway, if not the identity does.
pub(crate) fn configured_name(files: &ConfigFiles) -> Option<&Level> {
    match &files.identity {
        Found::Used(used) if used.target => None,
        _ if files.of_nucleus.target => None,
        Found::Nothing | Found::Used(_) | Found::Unusable(_) => files.config.target.as_ref(),
    }
}

/// Only to see whether they have changed: what identifies a device is nobody's business who reads the file.
fn digest(parameters: &BTreeMap<String, String>) -> String {
    let text = serde_json::json!(parameters).to_string();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()
}

/// Certificate and key to ask with, and the client id that goes with them.
fn claim(
    own: &ProvisioningConfig,
    ca: Option<&PathBuf>,
    is: Option<&Identity>,
    store: &Store,
) -> Result<(TlsFiles, String), ConfigError> {
    let ca = own.ca.clone().or_else(|| ca.cloned());
    match (own.certificate.clone(), own.key.clone(), is) {
        // A claim that was taken away from the device once it was not needed any more.
        (Some(certificate), Some(_), Some(identity)) if !certificate.exists() => {
            Ok(own_claim(identity, store, ca))
        }
        (Some(certificate), Some(key), _) => {
            Ok((TlsFiles { ca, certificate, key }, format!("nowd-claim-{}", Uuid::new_v4().simple())))
        }
        (None, None, Some(identity)) => Ok(own_claim(identity, store, ca)),
        (Some(_), None, _) => {
            Err(missing("provisioning.key", "set the file of the claim certificate's private key"))
        }
        (None, _, _) => Err(missing("provisioning.certificate", "set the file of the claim certificate")),
    }
}

fn own_claim(identity: &Identity, store: &Store, ca: Option<PathBuf>) -> (TlsFiles, String) {
    (store.files(&identity.certificate_id, ca), identity.target.as_str().to_owned())
}

fn parameters(own: &ProvisioningConfig) -> Result<BTreeMap<String, String>, ConfigError> {
    let value = |parameter: &Parameter| match parameter {
        Parameter::Text(text) => Ok(text.clone()),
        Parameter::File(from) => text_of(&from.file),
        Parameter::Variable(from) => text_of_variable(&from.env),
    };
    own.parameters.iter().map(|(name, parameter)| Ok((name.clone(), value(parameter)?))).collect()
}

/// Device trees end a text with a NUL, and files end it with a line's end.
fn text_of(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { file: path.to_owned(), source };
    // Links are followed, as for each file that the configuration names; what could block is not opened.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(Error::new(ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(LARGEST_PARAMETER + 1).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= 4_096);
    let wrong = || ConfigError::Value {
        key: "provisioning.parameters",
        message: format!("{} holds no line of text, of 4,096 bytes at most", path.display()),
    };
    text.as_deref().and_then(line).ok_or_else(wrong)
}

fn text_of_variable(name: &str) -> Result<String, ConfigError> {
    let text = std::env::var(name).ok().filter(|text| text.len() <= 4_096);
    let wrong = || ConfigError::Value {
        key: "provisioning.parameters",
        message: format!(
            "the environment's {name} is not set, or holds no line of text of 4,096 bytes at most"
        ),
    };
    text.as_deref().and_then(line).ok_or_else(wrong)
}

/// Without what is white or NUL at its ends, if that is one line.
fn line(text: &str) -> Option<String> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

const fn missing(key: &'static str, hint: &'static str) -> ConfigError {
    ConfigError::Missing { key, hint }
}
