//! The names in the folder, and how far a file is whole. Writes nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::chain::{Hash, Head, LONGEST_LINE, Line};

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
    /// Whether a gateway has ever written here.
    pub(super) is_locked: bool,
}

/// How many foreign names are told.
const MOST_OTHERS: usize = 8;

pub(super) fn segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:0DIGITS$}.jsonl"))
}

pub(super) fn torn(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:0DIGITS$}.torn"))
}

/// Where a file `.torn` is made.
pub(super) fn unfinished(torn: &Path) -> PathBuf {
    torn.with_extension("new")
}

/// Whether it is such a file, which a start that was cut short has left.
pub(super) fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| number(name, ".new").is_some())
}

/// What stands before the ending, if it is a number as names of ours have it.
fn number(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending).filter(|digits| digits.len() == DIGITS)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
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
            if let (Some(number), true) = (number(&name, ".jsonl"), about.is_file()) {
                names.segments.insert(number, about.len());
            } else if let (Some(number), true) = (number(&name, ".torn"), about.is_file()) {
                names.torn.insert(number, about.len());
            } else if name == LOCK {
                names.is_locked = true;
            } else if names.others.len() < MOST_OTHERS {
                names.others.push(name);
            }
        }
        Ok(names)
    }
}

/// Lines of a file, none longer than an entry may be.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// Without its end.
    Whole(&'a [u8]),
    /// Longer than any entry, and not kept: the next line comes next.
    TooLong,
    /// Nothing ends it: the file ends.
    Unfinished,
    End,
}

impl Lines<BufReader<File>> {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(BufReader::with_capacity(1 << 16, File::open(path)?)))
    }
}

impl<R: BufRead> Lines<R> {
    pub(crate) const fn new(reader: R) -> Self {
        Self { reader, line: Vec::new() }
    }

    pub(crate) fn next(&mut self) -> io::Result<Next<'_>> {
        self.line.clear();
        let most = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX).saturating_add(1);
        io::Read::take(&mut self.reader, most).read_until(b'\n', &mut self.line)?;
        let is_whole = self.line.last() == Some(&b'\n');
        if !is_whole && self.line.len() > LONGEST_LINE && self.skip()? {
            return Ok(Next::TooLong);
        }
        Ok(match self.line.split_last() {
            None => Next::End,
            Some((b'\n', line)) => Next::Whole(line),
            Some(_) => Next::Unfinished,
        })
    }

    /// Goes on behind the end of the line, and says whether it has one.
    fn skip(&mut self) -> io::Result<bool> {
        loop {
            let (len, is_end) = match self.reader.fill_buf() {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
                Ok([]) => return Ok(false),
                Ok(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                    Some(at) => (at.saturating_add(1), true),
                    None => (bytes.len(), false),
                },
            };
            self.reader.consume(len);
            if is_end {
                return Ok(true);
            }
        }
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

/// What the file that begins with `number` says that it follows.
pub(super) fn after(folder: &Path, number: u64) -> Option<Hash> {
    match Lines::open(&segment(folder, number)).ok()?.next() {
        Ok(Next::Whole(line)) => Line::read(line)?.after(),
        Ok(Next::TooLong | Next::Unfinished | Next::End) | Err(_) => None,
    }
}

/// Fails if the file does not lie any more where others look for it: whatever is written to it is lost with it.
pub(super) fn is_there(file: &File, path: &Path) -> io::Result<()> {
    let place = |file: fs::Metadata| (file.dev(), file.ino());
    let there = match fs::symlink_metadata(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        there => there.ok().map(place),
    };
    if there == Some(place(file.metadata()?)) {
        return Ok(());
    }
    Err(io::Error::other("the file was removed or replaced while the gateway wrote to it"))
}
