//! Exit codes: those of `sysexits.h`, where they fit, and what is known of a call.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked; a gateway that was told to stop has said that it is offline.
    Ok,
    /// 1: a plugin does not keep its contract; the audit record has a gap, or was changed; or the gateway has a problem that somebody
    /// must mend (`nowd status --check`).
    Failed,
    /// 3: the call was not executed, and will not be.
    NotExecuted,
    /// 4: the call may have been executed.
    Unknown,
    /// 64 (`EX_USAGE`): the command line is wrong.
    Usage,
    /// 69 (`EX_UNAVAILABLE`): no gateway, plugin or provisioning service can be asked.
    Unreachable,
    /// 70 (`EX_SOFTWARE`): a bug.
    Internal,
    /// 74 (`EX_IOERR`): a file of the gateway's state cannot be read or written, or another process holds it; or certificate and
    /// key are half renewed. Starting again may help.
    Io,
    /// 75 (`EX_TEMPFAIL`): the gateway is locked out, and it is not known that no call runs any more; or it was already, for
    /// another reason, which stays.
    StillRunning,
    /// 77 (`EX_NOPERM`): the gateway does not serve this user, or a plugin may not be called by it; or the provisioning
    /// service refuses.
    Denied,
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
            Self::NotExecuted => 3,
            Self::Unknown => 4,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::Internal => 70,
            Self::Io => 74,
            Self::StillRunning => 75,
            Self::Denied => 77,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
