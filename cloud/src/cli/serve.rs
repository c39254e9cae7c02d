//! `nowd-cloud serve`: the HTTP interface on this machine, without authentication.

use std::io::IsTerminal as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::Extension;
use axum::serve::ListenerExt as _;
use clap::Args;
use nowd_cloud::{
    Access, Background, Caller, Config, Host, Invoker, Policy, Record, RouterOptions, Unannounced, guard,
    router,
};
use nowd_link::{DatePolicy, Options, Tls, TlsFiles};
use nowd_protocol::{Level, MAX_CALLER_LEN, MAX_TIMEOUT_MS};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;

use super::{Exit, Failure};

mod records;

use records::Records;

#[derive(Args)]
pub(super) struct Serve {
    /// Where to listen for HTTP requests
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Allow --listen on an address that others can reach: everybody there may call every method
    #[arg(long)]
    allow_remote: bool,
    /// The MQTT broker
    #[arg(long, value_name = "HOST:PORT", value_parser = endpoint)]
    endpoint: (String, u16),
    /// The authorities that may vouch for the broker, PEM; turns TLS on [default with --cert: the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// This side's certificate, PEM; turns TLS on
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The beginning of the return address and MQTT client id
    #[arg(long, value_name = "NAME", default_value = "nowd-cloud")]
    client: Level,
    /// The budget of a call that names none
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    default_timeout: Duration,
    /// The largest budget that a call may name
    #[arg(long, value_name = "DURATION", default_value = "29s", value_parser = humantime::parse_duration)]
    max_timeout: Duration,
    /// Offer the public sample's GET /invoke too
    #[arg(long)]
    compat: bool,
    /// Let callers do only what this policy file allows
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Call gateways of these names though they have announced nothing, `*` standing for any characters: for those behind a nucleus
    /// of Greengrass that keeps no presence [default: nobody]
    #[arg(long, value_name = "PATTERN")]
    unannounced: Option<String>,
    /// Take this for who asks, in every request: for trying a policy [default: nobody is known]
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// What to log to standard error: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LevelFilter,
}

fn endpoint(text: &str) -> Result<(String, u16), &'static str> {
    let wrong = "expected HOST:PORT, such as localhost:1883 or [::1]:1883";
    let (host, port) = text.rsplit_once(':').ok_or(wrong)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or(wrong)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or(wrong)?,
        None if host.contains(':') => return Err(wrong),
        None => host,
    };
    if host.is_empty() { Err(wrong) } else { Ok((host.to_owned(), port)) }
}

pub(super) fn serve(serve: Serve) -> Result<Exit, Failure> {
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_max_level(serve.log)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .init();
    let (config, mut options) = settings(&serve)?;
    let (recorder, records) = records::deferred(records::MOST, Arc::new(log));
    options.recorder = Some(recorder);
    let (invoker, background) = Invoker::new(config).map_err(usage)?;
    // One thread: a call goes from HTTP to MQTT and back, and nobody has to be woken for that (docs/PERFORMANCE.md).
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start").map_err(failed)?;
    runtime.block_on(run(serve, invoker, background, options, records)).map_err(failed)?;
    Ok(Exit::Ok)
}

fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Usage, error)
}

fn failed(error: anyhow::Error) -> Failure {
    Failure::new(Exit::Failed, error)
}

/// Everything that can be judged before anything runs.
fn settings(serve: &Serve) -> Result<(Config, RouterOptions), Failure> {
    check(serve).map_err(usage)?;
    let config_error = |error| Failure::new(Exit::Config, error);
    let (host, port) = &serve.endpoint;
    // The client id is the invoker's to choose.
    let mut link = Options::new(serve.client.as_str(), host, *port);
    link.tls = tls(serve).map_err(config_error)?.map(Arc::new);
    let access = match &serve.policy {
        Some(file) => {
            let policy = Policy::load(file).map_err(|error| config_error(error.into()))?;
            warn(file, &policy, serve.caller.is_some());
            Access::Policy(policy)
        }
        None => Access::Everybody,
    };
    let unannounced = serve.unannounced.as_deref().map_or_else(Unannounced::default, Unannounced::like);
    let config = Config { unannounced, ..Config::new(link, serve.client.clone()) };
    let options = RouterOptions {
        default_timeout: serve.default_timeout,
        max_timeout: serve.max_timeout,
        compat: serve.compat,
        access,
        ..RouterOptions::default()
    };
    Ok((config, options))
}

/// Says of a policy that refuses everybody that it does.
fn warn(file: &Path, policy: &Policy, caller_is_known: bool) {
    let file = file.display();
    if policy.is_empty() {
        tracing::warn!(%file, "the policy has no [[allow]] table: everybody is refused; write one to allow something");
    }
    if !caller_is_known {
        tracing::warn!(%file, "with --policy and without --caller everybody is refused; say with --caller who asks");
    }
}

/// One line for each request that asked something of a gateway. Its error is left out: the sentence may quote what was asked.
fn log(record: &Record) {
    let timing = &record.timing;
    let ms = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1_000.0);
    tracing::info!(
        id = %record.id,
        target = record.target.as_ref().map(Level::as_str),
        method = record.method.as_ref().map(Level::as_str),
        caller = record.caller,
        status = record.status.as_str(),
        outcome = record.outcome.as_str(),
        http = record.http,
        total_ms = %ms(timing.total),
        attempts = record.attempts,
        traceparent = record.traceparent,
        "answered a request"
    );
}

fn check(serve: &Serve) -> anyhow::Result<()> {
    ensure!(
        serve.allow_remote || serve.listen.ip().is_loopback(),
        "--listen {} can be reached from other machines, and this server has no authentication: everybody there could \
         call every method; listen on 127.0.0.1, or say --allow-remote",
        serve.listen
    );
    let longest = Duration::from_millis(MAX_TIMEOUT_MS);
    ensure!(
        (Duration::from_millis(1)..=longest).contains(&serve.max_timeout),
        "--max-timeout must be within 1ms and 1h"
    );
    ensure!(
        (Duration::from_millis(1)..=serve.max_timeout).contains(&serve.default_timeout),
        "--default-timeout must be within 1ms and --max-timeout"
    );
    ensure!(
        serve.caller.as_ref().is_none_or(|caller| !caller.is_empty() && caller.len() <= MAX_CALLER_LEN),
        "--caller must be 1 to {MAX_CALLER_LEN} bytes"
    );
    ensure!(
        serve.unannounced.as_ref().is_none_or(|pattern| Level::new(pattern.replace('*', "x")).is_ok()),
        "--unannounced must be a name of a gateway in which `*` stands for any characters"
    );
    let (host, port) = &serve.endpoint;
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    ensure!(
        here || serve.ca.is_some() || serve.cert.is_some(),
        "--endpoint {host}:{port} is on another machine and needs TLS: give --ca, or --cert and --key, or both"
    );
    Ok(())
}

fn tls(serve: &Serve) -> anyhow::Result<Option<Tls>> {
    let tls = match (&serve.cert, &serve.key) {
        (Some(certificate), Some(key)) => {
            let files = TlsFiles { ca: serve.ca.clone(), certificate: certificate.clone(), key: key.clone() };
            Tls::load(&files, DatePolicy::Judge)?
        }
        _ if serve.ca.is_some() => Tls::anonymous(serve.ca.as_deref(), DatePolicy::Judge)?,
        _ => return Ok(None),
    };
    Ok(Some(tls))
}

async fn run(
    serve: Serve,
    invoker: Invoker,
    background: Background,
    options: RouterOptions,
    records: Records,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let listener = TcpListener::bind(serve.listen)
        .await
        .with_context(|| format!("cannot listen on {}; is something else listening there?", serve.listen))?;
    tracing::info!(address = %listener.local_addr()?, client = %invoker.client(), "listening for HTTP requests");
    let host = if serve.allow_remote { Host::Any } else { Host::Loopback };
    let longest =
        if options.compat { Duration::from_secs(60) } else { Duration::ZERO }.max(options.max_timeout);
    let mut app = router(invoker, options);
    if let Some(caller) = serve.caller {
        app = app.layer(Extension(Caller(caller)));
    }
    let app = guard(app, host);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small answers may be held back");
        }
    });

    let (stop_http, stop_calls) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(background.run(stop_calls.clone()));
    let (stop_records, mut writers) = (CancellationToken::new(), tokio::task::JoinSet::new());
    writers.spawn(records.write(stop_records.clone()));
    let server = axum::serve(listener, app).with_graceful_shutdown(stop_http.clone().cancelled_owned());
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        ended = &mut server => ended.context("the HTTP server ended")?,
        _ = tasks.join_next() => bail!("the work behind the calls ended, which is a bug"),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    stop_http.cancel();
    // Calls end by their deadlines; a client that never finishes its request is not waited for longer than that, and a
    // second signal waits for nobody.
    tokio::select! {
        ended = &mut server => ended.context("the HTTP server ended")?,
        () = tokio::time::sleep(longest) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop_calls.cancel();
    while tasks.join_next().await.is_some() {}
    stop_records.cancel();
    while writers.join_next().await.is_some() {}
    Ok(())
}
