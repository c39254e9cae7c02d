//! Whether a record is whole: reads it from its first line to its last, in bounded memory, and writes nothing. It may be the
//! folder of a gateway that runs, or a copy.

use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use nowd_protocol::Uuid;

use super::chain::{Entry, Hash, Head, Line};
use super::files::{self, Lines, Names, Next};
use super::report::{Finding, Report, push};
use super::torn::{self, By};

/// How many heads and torn ends are looked at.
const MOST_MENDED: usize = 1_024;

/// How often to begin again when the gateway removes a file meanwhile.
const MOST_TRIES: usize = 4;

/// How long a line of a gateway that runs may take to be written whole.
const UNFINISHED: Duration = Duration::from_millis(200);

/// The longest time that is told as it stands there.
const LONGEST_TIME: usize = 40;

/// A torn end as the record tells of it.
#[derive(Debug)]
struct Mended {
    n: u64,
    sha256: String,
    /// The entry before it.
    before: Option<(Uuid, u64)>,
    at: (String, u64),
}

/// Reads lines, in their order.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    report: Report,
    heads: Vec<(Head, bool)>,
    file: String,
    line: u64,
    /// The number in the file's name.
    number: u64,
    head: Option<Head>,
    /// The first entry of all that are there, and what it follows.
    begin: Option<(u64, Hash)>,
    /// The last entry that was pruned, and its hash.
    pruned: Option<(u64, Option<String>)>,
    mended: Vec<Mended>,
    /// Whether the gateway runs, as far as the entries say.
    running: Option<bool>,
    /// The last entry of a process.
    before: Option<(Uuid, u64)>,
}

/// Reads the record in `folder`, and compares it with `heads` that were kept elsewhere.
pub(crate) fn verify(folder: &Path, heads: &[Head]) -> io::Result<Report> {
    let mut tries = 0;
    loop {
        let names = Names::read(folder)?;
        match try_verify(folder, &names, heads) {
            // The gateway has removed it meanwhile.
            Err(e) if e.kind() == ErrorKind::NotFound && tries < MOST_TRIES => tries += 1,
            result => return result,
        }
    }
}

pub(super) fn try_verify(folder: &Path, names: &Names, heads: &[Head]) -> io::Result<Report> {
    let mut verifier = Verifier::new(heads);
    let last = names.segments.last_key_value().map(|(number, _)| *number);
    for &number in names.segments.keys() {
        let path = files::segment(folder, number);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut lines = Lines::open(&path)?;
        verifier.begin_file(name, number);
        let mut waited = false;
        loop {
            match lines.next()? {
                Next::Whole(line) => verifier.line(line),
                Next::TooLong => verifier.too_long(),
                Next::Unfinished if Some(number) == last && !waited => {
                    // The gateway may be writing it just now: read once more up to here, and then further.
                    let whole = verifier.line;
                    std::thread::sleep(UNFINISHED);
                    lines = Lines::open(&path)?;
                    for _ in 0..whole {
                        lines.next()?;
                    }
                    waited = true;
                }
                Next::Unfinished if Some(number) == last => {
                    verifier.unfinished();
                    break;
                }
                Next::Unfinished => {
                    verifier
                        .problem("the last line has no end: the file was cut, or something was added".into());
                    break;
                }
                Next::End => break,
            }
        }
    }
    verifier.torn(folder)?;
    if names.is_locked && names.segments.is_empty() {
        verifier.at("", 0);
        verifier.note(
            "a gateway has written here, and there are no entries: it is just starting, or they were removed"
                .into(),
        );
    }
    for other in &names.others {
        verifier.at(other, 0);
        verifier.note("is no part of the record".into());
    }
    Ok(verifier.end())
}

impl Verifier {
    pub(crate) fn new(heads: &[Head]) -> Self {
        Self { heads: heads.iter().map(|head| (*head, false)).collect(), ..Self::default() }
    }

    /// Lines of the next file come now: `number` is the one in its name.
    pub(crate) fn begin_file(&mut self, name: String, number: u64) {
        self.report.files = self.report.files.saturating_add(1);
        self.file = name;
        self.line = 0;
        self.number = number;
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self, bytes: &[u8]) {
        self.line = self.line.saturating_add(1);
        let Some(line) = Line::read(bytes) else {
            return self.problem("is no entry: it was changed, or something was put in".into());
        };
        self.report.entries = self.report.entries.saturating_add(1);
        let number = line.entry.n;
        if self.line == 1 {
            self.first_of_file(&line);
        } else {
            let before = self.head;
            let expected = before.and_then(|head| head.number.checked_add(1));
            match before {
                Some(head) if Some(number) == expected && !line.follows(&head.hash) => {
                    self.problem(format!("entry {number} was changed, or the one before it"));
                }
                Some(head) if Some(number) != expected => self.jump(head.number, number),
                Some(_) => {}
                None => self.problem(format!("entry {number} does not stand at the beginning of its file")),
            }
        }
        self.head = Some(Head { number, hash: line.hash });
        self.compare();
        self.tell(line.entry);
    }

    /// The next line is longer than any entry.
    pub(crate) fn too_long(&mut self) {
        self.line = self.line.saturating_add(1);
        self.problem("is longer than any entry: it was changed, or something was put in".into());
    }

    fn first_of_file(&mut self, line: &Line<'_>) {
        let number = line.entry.n;
        if number != self.number {
            self.problem(format!("begins with entry {number}, and its name says {}", self.number));
        }
        let Some(after) = line.after() else {
            return self.problem(format!("entry {number} does not begin a file, but it is the first of one"));
        };
        if !line.follows(&after) {
            self.problem(format!("entry {number} was changed"));
        }
        let Some(head) = self.head else {
            self.begin = Some((number, after));
            return;
        };
        if head.number.checked_add(1) != Some(number) {
            self.jump(head.number, number);
        } else if after != head.hash {
            self.problem(format!(
                "entry {number} does not follow entry {}: one of the two files was replaced",
                head.number
            ));
        }
    }

    fn jump(&mut self, last: u64, number: u64) {
        let message = match number.checked_sub(last) {
            None | Some(0) => format!(
                "entry {number} stands after entry {last}: lines or files were put in, or in another order"
            ),
            Some(2) => format!("entry {} is missing", last.saturating_add(1)),
            Some(_) => {
                format!("entries {} to {} are missing", last.saturating_add(1), number.saturating_sub(1))
            }
        };
        self.problem(message);
    }

    fn compare(&mut self) {
        let Some(found) = self.head else { return };
        let mut differs = false;
        for (head, seen) in &mut self.heads {
            if head.number == found.number {
                *seen = true;
                differs |= head.hash != found.hash;
            }
        }
        if differs {
            self.problem(format!(
                "entry {} has another hash than the head that was kept: it or one before it was changed",
                found.number
            ));
        }
    }

    /// What an entry says of gaps.
    fn tell(&mut self, entry: Entry) {
        let Entry { n, time, steady_us, incarnation, what, count, last, last_hash, sha256, bytes, .. } =
            entry;
        if self.report.first.is_none() {
            self.report.first = Some(n);
        }
        let count = count.unwrap_or(0);
        let of_first = self.report.first == Some(n) && self.report.first_time.is_none();
        let time = if time.len() <= LONGEST_TIME && time.bytes().all(|byte| byte.is_ascii_graphic()) {
            time
        } else {
            "an unknown time".to_owned()
        };
        if of_first {
            self.report.first_time = Some(time.clone());
        }
        match what.as_str() {
            "start" => {
                if self.running == Some(true) {
                    self.report.unclean_ends = self.report.unclean_ends.saturating_add(1);
                    self.note(format!(
                        "before {time} the gateway ended without `stop`: it was killed, or lost its power, and what it had not \
                         brought to the disk is missing"
                    ));
                }
                self.running = Some(true);
            }
            "stop" => self.running = Some(false),
            "lost" => {
                self.report.lost = self.report.lost.saturating_add(count);
                self.note(format!("{count} entries were lost before {time}"));
            }
            "folded" => self.report.folded = self.report.folded.saturating_add(count),
            "pruned" => {
                if let Some(last) = last {
                    self.pruned = Some((last, last_hash));
                }
            }
            "mended" => {
                self.report.mended = self.report.mended.saturating_add(1);
                self.note(format!(
                    "before {time} {} bytes were taken off, which a loss of power or a full disk had torn",
                    bytes.unwrap_or(0)
                ));
                if self.mended.len() < MOST_MENDED {
                    let at = (self.file.clone(), self.line);
                    let sha256 = sha256.unwrap_or_default();
                    self.mended.push(Mended { n, sha256, before: self.before, at });
                }
            }
            _ => {}
        }
        if !matches!(what.as_str(), "segment" | "mended") {
            self.before = Some((incarnation, steady_us));
        }
        self.report.last_time = Some(time);
    }

    fn unfinished(&mut self) {
        self.line = self.line.saturating_add(1);
        self.note("the last line has no end: the power went while it was written, or something was added; the next start of the gateway takes it off".into());
    }

    /// What was taken off lies beside the record as it was, and can have been torn off.
    fn torn(&mut self, folder: &Path) -> io::Result<()> {
        // A gateway that started meanwhile has put it there since the other names were read.
        let names = Names::read(folder)?;
        for &number in names.torn.keys() {
            let path = files::torn(folder, number);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.at(&name, 0);
            if self.begin.is_some_and(|(first, _)| number < first) {
                self.note("belongs to entries that were removed".into());
                continue;
            }
            let mut bytes = Vec::new();
            // As much as is ever taken off.
            std::fs::File::open(&path)?.take(1 << 26).read_to_end(&mut bytes)?;
            let hash = Hash::of(&bytes).to_string();
            let Some(at) = self.mended.iter().position(|mended| mended.n >= number && mended.sha256 == hash)
            else {
                if self.head.is_none_or(|head| head.number < number) {
                    self.note("was taken off, and the next start of the gateway records it".into());
                } else {
                    self.problem(
                        "is not what the gateway says that it has taken off: it was changed, or put here"
                            .into(),
                    );
                }
                continue;
            };
            let mended = self.mended.swap_remove(at);
            match torn::by(&bytes, mended.before) {
                By::Power => {}
                By::PowerOrChange => self.note(
                    "was taken off long after the entry before it: a loss of power just after a quiet time, or a change".into(),
                ),
                By::Change => self.problem(
                    "holds whole entries that had been on the disk for long: not a loss of power took them off, but a change of the \
                     entry before them"
                        .into(),
                ),
            }
        }
        for mended in std::mem::take(&mut self.mended) {
            (self.file, self.line) = mended.at;
            self.problem("what was taken off here is not beside the record any more".into());
        }
        Ok(())
    }

    /// Everything was read.
    pub(crate) fn end(mut self) -> Report {
        self.report.head = self.head.map(|head| head.to_string());
        self.report.pruned = self.pruned.as_ref().map(|(last, _)| *last);
        if let Some((first, after)) = self.begin {
            let told = self.pruned.as_ref().is_some_and(|(last, hash)| {
                *last >= first.saturating_sub(1)
                    && (*last != first.saturating_sub(1)
                        || hash.as_ref().is_none_or(|hash| *hash == after.to_string()))
            });
            self.file = String::new();
            self.line = 0;
            if first == 1 && after != Hash::NONE {
                self.problem("the first entry follows another one, which is not there".into());
            } else if first > 1 && !told {
                self.problem(format!(
                    "entries 1 to {} are missing, and the gateway has not removed them",
                    first.saturating_sub(1)
                ));
            }
        }
        for (head, seen) in std::mem::take(&mut self.heads) {
            let end = self.head.map_or(0, |head| head.number);
            self.file = String::new();
            self.line = 0;
            if head.number > end {
                self.problem(format!(
                    "the record ends with entry {end}, and a head of entry {} was kept: its end was cut off, or lost with the power",
                    head.number
                ));
            } else if !seen {
                self.problem(format!(
                    "entry {} is not there any more, so the head that was kept says nothing",
                    head.number
                ));
            }
        }
        self.report.sound = self.report.problems.is_empty();
        self.report
    }

    fn at(&mut self, file: &str, line: u64) {
        file.clone_into(&mut self.file);
        self.line = line;
    }

    fn problem(&mut self, message: String) {
        let finding = Finding { file: self.file.clone(), line: self.line, message };
        push(&mut self.report.problems, finding, &mut self.report.further);
    }

    fn note(&mut self, message: String) {
        let finding = Finding { file: self.file.clone(), line: self.line, message };
        push(&mut self.report.notes, finding, &mut self.report.further);
    }
}
