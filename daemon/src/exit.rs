//! Exit codes: those of `sysexits.h`, where they fit.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked; a gateway that was told to stop has said that it is offline.
    Ok,
    /// 1: a plugin does not keep its contract.
    Failed,
    /// 64 (`EX_USAGE`): the command line is wrong.
    Usage,
    /// 69 (`EX_UNAVAILABLE`): the plugin to be tested is not on the bus, or the bus is not there.
    Unavailable,
    /// 70 (`EX_SOFTWARE`): a bug.
    Internal,
    /// 74 (`EX_IOERR`): a file of the gateway's state cannot be read or written, or another process holds it.
    Io,
    /// 75 (`EX_TEMPFAIL`): the gateway is locked out, and it is not known that no call runs any more.
    StillRunning,
    /// 78 (`EX_CONFIG`): the configuration is wrong, or names a file that is missing or wrong. Starting again does not
    /// help. Nothing that may come back by itself (network, broker, bus, port) ever ends the process.
    Config,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Io => 74,
            Self::StillRunning => 75,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
