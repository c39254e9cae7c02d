//! `nowd-cloud invoke`: a call over HTTPS, signed for API Gateway, and what became of it in words; or many, and how long they
//! took.
//!
//! Never sends a call again by itself, and says `not executed` only where that is sure.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use axum::body::Bytes;
use axum::http::HeaderValue;
use clap::Args;
use nowd_protocol::{Level, MAX_PAYLOAD_LEN, MAX_TIMEOUT_MS};
use serde_json::Value;

use self::client::{Client, Heard};
use self::place::Place;
use self::signer::Signer;
use super::{Exit, Failure};

mod answer;
mod client;
mod many;
mod place;
mod signer;
mod words;

/// The most calls of one `--count`.
const MOST_CALLS: u32 = 10_000;
/// The most calls a second: `--rate`.
const MOST_A_SECOND: u32 = 100;

#[derive(Args)]
pub(super) struct Invoke {
    /// Where the API is, with its stage if it has one, such as <https://a1b2c3.execute-api.eu-central-1.amazonaws.com/Prod>
    #[arg(value_name = "URL")]
    url: String,
    /// The gateway
    #[arg(long, value_name = "NAME")]
    target: Level,
    /// Its method
    #[arg(long, value_name = "NAME")]
    method: Level,
    /// The method's parameters: JSON, @FILE that holds it, or - for standard input
    #[arg(long, value_name = "JSON", default_value = "null", allow_hyphen_values = true)]
    request: String,
    /// It is executed within this time of its arrival at the API, or not at all
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// A name of this call (Idempotency-Key): repeated with it, it is still executed only once
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// Print the answer as it came
    #[arg(long)]
    json: bool,
    /// The profile in ~/.aws that holds the credentials
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The AWS region to sign for [default: as the host name says]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Do not sign: for `nowd-cloud serve`
    #[arg(long, conflicts_with_all = ["profile", "region"])]
    no_sign: bool,
    /// The authorities that may vouch for the server, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Make this many calls, each its own, and print how long they took
    #[arg(long, value_name = "N", conflicts_with = "key", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_CALLS)))]
    count: Option<u32>,
    /// Begin this many each second, whatever becomes of those before; what cannot begin in time is skipped
    #[arg(long, value_name = "N", requires = "count", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_A_SECOND)))]
    rate: Option<u32>,
}

pub(super) fn invoke(args: &Invoke) -> Result<Exit, Failure> {
    let usage = |error| Failure::new(Exit::Usage, error);
    let place = Place::new(&args.url, &args.target, &args.method).map_err(usage)?;
    let timeout = timeout_ms(args.timeout).map_err(usage)?;
    let region = region(args, &place).map_err(usage)?;
    let key = args.key.as_deref().map(key).transpose().map_err(usage)?;
    let from_file = if args.request.starts_with('@') { Exit::Config } else { Exit::Usage };
    let body = parameters(&args.request).map_err(|error| Failure::new(from_file, error))?;
    let tls = client::tls(args.ca.as_deref(), place.needs_tls())
        .map_err(|error| Failure::new(Exit::Config, error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start").map_err(|error| Failure::new(Exit::Internal, error))?;
    runtime.block_on(async {
        let signer = match region {
            Some(region) => Some(Signer::start(region, args.profile.as_deref()).await?),
            None => None,
        };
        let mut client = Client::new(&place, timeout, body, key, tls, signer)
            .map_err(|error| Failure::new(Exit::Internal, error))?;
        match args.count {
            Some(count) => many::many(&mut client, count, args.rate, args.json).await,
            None => one(&mut client, &place, args.json).await,
        }
    })
}

async fn one(client: &mut Client, place: &Place, json: bool) -> Result<Exit, Failure> {
    let request = client.request().await?;
    let heard = client.send(request).await;
    if let Heard { result: Err(lost), .. } = &heard
        && !lost.sent
    {
        return Err(Failure::new(Exit::Unreachable, anyhow!("{}; nothing was sent", lost.why)));
    }
    if json {
        words::say(&heard.json());
    } else {
        words::say(&words::lines(&heard, &place.calls()).join("\n"));
    }
    Ok(heard.exit())
}

/// Whole milliseconds, within what any server takes.
fn timeout_ms(timeout: Duration) -> anyhow::Result<u64> {
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    ensure!(
        (1..=MAX_TIMEOUT_MS).contains(&ms) && Duration::from_millis(ms) == timeout,
        "--timeout must be within 1ms and 1h, in whole milliseconds; most APIs allow 29s"
    );
    Ok(ms)
}

/// Which region to sign for; none if nothing is signed.
fn region(args: &Invoke, place: &Place) -> anyhow::Result<Option<String>> {
    if args.no_sign {
        return Ok(None);
    }
    if let Some(region) = &args.region {
        let plain = !region.is_empty() && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        ensure!(plain, "--region {region:?} is no AWS region, such as eu-central-1");
        return Ok(Some(region.clone()));
    }
    let region = nowd_cloud::aws::sign::region_of(place.host());
    region.map(Some).context("--region is missing (or --no-sign, for `nowd-cloud serve`)")
}

fn key(text: &str) -> anyhow::Result<HeaderValue> {
    let printable = (1..=255).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    ensure!(printable && text.trim() == text, "--key must be 1 to 255 printable ASCII characters");
    Ok(HeaderValue::from_str(text)?)
}

/// The parameters, which are JSON of a size that can be sent.
fn parameters(request: &str) -> anyhow::Result<Bytes> {
    let bytes = match request.strip_prefix('@') {
        Some(file) => {
            let file = Path::new(file);
            let opened = File::open(file).and_then(bounded);
            opened.with_context(|| format!("--request: {} cannot be read", file.display()))?
        }
        None if request == "-" => bounded(io::stdin()).context("--request: standard input cannot be read")?,
        None => request.as_bytes().to_vec(),
    };
    ensure!(
        bytes.len() <= MAX_PAYLOAD_LEN,
        "--request is above {MAX_PAYLOAD_LEN} bytes, the most that a gateway can be sent"
    );
    if let Err(error) = serde_json::from_slice::<Value>(&bytes) {
        bail!("--request is not JSON, such as '{{\"percent\":40}}': {error}");
    }
    Ok(bytes.into())
}

/// All of it, or one byte more than is allowed.
fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let most = u64::try_from(MAX_PAYLOAD_LEN).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
