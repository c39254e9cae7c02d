//! The names in the folder, and how far a file is whole. Writes nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use super::chain::{Head, LONGEST_LINE, Line};

/// The file that the writing process holds.
pub(super) const LOCK: &str = "lock";

/// How many digits a name has, so that names sort as numbers do.
const DIGITS: usize = 20;

/// What lies in the folder: by the number in the name, the size in bytes.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Files of entries, by the number of their first.
    pub(super) segments: BTreeMap<u64, u64>,
    /// What was taken off, by the number of the entry that would have stood there.
    pub(super) torn: BTreeMap<u64, u64>,
    /// What is none of ours, but for a few.
    pub(super) others: Vec<String>,
}

/// How many foreign names are told.
const MOST_OTHERS: usize = 8;

pub(super) fn segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:0DIGITS$}.jsonl"))
}

pub(super) fn torn(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:0DIGITS$}.torn"))
}

impl Names {
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut names = Self::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let about = match entry.metadata() {
                // It was removed meanwhile.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                about => about?,
            };
            let number = |ending| {
                let digits = name.strip_suffix(ending).filter(|digits| digits.len() == DIGITS)?;
                digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
            };
            if let (Some(number), true) = (number(".jsonl"), about.is_file()) {
                names.segments.insert(number, about.len());
            } else if let (Some(number), true) = (number(".torn"), about.is_file()) {
                names.torn.insert(number, about.len());
            } else if name != LOCK && names.others.len() < MOST_OTHERS {
                names.others.push(name);
            }
        }
        Ok(names)
    }
}

/// Lines of a file, none longer than an entry may be.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// Without its end.
    Whole(&'a [u8]),
    /// Nothing ends it: so many bytes up to the end of the file, or of the longest line there may be.
    Unfinished(usize),
    End,
}

impl Lines<BufReader<File>> {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(BufReader::with_capacity(1 << 16, File::open(path)?)))
    }
}

impl<R: BufRead> Lines<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self { reader, line: Vec::new() }
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        self.line.clear();
        let most = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX).saturating_add(1);
        io::Read::take(&mut self.reader, most).read_until(b'\n', &mut self.line)?;
        Ok(match self.line.split_last() {
            None => Next::End,
            Some((b'\n', line)) => Next::Whole(line),
            Some(_) => Next::Unfinished(self.line.len()),
        })
    }
}

/// How far a file is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    /// So many bytes.
    pub(super) len: u64,
    /// The last entry in them.
    pub(super) head: Option<Head>,
}

/// Reads the file of entries that begins with `number` up to the first line that does not follow the one before.
pub(super) fn whole(folder: &Path, number: u64) -> io::Result<Whole> {
    let mut lines = Lines::open(&segment(folder, number))?;
    let mut whole = Whole { len: 0, head: None };
    while let Next::Whole(bytes) = lines.next()? {
        let Some(line) = Line::read(bytes) else { break };
        let (expected, before) = match whole.head {
            Some(head) => (head.number.checked_add(1), Some(head.hash)),
            None => (Some(number), line.after()),
        };
        if Some(line.entry.n) != expected || !before.is_some_and(|before| line.follows(&before)) {
            break;
        }
        whole.head = Some(Head { number: line.entry.n, hash: line.hash });
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        whole.len = whole.len.saturating_add(len).saturating_add(1);
    }
    Ok(whole)
}
