//! Programs of others that tests need, as `.ci/setup` installs them.

use std::path::PathBuf;
use std::process::Command;

/// Prometheus' own checker, which no package brings without a service: in a folder of its own.
pub(crate) fn promtool() -> Command {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = target.parent().unwrap().join("tools/prometheus/promtool");
    assert!(file.exists(), "{} is not there; run .ci/setup first", file.display());
    Command::new(file)
}

/// systemd's reader of the journal.
pub(crate) fn journalctl(args: &[&str]) -> std::process::Output {
    let output = Command::new("journalctl").args(args).output();
    assert!(output.is_ok(), "journalctl cannot be run; run .ci/setup first: {output:?}");
    output.unwrap()
}

/// The Python that has AWS's own client, and so its models of the services.
pub(crate) fn python() -> Command {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let usual = || target.parent().unwrap().join("tools/python");
    let file = std::env::var_os("NOWD_PYTHON_TOOLS").map_or_else(usual, PathBuf::from).join("bin/python");
    assert!(file.exists(), "{} is not there; run .ci/setup first", file.display());
    Command::new(file)
}
