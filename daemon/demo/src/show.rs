//! Calls as anybody would make them, and what is said about them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use ureq::Agent;

use crate::slow_link;

/// A line on standard output; a reader that has gone away is no reason to fail.
macro_rules! say {
    ($($line:tt)*) => { drop(writeln!(std::io::stdout(), $($line)*)) };
}

/// How often a gateway that is just connecting is asked, and how long is waited in between.
const ASKED: u32 = 200;
const PAUSE: Duration = Duration::from_millis(25);

/// A call and what must come of it.
struct Shown {
    title: &'static str,
    target: &'static str,
    method: &'static str,
    timeout_ms: u64,
    body: &'static str,
    http: u16,
    status: &'static str,
}

const CALLS: &[Shown] = &[
    Shown {
        title: "a D-Bus method: the left window moves, and says when it is there",
        target: "vehicle-1",
        method: "window.set",
        timeout_ms: 2_000,
        body: r#"{"percent":40}"#,
        http: 200,
        status: "ok",
    },
    Shown {
        title: "a serial method: the alarm panel",
        target: "vehicle-1",
        method: "alarm.arm",
        timeout_ms: 800,
        body: r#"{"zone":3}"#,
        http: 200,
        status: "ok",
    },
    Shown {
        title: "a simulated device: it answers with what it was asked",
        target: "vehicle-1",
        method: "echo",
        timeout_ms: 800,
        body: r#"{"hello":"now"}"#,
        http: 200,
        status: "ok",
    },
    Shown {
        title: "too late on arrival: 40 ms to live, and the slow line takes 50 ms; it is dropped, and said to be dropped",
        target: "vehicle-2",
        method: "echo",
        timeout_ms: 40,
        body: "{}",
        http: 503,
        status: "expired",
    },
    Shown {
        title: "no answer in time: the panel was asked and said nothing, so it may have acted",
        target: "vehicle-1",
        method: "alarm.hang",
        timeout_ms: 300,
        body: "{}",
        http: 504,
        status: "timeout",
    },
    Shown {
        title: "an unknown method",
        target: "vehicle-1",
        method: "window.paint",
        timeout_ms: 800,
        body: "{}",
        http: 404,
        status: "unknown_method",
    },
    Shown {
        title: "a gateway that is not connected: nothing was sent",
        target: "vehicle-9",
        method: "echo",
        timeout_ms: 800,
        body: "{}",
        http: 503,
        status: "offline",
    },
];

/// What runs where.
pub(crate) fn intro(broker: SocketAddr, http: SocketAddr, bus: &str, folder: &Path) {
    say!("nowd, now or never: the whole system on this machine\n");
    say!("  MQTT broker   {broker} (embedded)");
    say!(
        "  gateways      vehicle-1, and vehicle-2 at the end of a line that takes {} ms each way",
        slow_link::DELAY.as_millis()
    );
    say!("  vehicle       on the D-Bus {bus}");
    say!("  HTTP          http://{http}");
    say!("  configured in {}\n", folder.display());
}

/// Makes each call and checks that it ends as it must.
pub(crate) fn calls(http: SocketAddr) -> anyhow::Result<()> {
    let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
    for target in ["vehicle-1", "vehicle-2"] {
        ready(&agent, http, target)?;
    }
    for shown in CALLS {
        show(&agent, http, shown)?;
    }
    Ok(())
}

/// A gateway needs a moment to connect. The first call also tells the HTTP side the gateway's clock.
fn ready(agent: &Agent, http: SocketAddr, target: &str) -> anyhow::Result<()> {
    let mut last = String::new();
    for _ in 0..ASKED {
        let url = format!("http://{http}/things/{target}/methods/echo?timeout=2000");
        let mut response = agent.post(&url).send("{}").context("the HTTP side does not answer")?;
        if response.status() == 200 {
            return Ok(());
        }
        last = response.body_mut().read_to_string()?;
        std::thread::sleep(PAUSE);
    }
    anyhow::bail!("{target} did not come up: {last}")
}

fn show(agent: &Agent, http: SocketAddr, shown: &Shown) -> anyhow::Result<()> {
    let Shown { title, target, method, timeout_ms, body, .. } = shown;
    let path = format!("/things/{target}/methods/{method}?timeout={timeout_ms}");
    say!("{title}\n  > POST {path}  {body}");
    let mut response = agent.post(format!("http://{http}{path}")).send(*body)?;
    let code = response.status().as_u16();
    let timing =
        response.headers().get("server-timing").and_then(|t| t.to_str().ok()).unwrap_or("").to_owned();
    let text = response.body_mut().read_to_string()?;
    let answer: Value = serde_json::from_str(&text).context("the answer is not JSON")?;
    say!("  < {code} {}", summary(&answer));
    say!("    {}\n", milliseconds(&timing));
    ensure!(
        (code, status(&answer)) == (shown.http, shown.status),
        "expected {} {}, and the answer is {code} {text}",
        shown.http,
        shown.status
    );
    Ok(())
}

/// The status: a problem has it as `code`, since its `status` is HTTP's number.
fn status(answer: &Value) -> &str {
    let word = |name: &str| answer.get(name).and_then(Value::as_str);
    word("code").or_else(|| word("status")).unwrap_or_default()
}

/// The answer without its id.
fn summary(answer: &Value) -> String {
    let field = |name: &str| answer.get(name).filter(|value| !value.is_null());
    let word = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut text = format!("{} ({})", status(answer), word("outcome"));
    if let Some(response) = field("response") {
        text = format!("{text}  {response}");
    }
    if let Some(message) = field("error").and_then(|error| error.get("message")).and_then(Value::as_str) {
        text = format!("{text}  {message}");
    }
    text
}

/// `total;dur=3.1, plugin;dur=2.0` in words.
fn milliseconds(server_timing: &str) -> String {
    let phases = server_timing.split(", ").filter_map(|phase| phase.split_once(";dur="));
    phases.map(|(name, ms)| format!("{name} {ms} ms")).collect::<Vec<_>>().join(", ")
}

/// One sentence on what went wrong.
#[expect(clippy::print_stderr, reason = "the last word is for the person who started it")]
pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("the demo failed: {error:#}");
}

/// Lines to try.
pub(crate) fn goodbye(http: SocketAddr, folder: &Path) {
    say!("It stays up. Try:\n");
    for shown in CALLS {
        let Shown { target, method, timeout_ms, body, .. } = shown;
        say!("  curl -i 'http://{http}/things/{target}/methods/{method}?timeout={timeout_ms}' -d '{body}'");
    }
    say!(
        "\n  curl 'http://{http}/invoke?target=vehicle-1&method=echo&request=open&timeout=2'   # the public sample's form"
    );
    let config = format!("--config {}/vehicle-1/nowd.toml", folder.display());
    say!("\nAnd at the bench, on the bus of vehicle-1:\n");
    for command in ["status", "watch", "call window.set '{\"percent\":10}' --timeout 2s"] {
        say!("  cargo run --release -p nowd -- {command} {config}");
    }
    say!("\nCtrl-C ends it.");
}
