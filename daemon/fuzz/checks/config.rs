//! `nowd.toml` with a drop-in, a variable of the environment and an option of the command line.

use std::path::Path;

use nowd::{ClockTrust, ConfigFiles, ConfigSource, Setup, WallClock, WallReading};

use super::sentence;

/// `data` is up to four texts with NUL between: the main file, a drop-in, `NAME=VALUE` and `KEY=VALUE`.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(4, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (file, drop_in, variable, option) = (part(), part(), part(), part());
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("nowd.toml");
    std::fs::write(&main, file).unwrap();
    if !drop_in.is_empty() {
        std::fs::create_dir(folder.path().join("nowd.toml.d")).unwrap();
        std::fs::write(folder.path().join("nowd.toml.d/10-site.toml"), drop_in).unwrap();
    }
    let source = ConfigSource {
        file: main,
        required: true,
        environment: pair(variable),
        set: pair(option),
        deployment: nowd::Deployment::None,
    };
    match source.load() {
        Ok(files) => check_files(&source, &files),
        Err(e) => check_message(folder.path(), &e),
    }
}

/// Without control characters: a message repeats what a person has typed, and NUL cannot be typed.
fn pair(text: &[u8]) -> Vec<(String, String)> {
    let text =
        std::str::from_utf8(text).ok().filter(|text| !text.contains(char::is_control)).unwrap_or_default();
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect()
}

fn check_files(source: &ConfigSource, files: &ConfigFiles) {
    let again = source.load().unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{:?}", files.config));
    let link = &files.config.link;
    // Anything else reads files that the input names.
    if link.tls || link.ca.is_some() || link.certificate.is_some() || link.key.is_some() {
        return;
    }
    let clock = WallClock::new(ClockTrust::Untrusted, || WallReading { now_ms: 0, max_error: None });
    match Setup::new(files, Vec::new(), clock) {
        Ok(setup) => {
            let target = files.config.target.as_ref().unwrap();
            assert_eq!(setup.target(), target);
            assert!(!setup.endpoint().is_empty());
        }
        Err(e) => sentence::check(&e),
    }
}

fn check_message(folder: &Path, error: &impl std::fmt::Display) {
    sentence::check(&error.to_string().replace(&*folder.to_string_lossy(), ""));
}
