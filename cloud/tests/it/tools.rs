//! The Python tools that some tests need, as `.ci/setup` installs them.

use std::path::PathBuf;

/// One of them, by its name.
pub(crate) fn tool(name: &str) -> PathBuf {
    let usual = || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools/python");
    let folder = std::env::var_os("NOWD_PYTHON_TOOLS").map_or_else(usual, PathBuf::from);
    let file = folder.join("bin").join(name);
    assert!(file.exists(), "{} is not there; run .ci/setup first", file.display());
    file
}
