//! `nowd audit`: whether the audit record is whole. Reads files, and asks no gateway.

use std::io;
use std::path::PathBuf;

use super::words::printable;
use super::{Failure, Source, say};
use crate::audit::FOLDER;
use crate::audit::chain::Head;
use crate::audit::report::{Finding, Report};
use crate::audit::verify::verify;
use crate::exit::Exit;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say whether the record is whole: no entry changed, missing, put in, or in another place
    ///
    /// Works while the gateway runs, and on a copy of the folder. What it cannot see is a record that somebody has made anew from some
    /// entry on, or has cut off at its end; a head that was kept elsewhere (the log has some) shows that. Exits with 0 if it is
    /// sound, 1 if it is not, 74 if it cannot be read.
    Verify {
        #[command(flatten)]
        source: Source,
        /// The folder of the record [default: `audit` in the `state_dir` of the configuration]
        folder: Option<PathBuf>,
        /// A head that was printed or logged before, which the record must still hold; as often as you like
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Vec<Head>,
        /// As JSON, with everything
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: Command) -> Result<Exit, Failure> {
    let Command::Verify { source, folder, head, json } = command;
    let folder = match folder {
        Some(folder) => folder,
        None => source.or_here().load()?.config.state_dir.join(FOLDER),
    };
    let report = verify(&folder, &head).map_err(|e| Failure {
        message: format!(
            "the audit record in {} cannot be read: {e}; try as root or as the daemon's user, or name the folder",
            folder.display()
        ),
        exit: Exit::Io,
    })?;
    let mut out = io::stdout();
    if json {
        // Texts and numbers can always be written.
        say(&mut out, &serde_json::to_string(&report).unwrap_or_default());
    } else {
        for line in lines(&report) {
            say(&mut out, &line);
        }
    }
    Ok(if report.sound { Exit::Ok } else { Exit::Failed })
}

fn lines(report: &Report) -> Vec<String> {
    let Report { files, entries, first, head, .. } = report;
    let verdict = if report.sound { "sound" } else { "NOT SOUND" };
    let mut lines = vec![match (first, &report.first_time, &report.last_time) {
        (Some(first), Some(from), Some(to)) => format!(
            "{verdict}: {entries} entries in {files} files, from number {first}, {} to {}",
            printable(from),
            printable(to)
        ),
        _ => format!("{verdict}: there are no entries"),
    }];
    let tell = |what: &str, Finding { file, line, message }: &Finding| {
        let place = match (file.as_str(), line) {
            ("", _) => String::new(),
            (file, 0) => format!("{}: ", printable(file)),
            (file, line) => format!("{}, line {line}: ", printable(file)),
        };
        format!("  {what}: {place}{}", printable(message))
    };
    lines.extend(report.problems.iter().map(|problem| tell("problem", problem)));
    lines.extend(report.notes.iter().map(|note| tell("note", note)));
    if report.further > 0 {
        lines.push(format!("  and {} more", report.further));
    }
    if report.folded > 0 {
        lines.push(format!(
            "  {} refusals and repeats were counted instead of written one by one",
            report.folded
        ));
    }
    if let Some(pruned) = report.pruned {
        lines.push(format!("  entries up to {pruned} were removed to keep within `audit.max_size`"));
    }
    lines.extend(head.as_ref().map(|head| format!("  head: {head}")));
    lines
}
