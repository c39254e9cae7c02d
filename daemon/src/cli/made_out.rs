//! Single keys made out from a configuration that may have mistakes, or may not be read. Nothing here is checked, and nothing
//! fails.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::config::{Config, ConfigSource};
use nowd_plugin::bus::BusAddress;

/// How much of a file is read, and how many drop-ins.
const MOST_READ: u64 = 1024 * 1024;
const MOST_FILES: usize = 1_024;

/// The folder of the state by the uppermost layer that names one, and which layer that is.
pub(super) fn state_dir(source: &ConfigSource) -> (PathBuf, String) {
    let found = make_out(source, &["state_dir"]).map(|(text, origin)| (text.into(), origin));
    found.unwrap_or_else(|| (Config::default().state_dir, "the built-in defaults".into()))
}

/// The bus by the uppermost layer that names one.
pub(super) fn bus(source: &ConfigSource) -> BusAddress {
    let found = make_out(source, &["bus", "address"]);
    found.and_then(|(text, _)| text.parse().ok()).unwrap_or_default()
}

fn make_out(source: &ConfigSource, key: &[&str]) -> Option<(String, String)> {
    let (dotted, underlined) = (key.join("."), key.join("__"));
    let set = source.set.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(&dotted));
    let set = set.map(|(_, value)| (value.clone(), "--set".to_owned()));
    let variable = |(name, _): &&(String, String)| {
        name.strip_prefix("NOWD__").is_some_and(|name| name.eq_ignore_ascii_case(&underlined))
    };
    let environment = || {
        let (name, value) = source.environment.iter().find(variable)?;
        Some((value.clone(), format!("the environment's {name}")))
    };
    let in_file = |file: PathBuf| Some((in_text(&read(&file)?, key)?, file.display().to_string()));
    let in_files = || drop_ins(&source.file).into_iter().chain([source.file.clone()]).find_map(in_file);
    let deployed = || {
        let deployed = source.deployed().ok()??;
        Some((deployed.text(key)?, "the component configuration".to_owned()))
    };
    set.or_else(environment).or_else(deployed).or_else(in_files)
}

/// Those beside the main file, the last by name first.
fn drop_ins(file: &Path) -> Vec<PathBuf> {
    let mut folder = file.as_os_str().to_owned();
    folder.push(".d");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .take(MOST_FILES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
        .collect();
    files.sort();
    files.reverse();
    files
}

fn read(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    if !fs::metadata(file).ok()?.is_file() {
        return None;
    }
    File::open(file).ok()?.take(MOST_READ).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Line by line if the whole is no TOML: a key of the top stands before the first table.
fn in_text(text: &str, key: &[&str]) -> Option<String> {
    let value = |text: &str| {
        let (last, tables) = key.split_last()?;
        let whole = toml::from_str::<Table>(text).ok()?;
        let table = tables.iter().try_fold(&whole, |table, name| table.get(*name)?.as_table())?;
        Some(table.get(*last)?.as_str()?.to_owned())
    };
    let mut lines = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    value(text).or_else(|| lines.find_map(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uppermost_layer_that_names_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nowd.toml");
        let mut source = ConfigSource {
            file: file.clone(),
            required: true,
            environment: Vec::new(),
            set: Vec::new(),
            deployment: crate::config::Deployment::None,
        };
        let is = |source: &ConfigSource, state: &str, from: &str| {
            let (folder, origin) = state_dir(source);
            assert_eq!(folder, Path::new(state));
            assert!(origin.contains(from), "{origin}");
        };
        is(&source, "/var/lib/nowd", "defaults");
        fs::write(&file, "targte = 1\nstate_dir = '/a'\nclock = \n[link]\nstate_dir = '/no'\n").unwrap();
        is(&source, "/a", "nowd.toml");
        fs::write(&file, "targte = 1\nstate_dir = '/b'\n[link]\nstate_dir = '/no'\n").unwrap();
        is(&source, "/b", "nowd.toml");
        fs::create_dir(folder.path().join("nowd.toml.d")).unwrap();
        for (name, text) in [
            ("10.toml", "state_dir = '/early'"),
            ("20.toml", "state_dir = '/c'\nx = 1"),
            ("30.toml", "x ="),
            ("40.toml", "[link]\nstate_dir = '/no'\n=\n"),
            ("50.toml~", "state_dir = '/no'"),
            (".60.toml", "state_dir = '/no'"),
        ] {
            fs::write(folder.path().join("nowd.toml.d").join(name), text).unwrap();
        }
        is(&source, "/c", "20.toml");
        source.environment.push(("NOWD__STATE_DIR".into(), "/d".into()));
        is(&source, "/d", "NOWD__STATE_DIR");
        source.set.extend([("state_dir".into(), "/no".into()), ("state_dir".into(), "/e".into())]);
        is(&source, "/e", "--set");
    }

    #[test]
    fn the_bus() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nowd.toml");
        let mut source = ConfigSource {
            file: file.clone(),
            required: true,
            environment: Vec::new(),
            set: Vec::new(),
            deployment: crate::config::Deployment::None,
        };
        assert_eq!(bus(&source), BusAddress::System);
        fs::write(&file, "targte = 1\n[bus]\naddress = 'session'\n").unwrap();
        assert_eq!(bus(&source), BusAddress::Session);
        source.environment.push(("NOWD__BUS__ADDRESS".into(), "unix:path=/b".into()));
        assert_eq!(bus(&source), BusAddress::At("unix:path=/b".into()));
        source.set.push(("bus.address".into(), "system".into()));
        assert_eq!(bus(&source), BusAddress::System);
    }
}
