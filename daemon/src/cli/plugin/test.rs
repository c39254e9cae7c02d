//! `nowd plugin test`: does a plugin keep the contract? The checks themselves are in `nowd_plugin::service::conformance`.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use clap::Args;
use nowd_plugin::bus::BusAddress;
use nowd_plugin::service::conformance::{self, Check, Level, Options, Program, Unreachable, Verdict};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Failure, internal, say};
use crate::exit::Exit;

#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    /// The plugin's name on the bus, such as com.example.Gate
    name: String,
    /// Its object [default: the name with slashes, such as /com/example/Gate]
    #[arg(long)]
    path: Option<String>,
    /// system, session or an address such as unix:path=/run/gate/bus [default: system; with a program to start, a bus of the
    /// test's own]
    #[arg(long, value_name = "ADDRESS")]
    bus: Option<BusAddress>,
    /// A call that may really be run, some ten times, such as 'gate.open {"percent":40}'; may be repeated
    #[arg(long, value_name = "METHOD PARAMS", value_parser = call)]
    call: Vec<(String, Value)>,
    /// The plugin may be frozen and killed; this command of the shell starts it again
    #[arg(long, value_name = "COMMAND", conflicts_with = "program")]
    restart: Option<OsString>,
    /// Leave a check out, such as wrong-params; may be repeated
    #[arg(long, value_name = "CHECK", value_parser = check)]
    skip: Vec<String>,
    /// How long an answer may take that needs no work
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    answer_within: Duration,
    /// Print an array of the findings as JSON
    #[arg(long)]
    json: bool,
    /// The plugin itself, to be started, frozen, killed and ended by the test
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub(super) fn run(test: Test) -> Result<(), Failure> {
    let json = test.json;
    let options = test.options();
    if !json {
        introduce(&options);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| internal(&e))?;
    let report = runtime.block_on(async {
        let testing = conformance::run(&options, |finding| {
            if !json {
                say(&mut io::stdout(), &finding.to_string());
            }
        });
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| internal(&e))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| internal(&e))?;
        // What was started ends with the test, and what was frozen goes on.
        Ok::<_, Failure>(tokio::select! {
            report = testing => Some(report),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        })
    });
    let Some(report) = report? else {
        return Err(Failure { message: "stopped before the end".into(), exit: Exit::Failed });
    };
    let report = report.map_err(|e| {
        let exit = match e {
            Unreachable::Wrong(_) => Exit::Usage,
            Unreachable::Denied { .. } => Exit::Denied,
            Unreachable::Bus(..) | Unreachable::Nobody { .. } | Unreachable::Program(..) => Exit::Unreachable,
        };
        Failure { message: e.to_string(), exit }
    })?;
    if json {
        let findings: Vec<Value> = report.findings.iter().map(conformance::Finding::json).collect();
        say(&mut io::stdout(), &Value::Array(findings).to_string());
    } else {
        let mut end = format!("\n{}\n\nnot shown:", report.summary());
        for what in &report.not_shown {
            end = format!("{end}\n- {what}");
        }
        say(&mut io::stdout(), &end);
    }
    if report.failed() {
        let failed = report.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
        let names: Vec<&str> = failed.map(|finding| finding.check.name()).collect();
        let message = format!("{} breaks the contract: {}", options.name, names.join(", "));
        return Err(Failure { message, exit: Exit::Failed });
    }
    Ok(())
}

/// What may move, before anything is asked.
fn introduce(options: &Options) {
    let level = |level: Level| Check::ALL.iter().filter(|check| check.level() == level).count();
    let mut text = format!(
        "{} at {}: {} checks that move nothing in a plugin that keeps the contract",
        options.name,
        options.path,
        level(Level::Harmless)
    );
    let calls: Vec<String> =
        options.calls.iter().map(|(method, params)| format!("{method} {params}")).collect();
    if calls.is_empty() {
        text = format!("{text};\nno call is really run (--call)");
    } else {
        text = format!("{text};\n{} that REALLY RUN {}", level(Level::Real), calls.join(" and "));
    }
    text = match options.program {
        Some(_) => format!("{text}; {} that freeze and kill its process", level(Level::Life)),
        None => format!("{text}; its process is left alone (-- PROGRAM)"),
    };
    say(&mut io::stdout(), &format!("{text}\n"));
}

impl Test {
    fn options(self) -> Options {
        let Self { name, path, bus, call, restart, skip, answer_within, json: _, program } = self;
        let mut options = Options::new(name);
        if let Some(path) = path {
            options.path = path;
        }
        options.bus = bus;
        options.calls = call;
        options.skip = skip;
        options.answer_within = answer_within;
        options.program =
            if program.is_empty() { restart.map(Program::Restart) } else { Some(Program::Own(program)) };
        options
    }
}

fn call(text: &str) -> Result<(String, Value), String> {
    let text = text.trim();
    let (method, params) = text.split_once(char::is_whitespace).unwrap_or((text, "{}"));
    if method.is_empty() {
        return Err("expected a method and its parameters, such as 'gate.open {\"percent\":40}'".into());
    }
    let params = serde_json::from_str(params)
        .map_err(|e| format!("the parameters are not JSON, such as '{{\"percent\":40}}': {e}"))?;
    Ok((method.to_owned(), params))
}

fn check(text: &str) -> Result<String, String> {
    let names: Vec<&str> = Check::ALL.iter().map(|check| check.name()).collect();
    if names.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("there is no check of this name; there are {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_and_buses_are_read() {
        assert_eq!(call("gate.open {\"percent\": 40}"), Ok(("gate.open".into(), json!({"percent": 40}))));
        assert_eq!(call(" gate.halt "), Ok(("gate.halt".into(), json!({}))));
        assert!(call("gate.open percent=40").unwrap_err().starts_with("the parameters are not JSON"));
        assert!(call(" ").is_err());
        assert_eq!(check("not-after"), Ok("not-after".into()));
        assert!(check("not_after").unwrap_err().contains("not-after"));
    }
}
