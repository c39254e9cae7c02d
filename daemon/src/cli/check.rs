//! `nowd check`: whether all is right, and what the methods of a map will do. Connects to nothing.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{User, geteuid, initgroups, setgid, setuid};
use nowd_plugin::host::Registry;
use nowd_plugin::map::MapSource;
use nowd_plugin::{Method, Plugin};
use nowd_plugin_dbus::service::DropIn;
use serde_json::Value;
use toml::Table;

use super::source::DEFAULT_CONFIG;
use super::{Failure, Source, say};
use crate::DAEMON;
use crate::clock::WallClock;
use crate::config::{ConfigError, ConfigFiles, read_map};
use crate::exit::Exit;
use crate::greengrass::kept;
use crate::log;
use crate::setup::{Setup, SetupError, plugins};

/// The whole configuration.
pub(super) fn check(source: &Source, extra: Vec<Arc<dyn Plugin>>, quiet: bool) -> Result<(), Failure> {
    let judge = Judge::become_one(source);
    let (files, setup) = read(source, extra).map_err(|Failure { message, exit }| {
        let as_daemon = if matches!(judge, Judge::Daemon) {
            "\njudged as the user nowd, as the daemon runs, without groups that only its unit gives it"
        } else {
            ""
        };
        Failure { message: format!("{message}{as_daemon}"), exit }
    })?;
    if quiet {
        return Ok(());
    }
    let (methods, maps) = (setup.plugins.registry.methods().count(), files.maps.len());
    let (drop_ins, ports) = (files.drop_ins.len(), files.config.ports.len());
    let text = format!(
        "ok: target {}, broker {}, {methods} methods from {maps} maps, {drop_ins} drop-ins, {ports} ports",
        setup.target(),
        setup.endpoint()
    );
    let mut out = std::io::stdout();
    say(&mut out, &text);
    for note in setup.of_identity(&files) {
        say(&mut out, &format!("note: {note}"));
    }
    match judge {
        Judge::Daemon => say(&mut out, "note: judged as the user nowd, as the daemon runs"),
        Judge::Root => say(
            &mut out,
            "note: judged as root, who may read everything; `sudo -u nowd nowd check` with the same `--config` judges as the daemon",
        ),
        Judge::Whoever => {}
    }
    for (name, port) in files.config.ports.iter().filter(|(_, port)| !port.device.exists()) {
        say(&mut out, &format!("note: the port {name} is not there now: {}", port.device.display()));
    }
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

fn read(source: &Source, extra: Vec<Arc<dyn Plugin>>) -> Result<(ConfigFiles, Setup), Failure> {
    let files = source.load()?;
    log::check(&files.config.log)?;
    let setup = Setup::new(&files, extra, WallClock::of_this_machine(files.config.clock));
    let setup = setup.map_err(|e| of_component(&e, &files).unwrap_or_else(|| e.into()))?;
    Ok((files, setup))
}

/// A component's folder in which nothing was accepted yet: what is missing here comes by a deployment, and not by a file.
fn of_component(e: &SetupError, files: &ConfigFiles) -> Option<Failure> {
    let SetupError::Config(ConfigError::Missing { key, .. }) = e else { return None };
    let folder = &files.config.state_dir;
    let message = || {
        format!(
            "`{key}` is not set, and no deployment was accepted yet in {}, the folder of a component of Greengrass: there is nothing to \
             check before a gateway has run once; `nowd status` and the component's log say what it waits for, and \
             `nowd check --component-configuration FILE` judges what is to be deployed",
            folder.display()
        )
    };
    kept::is_before_the_first(folder).then(|| Failure { message: message(), exit: Exit::Config })
}

/// As whom files are read. Root may read what the daemon may not.
enum Judge {
    /// Root, who has become the user that the daemon runs as: this process does nothing else.
    Daemon,
    /// Root, on a machine that has such a user; the configuration is not the daemon's own.
    Root,
    Whoever,
}

impl Judge {
    fn become_one(source: &Source) -> Self {
        let Some(daemon) = geteuid().is_root().then(|| User::from_name(DAEMON).ok().flatten()).flatten()
        else {
            return Self::Whoever;
        };
        let real = |file: &Path| file.canonicalize().ok();
        let is_own = real(&source.file()).is_some_and(|file| Some(file) == real(Path::new(DEFAULT_CONFIG)));
        let become_daemon = || {
            initgroups(&CString::new(DAEMON).unwrap_or_default(), daemon.gid)?;
            setgid(daemon.gid)?;
            setuid(daemon.uid)
        };
        // What was deployed is for the component's user only, whoever that is.
        let is_own = is_own && !source.layers().is_deployed();
        if is_own && become_daemon().is_ok() { Self::Daemon } else { Self::Root }
    }
}

/// What the methods of these maps will do, and what these drop-ins say, by the configuration that they belong to.
pub(super) fn explain(source: &Source, extra: Vec<Arc<dyn Plugin>>, maps: &[PathBuf]) -> Result<(), Failure> {
    let source = source.or_beside(maps).or_here();
    let mut files = source.load()?;
    let mut named = Vec::new();
    let mut drop_ins = Vec::new();
    for path in maps {
        let map = read_map(path)?;
        // One that is installed already is looked at once.
        let same = |file: &str| {
            path.canonicalize().is_ok_and(|real| Path::new(file).canonicalize().is_ok_and(|f| f == real))
        };
        if is_drop_in(path, &map) {
            files.drop_ins.retain(|other| !same(&other.file));
            files.drop_ins.push(map.clone());
            drop_ins.push(map);
            continue;
        }
        files.maps.retain(|other| !same(&other.file));
        named.push(map.file.clone());
        files.maps.push(map);
    }
    let (_, registry) = plugins(&files, extra)?;
    let mut out = std::io::stdout();
    for map in &drop_ins {
        let drop_in = DropIn::load(map, &files.config.bus.address).map_err(SetupError::from)?;
        for line in of_drop_in(&drop_in, map) {
            say(&mut out, &line);
        }
    }
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

/// Drop-ins are known by their folder, or by what they hold, wherever they lie.
fn is_drop_in(path: &Path, map: &MapSource) -> bool {
    let folder = path.canonicalize().ok().and_then(|path| Some(path.parent()?.ends_with("plugins.d")));
    let holds = || toml::from_str::<Table>(&map.text).is_ok_and(|table| table.contains_key("plugin"));
    folder == Some(true) || holds()
}

/// What a drop-in names, and what it says beyond the plugin's own description, as it stands there.
fn of_drop_in(drop_in: &DropIn, map: &MapSource) -> Vec<String> {
    let target = drop_in.target();
    let mut lines = vec![
        format!("{}  ({})", target.name, drop_in.origin()),
        format!("  {:<12}{}", "path", target.path),
        format!("  {:<12}{}", "bus", target.bus.full()),
    ];
    let table: Table = toml::from_str(&map.text).unwrap_or_default();
    let keys = |value: Option<&toml::Value>| -> String {
        let table = value.and_then(toml::Value::as_table);
        let words = table
            .into_iter()
            .flatten()
            .map(|(key, value)| if value.is_table() { key.clone() } else { format!("{key} = {value}") });
        words.collect::<Vec<_>>().join(", ")
    };
    if table.contains_key("lane") {
        lines.push(format!("  {:<12}{}", "lane", keys(table.get("lane"))));
    }
    let methods = table.get("methods").and_then(toml::Value::as_table);
    for (index, (name, value)) in methods.into_iter().flatten().enumerate() {
        let what = if index == 0 { "narrows" } else { "" };
        lines.push(format!("  {what:<12}{name}: {}", keys(Some(value))));
    }
    if methods.is_none_or(Table::is_empty) {
        lines.push(format!("  {:<12}nothing: all that the plugin describes is on offer", "narrows"));
    }
    lines.push(String::new());
    lines
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
