//! The files as they are written: one after the other, each bounded, the oldest removed. What a loss of power or a full disk
//! has left at the end is taken off when they are opened, kept beside, and recorded. Nothing is ever changed that was whole.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::chain::{Hash, Head};
use super::entry::{Moment, Sealer, What};
use super::files::{self, Names};
use crate::journal::disk::{self, Disk};
use crate::lockout::files::{make_folder, sync_folder_of};

/// The largest file, in bytes; small enough to be read whole at each start.
const LARGEST_SEGMENT: u64 = 16 << 20;

/// The most that is taken off the end of a file, in bytes. More is no torn end, and is left as it is.
const LARGEST_TORN: u64 = LARGEST_SEGMENT * 2;

/// What is written at once, in bytes.
const BLOCK: usize = 1 << 18;

/// The form of the entries.
const FORM: u8 = 1;

/// Who may read and write: the daemon, and read: its group.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// The record cannot be written now.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// A file or the folder.
    #[error("{}: {source}", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use by another process; each daemon needs a `state_dir` of its own", .0.display())]
    InUse(PathBuf),
}

/// What was taken off when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mended {
    bytes: u64,
    sha256: String,
}

#[derive(Debug)]
pub(super) struct Store<D> {
    folder: PathBuf,
    sealer: Sealer,
    max_size: u64,
    _lock: File,
    names: Names,
    /// The file that is written.
    current: Option<Current<D>>,
    buffer: Vec<u8>,
    head: Option<Head>,
    /// Whether a file was begun since this was asked last.
    rolled: bool,
}

/// A file that is written: itself, as a disk too, and how much is in it.
#[derive(Debug)]
struct Current<D> {
    number: u64,
    file: File,
    disk: D,
    len: u64,
}

impl<D: Disk> Store<D> {
    /// Opens what is there. `wrap` makes a disk of a file.
    pub(super) fn open(
        folder: &Path,
        max_size: u64,
        sealer: Sealer,
        wrap: &mut dyn FnMut(File) -> D,
    ) -> Result<(Self, Vec<Mended>), StoreError> {
        make(folder).map_err(at(folder))?;
        let path = folder.join(files::LOCK);
        let lock = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(&path);
        let lock = lock.map_err(at(&path))?;
        if !disk::lock(&lock).map_err(at(&path))? {
            return Err(StoreError::InUse(folder.into()));
        }
        clean_up(folder).map_err(at(folder))?;
        let names = Names::read(folder).map_err(at(folder))?;
        let mut store = Self {
            folder: folder.into(),
            sealer,
            max_size,
            _lock: lock,
            names,
            current: None,
            buffer: Vec::new(),
            head: None,
            rolled: false,
        };
        store.recover(wrap).map_err(at(folder))?;
        let mended = store.pending().map_err(at(folder))?;
        Ok((store, mended))
    }

    pub(super) const fn head(&self) -> Option<Head> {
        self.head
    }

    /// Whether a file was begun since this was asked last.
    pub(super) fn has_rolled(&mut self) -> bool {
        std::mem::take(&mut self.rolled)
    }

    /// Adds an entry, which is written with the next [`Self::flush`]. After an error it was not added.
    pub(super) fn add(
        &mut self,
        moment: Moment,
        what: &What<'_>,
        wrap: &mut dyn FnMut(File) -> D,
    ) -> Result<(), StoreError> {
        let (mut line, mut head) = self.sealer.line(self.head, moment, what);
        let is_full = match &self.current {
            None => true,
            Some(current) => {
                let len = size(self.buffer.len()).saturating_add(size(line.len()));
                current.len.saturating_add(len) > self.largest_segment()
            }
        };
        if is_full {
            self.roll(moment, wrap)?;
            (line, head) = self.sealer.line(self.head, moment, what);
        }
        self.buffer.extend_from_slice(line.as_bytes());
        self.head = Some(head);
        Ok(())
    }

    /// Whether it is time to write what was added.
    pub(super) const fn is_much(&self) -> bool {
        self.buffer.len() >= BLOCK
    }

    /// Writes what was added. After an error the store is to be opened again.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = current.disk.write_all_at(&self.buffer, current.len);
        if written.is_err() {
            // Half of a line would have to be taken off later; where even that fails, it will be.
            drop(current.file.set_len(current.len));
        }
        current.len = current.len.saturating_add(size(self.buffer.len()));
        self.names.segments.insert(current.number, current.len);
        self.buffer.clear();
        written.map_err(at(&files::segment(&self.folder, current.number)))
    }

    /// Returns when everything added would survive a loss of power.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        let Some(current) = &mut self.current else { return Ok(()) };
        let path = files::segment(&self.folder, current.number);
        current.disk.sync_data().and_then(|()| files::is_there(&current.file, &path)).map_err(at(&path))
    }

    fn largest_segment(&self) -> u64 {
        (self.max_size / 16).min(LARGEST_SEGMENT)
    }

    /// Begins a new file, and removes old ones.
    fn roll(&mut self, moment: Moment, wrap: &mut dyn FnMut(File) -> D) -> Result<(), StoreError> {
        self.sync()?;
        let after = self.head.map_or(Hash::NONE, |head| head.hash);
        let what = What::Segment { form: FORM, after: after.to_string() };
        let (line, head) = self.sealer.line(self.head, moment, &what);
        let path = files::segment(&self.folder, head.number);
        let begin = || {
            let file =
                OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(&path)?;
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            sync_folder_of(&path)?;
            Ok((file.try_clone()?, file))
        };
        let (file, other) = begin().map_err(at(&path))?;
        self.current = Some(Current { number: head.number, file, disk: wrap(other), len: 0 });
        self.names.segments.insert(head.number, 0);
        self.buffer.extend_from_slice(line.as_bytes());
        self.head = Some(head);
        self.rolled = true;
        self.sync()?;
        self.prune(moment)
    }

    /// Removes the oldest files until there is room for another one. That they are removed is on the disk before they are.
    fn prune(&mut self, moment: Moment) -> Result<(), StoreError> {
        let room = self.max_size.saturating_sub(self.largest_segment());
        loop {
            let total: u64 = self.names.segments.values().chain(self.names.torn.values()).sum();
            let mut numbers = self.names.segments.keys().copied();
            let (Some(first), Some(next)) = (numbers.next(), numbers.next()) else { return Ok(()) };
            if total <= room {
                return Ok(());
            }
            let what = What::Pruned {
                first,
                last: next.saturating_sub(1),
                last_hash: files::after(&self.folder, next).map(|hash| hash.to_string()),
            };
            let (line, head) = self.sealer.line(self.head, moment, &what);
            self.buffer.extend_from_slice(line.as_bytes());
            self.head = Some(head);
            self.sync()?;
            let path = files::segment(&self.folder, first);
            // In this order over a loss of power too: what is left is always the end of the chain.
            remove(&path).and_then(|()| sync_folder_of(&path)).map_err(at(&path))?;
            self.names.segments.remove(&first);
            while let Some((&number, _)) = self.names.torn.range(..next).next() {
                remove(&files::torn(&self.folder, number)).map_err(at(&self.folder))?;
                self.names.torn.remove(&number);
            }
        }
    }

    /// Finds the last entry that is whole, and takes off what follows it.
    fn recover(&mut self, wrap: &mut dyn FnMut(File) -> D) -> io::Result<()> {
        let mut newest = self.names.segments.iter().rev().map(|(number, size)| (*number, *size));
        let (last, previous) = (newest.next(), newest.next());
        let Some((number, size)) = last else { return Ok(()) };
        let whole = files::whole(&self.folder, number)?;
        if let Some(head) = whole.head {
            if size - whole.len.min(size) > LARGEST_TORN {
                return self.begin_anew(number, size);
            }
            return self.go_on(number, size, whole.len, head, wrap);
        }
        // It was begun, and the power went before its first entry was written.
        let Some((before, size_before)) = previous else {
            if size > LARGEST_TORN {
                return self.begin_anew(number, size);
            }
            return self.take_off(number, 0, size, 1);
        };
        let whole = files::whole(&self.folder, before)?;
        match whole.head {
            Some(head) if whole.len == size_before && size <= LARGEST_TORN => {
                self.take_off(number, 0, size, head.number.saturating_add(1))?;
                self.go_on(before, size_before, whole.len, head, wrap)
            }
            Some(_) | None => self.begin_anew(number, size),
        }
    }

    /// Nothing can be gone on with: what there is stays as it is, and a second chain begins after it, which
    /// `nowd audit verify` tells. No number is given twice, since no entry is shorter than a byte.
    fn begin_anew(&mut self, number: u64, size: u64) -> io::Result<()> {
        let number = number.checked_add(size).ok_or(ErrorKind::InvalidData)?;
        self.head = Some(Head { number, hash: Hash::NONE });
        Ok(())
    }

    fn go_on(
        &mut self,
        number: u64,
        size: u64,
        len: u64,
        head: Head,
        wrap: &mut dyn FnMut(File) -> D,
    ) -> io::Result<()> {
        if size > len {
            self.take_off(number, len, size, head.number.saturating_add(1))?;
        }
        let path = files::segment(&self.folder, number);
        let mut disk = wrap(OpenOptions::new().read(true).write(true).open(&path)?);
        // What the page cache alone has is not torn off by a later loss of power, together with what follows.
        disk.sync_data()?;
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        self.current = Some(Current { number, file, disk, len });
        self.head = Some(head);
        Ok(())
    }

    /// Moves the end of a file, from `len` to `size`, to a file of its own, `next` being the entry that should stand there. It
    /// is there whole before it is gone here.
    fn take_off(&mut self, number: u64, len: u64, size: u64, next: u64) -> io::Result<()> {
        let path = files::segment(&self.folder, number);
        if size > len {
            let mut tail = Vec::new();
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(len))?;
            file.take(size.saturating_sub(len)).read_to_end(&mut tail)?;
            self.keep_beside(next, &tail)?;
        }
        if len == 0 {
            remove(&path)?;
            self.names.segments.remove(&number);
            return sync_folder_of(&path);
        }
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(len)?;
        file.sync_all()?;
        self.names.segments.insert(number, len);
        Ok(())
    }

    fn keep_beside(&mut self, next: u64, tail: &[u8]) -> io::Result<()> {
        let path = files::torn(&self.folder, next);
        let mut kept = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            kept => kept?,
        };
        // Else an earlier start came so far, and not to taking it off.
        if !kept.ends_with(tail) {
            kept.extend_from_slice(tail);
            let fresh = files::unfinished(&path);
            remove(&fresh)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&fresh)?;
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            file.write_all(&kept)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            sync_folder_of(&path)?;
        }
        self.names.torn.insert(next, size(kept.len()));
        Ok(())
    }

    /// What was taken off, now or by an earlier start that did not come to recording it.
    fn pending(&self) -> io::Result<Vec<Mended>> {
        let next = self.head.map_or(1, |head| head.number.saturating_add(1));
        let mut mended = Vec::new();
        for number in self.names.torn.range(next..).map(|(number, _)| *number) {
            let bytes = fs::read(files::torn(&self.folder, number))?;
            mended.push(Mended { bytes: size(bytes.len()), sha256: Hash::of(&bytes).to_string() });
        }
        Ok(mended)
    }
}

impl Mended {
    pub(super) fn what(&self) -> What<'static> {
        What::Mended { bytes: self.bytes, sha256: self.sha256.clone() }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn make(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Ok(()) => {
            // Whatever umask the service has.
            fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?;
            sync_folder_of(folder)
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

/// Removes what starts that were cut short have left beside the record.
fn clean_up(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if files::is_unfinished(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::File { path: path.into(), source }
}

fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
