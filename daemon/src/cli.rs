//! The command line: `nowd run`, `nowd check`, `nowd methods`, `nowd lock`, `nowd unlock`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nowd_plugin::{CancellationToken, Plugin};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::clock::WallClock;
use crate::config::{ConfigError, ConfigFiles, ConfigSource};
use crate::exit::Exit;
use crate::gateway::{Gateway, StartError};
use crate::journal::JournalError;
use crate::lockout::MAX_REASON;
use crate::log;
use crate::setup::{Setup, SetupError, plugins};

mod lock;

/// Where the configuration is unless said otherwise.
const DEFAULT_CONFIG: &str = "/etc/nowd/nowd.toml";

/// An edge gateway: commands run inside their deadline or never.
#[derive(Debug, Parser)]
#[command(
    name = "nowd",
    version,
    after_help = "Each key of nowd.toml can also be given as an environment variable, such as NOWD__LINK__ENDPOINT.\n\n\
                  Exit codes: 0 done, 64 wrong command line, 70 a bug, 74 a file of the state cannot be read or written,\n\
                  75 locked while calls may still run, 78 wrong configuration."
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
    Check(Source),
    /// List the methods on offer
    Methods {
        #[command(flatten)]
        source: Source,
        /// As JSON, with the schemas of the parameters
        #[arg(long)]
        json: bool,
    },
    /// Lock the gateway out: nothing starts until `nowd unlock`, also after a restart
    ///
    /// Waits until each daemon that lives has seen it and no call runs any more. It is not an emergency stop and not a
    /// substitute for switching off the energy.
    Lock {
        #[command(flatten)]
        source: Source,
        /// What callers are told
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// How long to wait for calls that run
        #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
        wait: Duration,
    },
    /// Let calls start again
    Unlock(Source),
}

#[derive(Debug, Args)]
struct Source {
    /// The configuration; `nowd.toml.d/` and `methods.d/` lie beside it [default: /etc/nowd/nowd.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key over all other layers, such as --set link.endpoint=broker:8883
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

/// The whole program, with `extra` plugins compiled in beside those that maps ask for.
#[must_use]
pub fn run(extra: Vec<Arc<dyn Plugin>>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no mistakes. Nothing can be done if even the message cannot be printed.
            let exit = if e.use_stderr() { Exit::Usage } else { Exit::Ok };
            drop(e.print());
            return exit.into();
        }
    };
    let result = match cli.command {
        Command::Run(source) => run_gateway(&source, extra),
        Command::Check(source) => check(&source, extra),
        Command::Methods { source, json } => methods(&source, extra, json),
        Command::Lock { source, reason, wait } => lock::lock(&source, &reason, wait),
        Command::Unlock(source) => lock::unlock(&source),
    };
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(Failure { message, exit }) => {
            say(&mut std::io::stderr(), &format!("nowd: {message}"));
            exit.into()
        }
    }
}

/// One sentence for people, and the exit code.
struct Failure {
    message: String,
    exit: Exit,
}

impl From<StartError> for Failure {
    fn from(e: StartError) -> Self {
        let exit = match &e {
            // A predecessor may still be on its way out: starting again helps.
            StartError::Journal(JournalError::File { .. } | JournalError::InUse(_)) => Exit::Io,
            StartError::Journal(JournalError::Foreign(_)) => Exit::Config,
            StartError::Thread(_) => Exit::Internal,
        };
        Self { message: e.to_string(), exit }
    }
}

impl From<SetupError> for Failure {
    fn from(e: SetupError) -> Self {
        Self { message: e.to_string(), exit: Exit::Config }
    }
}

impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Self {
        SetupError::from(e).into()
    }
}

fn internal(e: &std::io::Error) -> Failure {
    Failure { message: format!("cannot start: {e}"), exit: Exit::Internal }
}

fn run_gateway(source: &Source, extra: Vec<Arc<dyn Plugin>>) -> Result<(), Failure> {
    let files = source.load()?;
    let _lines = log::start(&files.config.log)?;
    let setup = Setup::new(&files, extra, WallClock::of_this_machine(files.config.clock))?;
    // One thread: what it does for a call takes microseconds, and the next hop is then a function call away.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| internal(&e))?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| internal(&e))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| internal(&e))?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            target = %setup.target(),
            endpoint = setup.endpoint(),
            methods = setup.registry.methods().count(),
            "starting"
        );
        let gateway = Gateway::new(setup)?;
        let mut running = std::pin::pin!(gateway.run(stop.clone()));
        loop {
            tokio::select! {
                () = &mut running => return Ok(()),
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                error!("asked to stop a second time: leaving at once");
                return Ok(());
            }
            stop.cancel();
        }
    });
    // A device whose opening hangs in the kernel holds a thread that cannot be waited for.
    runtime.shutdown_timeout(Duration::from_millis(50));
    ended
}

fn check(source: &Source, extra: Vec<Arc<dyn Plugin>>) -> Result<(), Failure> {
    let files = source.load()?;
    log::check(&files.config.log)?;
    let setup = Setup::new(&files, extra, WallClock::of_this_machine(files.config.clock))?;
    let (methods, maps, ports) =
        (setup.registry.methods().count(), files.maps.len(), files.config.ports.len());
    let text = format!(
        "ok: target {}, broker {}, {methods} methods from {maps} maps, {ports} ports",
        setup.target(),
        setup.endpoint()
    );
    say(&mut std::io::stdout(), &text);
    if files.maps.is_empty() {
        let directory = source.file().parent().unwrap_or(Path::new(".")).join("methods.d");
        say(&mut std::io::stdout(), &format!("note: there is no map: {}/*.toml", directory.display()));
    }
    for warning in warnings(&setup) {
        say(&mut std::io::stdout(), &format!("note: {warning}"));
    }
    Ok(())
}

/// What is allowed and yet may not be meant.
fn warnings(setup: &Setup) -> Vec<String> {
    let settings = &setup.settings;
    let nobody = |(name, method): (&String, &nowd_core::Method)| {
        let patterns = method.allow.as_ref().unwrap_or(&settings.access_default);
        (patterns.is_empty() && !method.internal)
            .then(|| format!("nobody may call {name:?}: it has no `allow`, and `[access] default` is empty"))
    };
    settings.methods.iter().filter_map(nobody).collect()
}

fn methods(source: &Source, extra: Vec<Arc<dyn Plugin>>, json: bool) -> Result<(), Failure> {
    let files = source.load()?;
    let (_, registry) = plugins(&files, extra)?;
    let mut out = std::io::stdout();
    if json {
        let list: Vec<_> = registry.methods().map(as_json).collect();
        say(&mut out, &serde_json::Value::Array(list).to_string());
        return Ok(());
    }
    let rows: Vec<[String; 4]> = registry
        .methods()
        .map(|method| {
            let params =
                method.params.iter().flat_map(nowd_plugin::params::Params::names).collect::<Vec<_>>();
            [method.name.clone(), params.join(" "), method.lane.name.clone(), method.origin.clone()]
        })
        .collect();
    for line in table(["METHOD", "PARAMS", "LANE", "DECLARED IN"], &rows) {
        say(&mut out, &line);
    }
    Ok(())
}

fn as_json(method: &nowd_plugin::Method) -> serde_json::Value {
    let policy = &method.policy;
    serde_json::json!({
        "name": method.name,
        "description": method.description,
        "params": method.params.as_ref().map(nowd_plugin::params::Params::schema),
        "lane": method.lane.name,
        "concurrency": method.lane.concurrency,
        "timeout_ms": policy.timeout.as_millis(),
        "max_timeout_ms": policy.max_timeout.as_millis(),
        "allow": policy.allow,
        "idempotent": policy.idempotent,
        "stop": policy.stop,
        "internal": policy.internal,
        "declared_in": method.origin,
    })
}

fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let head = head.map(str::to_owned);
    let mut widths = [0; N];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&head).chain(rows).map(line).collect()
}

impl Source {
    fn load(&self) -> Result<ConfigFiles, crate::config::ConfigError> {
        let source = self.layers();
        if !source.required && !source.file.exists() {
            let text =
                format!("nowd: {} is not there; name another file with --config", source.file.display());
            say(&mut std::io::stderr(), &text);
        }
        source.load()
    }

    fn layers(&self) -> ConfigSource {
        // Variables that are not UTF-8 cannot be ours.
        let environment = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        ConfigSource {
            file: self.file(),
            required: self.config.is_some(),
            environment,
            set: self.set.clone(),
        }
    }

    fn file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into())
    }
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_REASON || text.chars().any(char::is_control) {
        return Err(format!(
            "say in one line of at most {MAX_REASON} bytes why, for those whose calls are refused"
        ));
    }
    Ok(text.to_owned())
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// A reader that has gone away is no reason to fail.
fn say(out: &mut dyn Write, line: &str) {
    drop(writeln!(out, "{line}"));
}
