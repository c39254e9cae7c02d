//! The command line: `nowd run`, and what a person at the bench asks.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use nowd_link::TlsError;
use nowd_plugin::Plugin;
use nowd_plugin_serial::LoadError;

use self::client::{Client, Reach};
use crate::config::ConfigError;
use crate::exit::Exit;
use crate::gateway::StartError;
use crate::identity::IdentityError;
use crate::journal::JournalError;
use crate::lockout::check_reason;
use crate::log;
use crate::setup::SetupError;

mod ask;
mod audit;
mod call;
mod check;
mod client;
mod deployed;
mod deployment;
mod lock;
mod made_out;
pub(crate) mod methods;
mod plugin;
mod preview;
mod provision;
mod run;
mod schema;
mod source;
mod status;
mod watch;
pub(crate) mod words;

use source::Source;

/// An edge gateway: commands run inside their deadline or never.
#[derive(Debug, Parser)]
#[command(
    name = "nowd",
    version,
    after_help = "Each key of nowd.toml can also be given as an environment variable, such as NOWD__LINK__ENDPOINT.\n\n\
                  Exit codes: 0 done, 1 a plugin failed its test, the audit record is not sound, or the gateway has a problem, 3 the call was not executed,\n\
                  4 it may have been, 64 wrong command line,\n\
                  69 no gateway, plugin or service can be asked, 70 a bug, 74 a file of the state cannot be read or written, or certificate and key are half renewed,\n\
                  75 locked while calls may still run, or already for another reason, 77 it does not serve this user, or the service refuses, 78 wrong configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C
    Run(Source),
    /// Check configuration, maps, certificate and key without connecting to anything
    ///
    /// With maps named, says of each of their methods what it will send, and what the answers mean. On a core device, `--state-dir` names
    /// the component's work folder: what was deployed is checked with the rest.
    Check {
        #[command(flatten)]
        source: Source,
        /// Explain these maps or drop-ins; each need not lie in `methods.d/` or `plugins.d/` yet
        #[arg(value_name = "MAP")]
        maps: Vec<PathBuf>,
        /// A component configuration of Greengrass (JSON) before it is deployed, instead of what was deployed here; with NAME=FILE, that
        /// of a component of maps. What only the core can know is not asked for
        #[arg(long, value_name = "[NAME=]FILE", conflicts_with = "maps")]
        component_configuration: Vec<String>,
        /// For the `install` step of the Greengrass component: what is deployed, asked of the nucleus. Wrong three times, and then let
        /// pass
        #[arg(long, conflicts_with_all = ["maps", "component_configuration", "quiet"])]
        deployed: bool,
        /// Say nothing when all is right
        #[arg(long, short, conflicts_with = "maps")]
        quiet: bool,
    },
    /// Call a method of the gateway that runs on this machine
    ///
    /// For root and members of the group `nowd`; no other access rule holds, everything else does: deadline, schema, lockout,
    /// lanes. Exits with 0 if it was executed, 3 if it was not and will not be, 4 if it may have been.
    Call {
        #[command(flatten)]
        reach: Reach,
        /// The method, such as gate.open
        method: String,
        /// Its parameters as JSON, such as '{"percent":40}'
        #[arg(value_name = "PARAMS", default_value = "null")]
        params: String,
        /// How long it may take, such as 800ms [default: the method's own]
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "dry_run")]
        timeout: Option<Duration>,
        /// The call's id: the same call again, if it is one from before [default: a new one]
        #[arg(long, value_name = "UUID", conflicts_with = "dry_run")]
        id: Option<uuid::Uuid>,
        /// Print the reply as on the wire
        #[arg(long, conflicts_with = "dry_run")]
        json: bool,
        /// Only show what the call would write to its bus or port; asks no gateway
        #[arg(long)]
        dry_run: bool,
    },
    /// Say how the gateway that runs on this machine is
    Status {
        #[command(flatten)]
        reach: Reach,
        /// As JSON, with everything
        #[arg(long)]
        json: bool,
        /// For monitoring: print the problems only, and exit with 1 if there is one that somebody must mend
        #[arg(long, conflicts_with = "json")]
        check: bool,
    },
    /// Print the gateway's metrics in Prometheus' text format: what `metrics.file` would hold now
    Metrics(Reach),
    /// Print a line for each call as it ends, until Ctrl-C
    Watch {
        #[command(flatten)]
        reach: Reach,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Have the gateway read configuration and maps again: all or nothing
    Reload(Reach),
    /// Print a JSON Schema, for editors that complete and check TOML
    Schema {
        /// Of which files
        #[arg(value_enum)]
        of: schema::Of,
    },
    /// List the methods of maps and drop-ins, without asking the gateway
    Methods {
        #[command(flatten)]
        source: Source,
        /// As JSON, with the schemas of the parameters
        #[arg(long)]
        json: bool,
    },
    /// Lock the gateway out: nothing starts until `nowd unlock`, also after a restart
    ///
    /// Waits until each daemon that lives has seen it and no call runs any more. What is locked is the `state_dir` of the
    /// configuration, and the gateway on the bus if it has another; with --bus, that gateway and nothing else. A lockout for another
    /// reason stays as it is, and is told. It is not an emergency stop and not a substitute for switching off the energy.
    Lock {
        #[command(flatten)]
        reach: Reach,
        /// What callers are told
        #[arg(long, value_name = "TEXT", value_parser = check_reason)]
        reason: String,
        /// How long to wait for calls that run
        #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
        wait: Duration,
    },
    /// Let calls start again: what `nowd lock` has locked
    Unlock(Reach),
    /// The audit record: which calls there were, who asked, and what came of them
    #[command(subcommand)]
    Audit(audit::Command),
    /// Get this gateway a certificate of its own, by fleet provisioning with a claim (AWS IoT Core)
    ///
    /// By `[provisioning]` of the configuration. To be run by the user that the daemon runs as; a run that was cut off is taken up by the
    /// next. Exits with 69 where the service cannot be reached or asks to wait, with 77 where it refuses.
    Provision(provision::Provision),
    /// Plugins in processes of their own
    #[command(subcommand)]
    Plugin(plugin::Command),
}

/// The command line, for what makes the man pages and completions out of it (`daemon/package`).
#[doc(hidden)]
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The whole program, with `extra` plugins compiled in beside those that maps ask for.
#[must_use]
pub fn run(extra: Vec<Arc<dyn Plugin>>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no mistakes. Nothing can be done if even the message cannot be printed.
            let exit = if e.use_stderr() { Exit::Usage } else { Exit::Ok };
            if e.use_stderr() && log::is_journal(&std::io::stderr()) {
                say(&mut std::io::stderr(), &for_journal(e.to_string().trim_end(), true));
            } else {
                drop(e.print());
            }
            return exit.into();
        }
    };
    let result = match cli.command {
        Command::Run(source) => run::run(&source, extra),
        Command::Check { source, deployed: true, .. } => deployed::check(&source, &extra),
        Command::Check { source, component_configuration: files, quiet, .. } if !files.is_empty() => {
            deployment::check(&source, &extra, &files, quiet)
        }
        Command::Check { source, maps, quiet, .. } if maps.is_empty() => {
            check::check(&source.or_here(), extra, quiet)
        }
        Command::Check { source, maps, .. } => check::explain(&source, extra, &maps),
        Command::Call { reach, method, params, dry_run: true, .. } => {
            preview::preview(&reach.source.or_here(), extra, &method, &params)
        }
        Command::Call { reach, method, params, timeout, id, json, dry_run: false } => {
            let what = call::What { method: &method, params: &params, timeout, id, json };
            return end(call::call(&reach, &what));
        }
        Command::Status { reach, check: true, .. } => return end(status::check(&reach)),
        Command::Status { reach, json, check: false } => status::status(&reach, json),
        Command::Metrics(reach) => metrics(&reach),
        Command::Watch { reach, json } => watch::watch(&reach, json),
        Command::Reload(reach) => reload(&reach),
        Command::Schema { of } => {
            schema::print(of);
            Ok(())
        }
        Command::Methods { source, json } => methods::list(&source.or_here(), extra, json),
        Command::Lock { reach, reason, wait } => lock::lock(&reach, &reason, wait),
        Command::Unlock(reach) => lock::unlock(&reach),
        Command::Audit(command) => return end(audit::run(command)),
        Command::Provision(provision) => provision::run(&provision),
        Command::Plugin(command) => plugin::run(command, &extra),
    };
    end(result.map(|()| Exit::Ok))
}

fn end(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(Failure { message, exit }) => {
            say(
                &mut std::io::stderr(),
                &for_journal(&format!("nowd: {message}"), log::is_journal(&std::io::stderr())),
            );
            exit.into()
        }
    }
}

/// One sentence for people (and the line of a file that it is about), and the exit code.
struct Failure {
    message: String,
    exit: Exit,
}

impl From<StartError> for Failure {
    fn from(e: StartError) -> Self {
        let exit = match &e {
            // A predecessor may still be on its way out: starting again helps.
            StartError::Journal(e) => exit_of_journal(e),
            StartError::Thread(_) => Exit::Internal,
        };
        Self { message: e.to_string(), exit }
    }
}

impl From<SetupError> for Failure {
    fn from(e: SetupError) -> Self {
        let excerpt = excerpt(&e).map(|excerpt| format!("\n{excerpt}")).unwrap_or_default();
        Self { message: format!("{e}{excerpt}"), exit: exit_of(&e) }
    }
}

/// What a renewal leaves for a moment, and a disk that has a bad one, are no mistakes: starting again helps, and must not be
/// forbidden to a supervisor. What is not there, or may not be read, somebody must mend.
fn exit_of(e: &SetupError) -> Exit {
    match e {
        SetupError::Tls(
            TlsError::Mismatch { .. }
            | TlsError::NotPem { .. }
            | TlsError::NoCertificate { .. }
            | TlsError::NoKey { .. }
            | TlsError::Read { .. },
        ) => Exit::Io,
        SetupError::Identity(e) => match &**e {
            IdentityError::Io { source, .. }
                if !matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) =>
            {
                Exit::Io
            }
            IdentityError::Io { .. }
            | IdentityError::Damaged { .. }
            | IdentityError::Misnamed { .. }
            | IdentityError::Other { .. } => Exit::Config,
        },
        SetupError::Journal(e) => exit_of_journal(e),
        SetupError::Tls(_)
        | SetupError::Config(_)
        | SetupError::Map(_)
        | SetupError::Serial(_)
        | SetupError::Registry(_) => Exit::Config,
    }
}

const fn exit_of_journal(e: &JournalError) -> Exit {
    match e {
        JournalError::File { .. } | JournalError::InUse(_) => Exit::Io,
        JournalError::Foreign(_) => Exit::Config,
    }
}

impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Self {
        SetupError::from(e).into()
    }
}

/// The line of the file that a mistake is about.
pub(crate) fn excerpt(e: &SetupError) -> Option<String> {
    match e {
        SetupError::Map(e)
        | SetupError::Serial(LoadError::Map(e))
        | SetupError::Config(ConfigError::File(e)) => e.excerpt(),
        SetupError::Registry(e) => e.excerpt(),
        SetupError::Config(_)
        | SetupError::Serial(_)
        | SetupError::Tls(_)
        | SetupError::Identity(_)
        | SetupError::Journal(_) => None,
    }
}

fn internal(e: &std::io::Error) -> Failure {
    Failure { message: format!("cannot start: {e}"), exit: Exit::Internal }
}

fn metrics(reach: &Reach) -> Result<(), Failure> {
    let text = Client::connect(reach)?.metrics()?;
    say(&mut std::io::stdout(), text.trim_end());
    Ok(())
}

fn reload(reach: &Reach) -> Result<(), Failure> {
    let told = Client::connect(reach)?.reload().map_err(|Failure { message, exit }| {
        let what = if exit == Exit::Config { "nothing was changed: " } else { "" };
        Failure { message: format!("{what}{message}"), exit }
    })?;
    say(&mut std::io::stdout(), &told);
    Ok(())
}

/// What systemd takes from standard error into the journal is at level info unless it says otherwise, line by line: as an error,
/// `journalctl -p err` shows it.
fn for_journal(text: &str, is_journal: bool) -> String {
    if !is_journal {
        return text.to_owned();
    }
    text.lines().map(|line| format!("<3>{line}")).collect::<Vec<_>>().join("\n")
}

/// A reader that has gone away is no reason to fail.
fn say(out: &mut dyn Write, line: &str) {
    drop(writeln!(out, "{line}"));
}
