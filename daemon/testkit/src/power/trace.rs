//! The log of `strace -f -y -xx`, as far as it is needed here.
//!
//! A line is `PID name(arguments) = result`; with several threads a call may be cut in two, `<unfinished ...>` and
//! `<... name resumed>`, and counts when it has ended. Texts are all in hexadecimal, so that no text can look like syntax.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A call that succeeded.
#[derive(Debug)]
pub(super) struct Syscall {
    pub(super) name: String,
    arguments: Vec<String>,
    pub(super) result: i64,
    /// What the descriptor stands for that the call has returned.
    pub(super) result_path: Option<String>,
}

/// The calls that succeeded, in the order in which they ended.
pub(super) fn parse(log: &str) -> Vec<Syscall> {
    let mut begun: BTreeMap<&str, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, start.trim_end().to_owned());
        } else if let Some((_, end)) =
            rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"))
        {
            let start = begun.remove(thread).unwrap_or_default();
            calls.extend(call(&format!("{start}{end}")));
        } else {
            calls.extend(call(rest));
        }
    }
    calls
}

fn call(line: &str) -> Option<Syscall> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let number: String = result.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    let result_path = descriptor(result.split_whitespace().next().unwrap_or_default());
    let result = number.parse().ok().filter(|result| *result >= 0)?;
    Some(Syscall { name: name.into(), arguments: split(arguments), result, result_path })
}

/// At the commas that are in no brackets.
fn split(arguments: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let mut all = vec![String::new()];
    for c in arguments.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        all.last_mut().expect("there is one").push(c);
    }
    all.iter().map(|argument| argument.trim().to_owned()).collect()
}

/// The path in `5<...>`.
fn descriptor(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('<')?;
    let path = rest.strip_suffix("(deleted)").unwrap_or(rest).strip_suffix('>').unwrap_or(rest);
    Some(String::from_utf8_lossy(&bytes(path)).into_owned())
}

/// `\x41\x42` is `AB`; what is not written so stands for itself.
fn bytes(text: &str) -> Vec<u8> {
    let mut all = Vec::with_capacity(text.len() / 4);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let hex = rest.strip_prefix("\\x").and_then(|rest| rest.get(..2));
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            all.push(byte);
            rest = rest.get(4..).unwrap_or_default();
        } else {
            all.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    all
}

impl Syscall {
    fn argument(&self, index: usize) -> &str {
        self.arguments.get(index).map_or("", String::as_str)
    }

    /// The descriptor's number.
    pub(super) fn fd(&self, index: usize) -> Option<u64> {
        self.argument(index).split('<').next()?.parse().ok()
    }

    /// What the descriptor stands for.
    pub(super) fn descriptor(&self, index: usize) -> Option<String> {
        descriptor(self.argument(index))
    }

    /// A number that must be there.
    pub(super) fn number(&self, index: usize) -> usize {
        self.argument(index).parse().unwrap_or_else(|_| panic!("argument {index} is no number: {self:?}"))
    }

    /// The bytes of a text.
    pub(super) fn text(&self, index: usize) -> Vec<u8> {
        let argument = self.argument(index);
        bytes(argument.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default())
    }

    /// Whether a flag is among the arguments.
    pub(super) fn has_flag(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument.split('|').any(|one| one == flag))
    }

    /// The paths among the arguments that lie in the folder, relative to it.
    pub(super) fn paths(&self, folder: &Path) -> Vec<PathBuf> {
        let mut at = PathBuf::new();
        let mut paths = Vec::new();
        for index in 0..self.arguments.len() {
            // The folder that the next relative path counts from.
            if let Some(base) = self.descriptor(index) {
                at = base.into();
            } else if self.argument(index).starts_with('"') {
                let path = at.join(PathBuf::from(OsString::from_vec(self.text(index))));
                paths.extend(path.strip_prefix(folder).ok().map(Path::to_owned));
            }
        }
        paths
    }
}
