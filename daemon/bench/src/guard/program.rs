//! What the program under test was made with, and what counts it: counts of programs that were made otherwise differ.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

/// All that counts depend on, but for the program's text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Made {
    pub(super) architecture: String,
    /// Cargo's, which names the folder of the program after it.
    pub(super) profile: String,
    pub(super) compiler: String,
    /// It has the allocator and the copying of memory.
    pub(super) libc: String,
    pub(super) valgrind: String,
}

/// Stands in the program itself, also in a stripped one.
const COMPILER: &[u8] = b"rustc version ";
const UNKNOWN: &str = "unknown";

impl Made {
    /// Of a program on this machine.
    pub(crate) fn of(program: &Path) -> anyhow::Result<Self> {
        let path =
            fs::canonicalize(program).with_context(|| format!("{} is not there", program.display()))?;
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        Ok(Self {
            // The program runs here.
            architecture: std::env::consts::ARCH.to_owned(),
            profile: folder.unwrap_or(UNKNOWN).to_owned(),
            compiler: compiler(&bytes).unwrap_or(UNKNOWN).to_owned(),
            libc: says("getconf", "GNU_LIBC_VERSION"),
            valgrind: says("valgrind", "--version"),
        })
    }

    pub(super) fn facts(&self) -> [(&'static str, &str); 5] {
        let Self { architecture, profile, compiler, libc, valgrind } = self;
        [
            ("architecture", architecture),
            ("profile", profile),
            ("compiler", compiler),
            ("libc", libc),
            ("valgrind", valgrind),
        ]
    }
}

/// The compiler's version, as it writes it into what it makes. The words may stand elsewhere too, as they do in this program.
fn compiler(program: &[u8]) -> Option<&str> {
    let words = program.windows(COMPILER.len()).enumerate().filter(|(_, bytes)| *bytes == COMPILER);
    let versions =
        words.filter_map(|(at, _)| program.get(at + COMPILER.len()..)?.split(|byte| *byte == 0).next());
    let mut texts = versions.filter_map(|version| std::str::from_utf8(version).ok());
    texts.find(|version| version.len() < 100 && version.starts_with(|first: char| first.is_ascii_digit()))
}

fn says(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_compiler() {
        let program = b"\x7fELF..\0rustc version 1.95.0 (59807616e 2026-04-14)\0Linker: LLD\0";
        assert_eq!(compiler(program), Some("1.95.0 (59807616e 2026-04-14)"));
        assert_eq!(compiler(b"\x7fELF.."), None);
        let elsewhere = b"rustc version cannot be read\0rustc version 1.95.0 (59807616e 2026-04-14)\0";
        assert_eq!(compiler(elsewhere), Some("1.95.0 (59807616e 2026-04-14)"));
    }

    #[test]
    fn a_program_knows_where_it_comes_from() {
        let own = std::env::current_exe().unwrap();
        let made = Made::of(&own).unwrap();
        assert_eq!(made.profile, "deps");
        assert!(made.compiler.starts_with("1."), "{made:?}");
        assert!(made.libc.starts_with("glibc 2."), "{made:?}");
    }
}
