//! The command line: serves the HTTP interface, or calls one.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "aws")]
mod invoke;
mod serve;

/// The cloud side of nowd: an HTTP request in, a command to a gateway, the answer in the same HTTP response.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 done (serve: stopped as asked; invoke: executed), 1 serve failed while running, 3 the call was not executed,\n\
                  4 it may have been, 64 wrong command line, 69 the server cannot be reached, 70 a bug, 77 no AWS credentials, or they are\n\
                  refused, 78 a file that the command line names is missing or wrong."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the HTTP interface, without authentication, until Ctrl-C or SIGTERM
    Serve(serve::Serve),
    /// Call a method of a gateway over HTTPS, signed for API Gateway
    ///
    /// Exits with 0 if it was executed, 3 if it was not and will not be, 4 if it may have been.
    #[cfg(feature = "aws")]
    Invoke(invoke::Invoke),
}

/// How the program ends: the numbers of `nowd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "only calls end with what is known of them"))]
enum Exit {
    /// 0: it did what was asked; a call was executed.
    Ok,
    /// 1: it could not go on serving.
    Failed,
    /// 3: the call was not executed, and will not be.
    NotExecuted,
    /// 4: the call may have been executed.
    Unknown,
    /// 64 (`EX_USAGE`): the command line is wrong.
    Usage,
    /// 69 (`EX_UNAVAILABLE`): the server cannot be reached, and nothing was sent.
    Unreachable,
    /// 70 (`EX_SOFTWARE`): a bug.
    Internal,
    /// 77 (`EX_NOPERM`): there are no AWS credentials, or they are refused; nothing was executed.
    Denied,
    /// 78 (`EX_CONFIG`): a file that the command line names is missing or wrong.
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::NotExecuted => 3,
            Exit::Unknown => 4,
            Exit::Usage => 64,
            Exit::Unreachable => 69,
            Exit::Internal => 70,
            Exit::Denied => 77,
            Exit::Config => 78,
        })
    }
}

/// Why it cannot go on, and how it ends.
struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }
}

/// The whole program.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no mistakes. Nothing can be done if even the message cannot be printed.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            drop(error.print());
            return exit.into();
        }
    };
    let result = match cli.command {
        Command::Serve(serve) => serve::serve(serve),
        #[cfg(feature = "aws")]
        Command::Invoke(invoke) => invoke::invoke(&invoke),
    };
    result.unwrap_or_else(|Failure { exit, error }| report(&error, exit)).into()
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a program that cannot go on is for the person who started it"
)]
fn report(error: &anyhow::Error, exit: Exit) -> Exit {
    eprintln!("error: {error:#}");
    exit
}
