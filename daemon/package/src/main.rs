//! `nowd-manual FOLDER`: writes the man pages and the completions of the package. Each of them has one source: the command line that
//! clap knows, and the table of keys in docs/SPECIFICATION.md. It is no part of what is shipped.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

mod keys;
#[cfg(test)]
mod tests;

/// Where the table of keys is.
const SPECIFICATION: &str = include_str!("../../../docs/SPECIFICATION.md");

fn main() -> Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).context("usage: nowd-manual FOLDER")?.into();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, content) in man_pages()?.into_iter().chain(completions()) {
        let file = folder.join(name);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

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
    clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).manual("nowd").render(&mut page)?;
    page.extend_from_slice(b".SH \"SEE ALSO\"\n\\fBnowd\\fR(1), \\fBnowd.toml\\fR(5), /usr/share/doc/nowd\n");
    pages.push((format!("{name}.1"), page));
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
