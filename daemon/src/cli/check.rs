//! `nowd check`: whether all is right, and what the methods of a map will do. Connects to nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nowd_plugin::host::Registry;
use nowd_plugin::{Method, Plugin};
use serde_json::Value;

use super::{Failure, Source, say};
use crate::clock::WallClock;
use crate::config::{ConfigFiles, read_map};
use crate::log;
use crate::setup::{Setup, plugins};

/// The whole configuration.
pub(super) fn check(source: &Source, extra: Vec<Arc<dyn Plugin>>) -> Result<(), Failure> {
    let files = source.load()?;
    log::check(&files.config.log)?;
    let setup = Setup::new(&files, extra, WallClock::of_this_machine(files.config.clock))?;
    let (methods, maps, ports) =
        (setup.plugins.registry.methods().count(), files.maps.len(), files.config.ports.len());
    let text = format!(
        "ok: target {}, broker {}, {methods} methods from {maps} maps, {ports} ports",
        setup.target(),
        setup.endpoint()
    );
    let mut out = std::io::stdout();
    say(&mut out, &text);
    if files.maps.is_empty() {
        let directory = source.file().parent().unwrap_or(Path::new(".")).join("methods.d");
        say(&mut out, &format!("note: there is no map: {}/*.toml", directory.display()));
    }
    for method in setup.plugins.registry.methods() {
        if nobody_may(method, &files) {
            let name = &method.name;
            say(&mut out, &format!("note: nobody may call {name:?}: {}", nobody(method)));
        }
    }
    Ok(())
}

/// What the methods of these maps will do, by the configuration that they belong to.
pub(super) fn explain(source: &Source, extra: Vec<Arc<dyn Plugin>>, maps: &[PathBuf]) -> Result<(), Failure> {
    let source = source.or_beside(maps).or_here();
    let mut files = source.load()?;
    let mut named = Vec::new();
    for path in maps {
        let map = read_map(path)?;
        // One that is installed already is looked at once.
        let same = |file: &str| {
            path.canonicalize().is_ok_and(|real| Path::new(file).canonicalize().is_ok_and(|f| f == real))
        };
        files.maps.retain(|other| !same(&other.file));
        named.push(map.file.clone());
        files.maps.push(map);
    }
    let (_, registry) = plugins(&files, extra)?;
    let mut out = std::io::stdout();
    for (method, plugin) in registry.all() {
        let here = |file: &String| {
            method.origin.strip_prefix(file.as_str()).is_some_and(|rest| rest.starts_with(':'))
        };
        if named.iter().any(here) {
            for line in explained(method, plugin, &registry, &files) {
                say(&mut out, &line);
            }
        }
    }
    Ok(())
}

/// Why nobody may call a method.
fn nobody(method: &Method) -> &'static str {
    match &method.policy.allow {
        Some(_) => "its `allow` is empty",
        None => "it has no `allow`, and `[access] default` in nowd.toml is empty",
    }
}

fn nobody_may(method: &Method, files: &ConfigFiles) -> bool {
    let patterns = method.policy.allow.as_ref().unwrap_or(&files.config.access.default);
    patterns.is_empty() && !method.policy.internal
}

fn explained(
    method: &Method,
    plugin: &Arc<dyn Plugin>,
    registry: &Registry,
    files: &ConfigFiles,
) -> Vec<String> {
    let policy = &method.policy;
    let mut lines = vec![format!("{}  ({})", method.name, method.origin)];
    let mut say = |what: &str, text: String| lines.push(format!("  {what:<12}{text}"));
    if !method.description.is_empty() {
        say("what", method.description.clone());
    }
    match &method.params {
        None => say("parameters", "none declared; anything is taken".into()),
        Some(params) => {
            for (index, (name, schema)) in params.properties().iter().enumerate() {
                say(if index == 0 { "parameters" } else { "" }, format!("{name}: {}", schema_words(schema)));
            }
        }
    }
    let who = match policy.allow.as_ref().unwrap_or(&files.config.access.default) {
        _ if policy.internal => "only the gateway itself".into(),
        patterns if patterns.is_empty() => format!("nobody: {}", nobody(method)),
        patterns => patterns.join(", "),
    };
    say("callers", who);
    let duration = humantime::format_duration;
    let mut time = vec![match policy.poll {
        Some(poll) => format!("read every {}; calls get the last value and its age", duration(poll)),
        None => format!("at most {}", duration(policy.max_timeout)),
    }];
    for (words, target) in [("on timeout", &policy.on_timeout), ("at shutdown", &policy.on_stop)] {
        if let Some(target) = target {
            time.push(format!("{words} `{target}` runs, for at most {}", duration(budget(registry, target))));
        }
    }
    say("time", time.join("; "));
    let flags: Vec<&str> = [
        (policy.idempotent, "idempotent (twice is as good as once)"),
        (policy.stop, "stop (overtakes and clears its lane)"),
    ]
    .into_iter()
    .filter_map(|(set, words)| set.then_some(words))
    .collect();
    if !flags.is_empty() {
        say("is", flags.join(", "));
    }
    say(
        "lane",
        format!(
            "{}, {} at a time, {} may wait",
            method.lane.name, method.lane.concurrency, method.lane.depth
        ),
    );
    for line in plugin.explain(&method.name) {
        lines.push(format!("  {line}"));
    }
    lines.push(String::new());
    lines
}

fn budget(registry: &Registry, target: &str) -> std::time::Duration {
    registry.get(target).map(|(method, _)| method.policy.timeout).unwrap_or_default()
}

/// A schema in a few words: `integer, 1 to 8, default 1`.
fn schema_words(schema: &Value) -> String {
    let text =
        |key: &str| schema.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), Into::into));
    let mut words: Vec<String> = Vec::new();
    words.extend(text("type"));
    if let Some(values) = text("enum") {
        words.push(format!("one of {values}"));
    }
    // A list of values says all.
    let text_of_range = |key: &str| text(key).filter(|_| schema.get("enum").is_none());
    let range = match (text_of_range("minimum"), text_of_range("maximum")) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("{least} or more")),
        (None, Some(most)) => Some(format!("{most} or less")),
        (None, None) => None,
    };
    words.extend(range);
    words.extend(text("maxLength").map(|longest| format!("at most {longest} characters")));
    words.extend(text("pattern").map(|pattern| format!("like /{pattern}/")));
    words.extend(text("default").map(|default| format!("default {default}")));
    words.extend(text("description"));
    if words.is_empty() { "anything".into() } else { words.join(", ") }
}
