//! `nowd-manual FOLDER`: writes the man pages, the completions and the documents of the package to `man`, `completions` and `documents` in
//! that folder. Each of them has one source: the command line that clap knows, the table of keys in docs/SPECIFICATION.md, the documents of
//! the repository. It is no part of what is shipped.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

mod documents;
mod keys;
#[cfg(test)]
mod tests;

/// Where it was built, and is run.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Where the table of keys is.
const SPECIFICATION: &str = include_str!("../../../docs/SPECIFICATION.md");

fn main() -> Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).context("usage: nowd-manual FOLDER")?.into();
    for (name, content) in man_pages()? {
        write(&folder.join("man").join(name), &content)?;
    }
    for (name, content) in completions() {
        write(&folder.join("completions").join(name), &content)?;
    }
    for (path, content) in documents::all(Path::new(REPOSITORY))? {
        write(&folder.join("documents").join(path), content.as_bytes())?;
    }
    Ok(())
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))
}

/// What of the files of the machine a reader of `nowd(1)` looks for.
const FILES: &str = ".SH FILES\n.TP\n/etc/nowd/nowd.toml\nThe configuration: \\fBnowd.toml\\fR(5).\n.TP\n/etc/nowd/methods.d\n\
    Method maps; ready\\-made ones lie in /usr/share/nowd/maps.\n.TP\n/var/lib/nowd\n\
    What survives a restart: lockout, audit record, identity, journal.\n";

/// A page for the program and one for each of its commands, and one for `nowd.toml`.
fn man_pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut command = nowd::command().disable_help_subcommand(true);
    // Gives each of the commands its whole name and usage.
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages)?;
    pages.push(("nowd.toml.5".into(), keys::page(SPECIFICATION)?.into_bytes()));
    Ok(pages)
}

fn add_pages(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    // Such as `nowd-plugin-serve`.
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone()).title(name.to_uppercase());
    man.source(concat!("nowd ", env!("CARGO_PKG_VERSION"))).manual("nowd").render(&mut page)?;
    let mut page = String::from_utf8(page).with_context(|| format!("{name}.1 is not UTF-8"))?;
    if name == "nowd" {
        // What clap prints after the options: of the environment first, then of exit codes.
        page = page.replace(".SH EXTRA\n", ".SH ENVIRONMENT\n");
        page = page.replace("Exit codes: ", ".SH \"EXIT STATUS\"\n");
        page.push_str(FILES);
        page.push_str(".SH \"SEE ALSO\"\n\\fBnowd.toml\\fR(5), /usr/share/doc/nowd/guides\n");
    } else {
        page.push_str(
            ".SH \"SEE ALSO\"\n\\fBnowd\\fR(1), \\fBnowd.toml\\fR(5), /usr/share/doc/nowd/guides\n",
        );
    }
    pages.push((format!("{name}.1"), page.into_bytes()));
    for below in command.get_subcommands() {
        add_pages(below, pages)?;
    }
    Ok(())
}

/// As each shell wants to find them.
fn completions() -> Vec<(String, Vec<u8>)> {
    let shells = [(Shell::Bash, "nowd.bash"), (Shell::Zsh, "_nowd"), (Shell::Fish, "nowd.fish")];
    let generated = shells.into_iter().map(|(shell, file)| {
        let mut content = Vec::new();
        clap_complete::generate(shell, &mut nowd::command(), "nowd", &mut content);
        (file.to_owned(), content)
    });
    generated.collect()
}
