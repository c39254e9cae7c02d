//! What the nucleus hands to the process of a component.
//!
//! Reads no environment by itself: the caller passes the variables, so that tests and the daemon's own layers decide
//! which. An empty variable is one that is not there.

use std::fmt;
use std::path::{Path, PathBuf};

/// The variable with the path of the socket.
pub const SOCKET_VARIABLE: &str = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT";
/// The variable with the token.
pub const TOKEN_VARIABLE: &str = "SVCUID";
/// What the kernel takes as the path of a Unix socket, in bytes.
pub const LONGEST_PATH: usize = 107;

/// What the nucleus says to a component's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The nucleus's socket. The classic nucleus gives a path relative to the component's working folder where its own
    /// is too long for the kernel: it is good for as long as the process stays in that folder.
    pub socket: PathBuf,
    /// Who we are to the nucleus.
    pub token: Token,
    /// The core's thing name.
    pub thing_name: Option<String>,
    /// Its AWS region.
    pub region: Option<String>,
    /// The file of the root certificates that the nucleus trusts.
    pub root_ca: Option<PathBuf>,
    /// The nucleus's version.
    pub nucleus_version: Option<String>,
}

impl Environment {
    /// What `variable` says by name; nothing when this process is no component: the socket or the token is missing.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let there = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        Some(Self {
            socket: PathBuf::from(there(SOCKET_VARIABLE)?),
            token: Token::new(there(TOKEN_VARIABLE)?),
            thing_name: there("AWS_IOT_THING_NAME"),
            region: there("AWS_REGION").or_else(|| there("AWS_DEFAULT_REGION")),
            root_ca: there("GG_ROOT_CA_PATH").map(PathBuf::from),
            nucleus_version: there("GGC_VERSION"),
        })
    }
}

/// The secret by which the nucleus knows a component. It shows itself nowhere but to the nucleus.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as the nucleus gave it.
    #[must_use]
    pub const fn new(token: String) -> Self {
        Self(token)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why `path` cannot be a socket's.
pub(crate) fn mistake(path: &Path) -> Option<&'static str> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        Some("it is empty")
    } else if bytes.len() > LONGEST_PATH {
        Some("it is longer than the 107 bytes that the kernel takes")
    } else if bytes.contains(&0) {
        Some("it has a NUL")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
