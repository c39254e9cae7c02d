//! From system calls to changes of a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Tree;
use super::trace::Syscall;

/// One change. Files are numbered; names are relative to the folder.
#[derive(Debug)]
pub(super) enum Step {
    Name(NameStep),
    Write { file: usize, at: usize, bytes: Vec<u8> },
    Resize { file: usize, len: usize },
    SyncFile(usize),
    SyncFolder(PathBuf),
    Mark,
}

#[derive(Debug, Clone)]
pub(super) enum NameStep {
    Make { name: PathBuf, file: usize },
    MakeFolder(PathBuf),
    Rename { from: PathBuf, to: PathBuf },
    Remove(PathBuf),
}

impl NameStep {
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        let is_in = |name: &Path| name.parent() == Some(folder);
        match self {
            Self::Make { name, .. } | Self::MakeFolder(name) | Self::Remove(name) => is_in(name),
            Self::Rename { from, to } => is_in(from) || is_in(to),
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, Option<usize>>) {
        match self {
            Self::Make { name, file } => drop(names.insert(name.clone(), Some(*file))),
            Self::MakeFolder(name) => drop(names.insert(name.clone(), None)),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Rename { from, to } => {
                let moved: Vec<PathBuf> =
                    names.keys().filter(|name| name.starts_with(from)).cloned().collect();
                for name in moved {
                    let rest = name.strip_prefix(from).expect("it starts with it");
                    let new = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    let file = names.remove(&name).expect("it is there");
                    names.insert(new, file);
                }
            }
        }
    }
}

/// From system calls to steps: which file and which place a descriptor stands for.
pub(super) struct Builder<'a> {
    folder: &'a Path,
    /// The files by the names that programs see.
    files: BTreeMap<PathBuf, usize>,
    made: usize,
    /// Where open descriptors write next, and whether at the end.
    places: BTreeMap<u64, (usize, bool)>,
    lengths: Vec<usize>,
    steps: Vec<Step>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(folder: &'a Path, before: &Tree) -> Self {
        let mut files = BTreeMap::new();
        let mut lengths = Vec::new();
        for (name, content) in before.iter().filter_map(|(name, content)| Some((name, content.as_ref()?))) {
            files.insert(name.clone(), lengths.len());
            lengths.push(content.len());
        }
        Self { folder, files, made: lengths.len(), places: BTreeMap::new(), lengths, steps: Vec::new() }
    }

    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    pub(super) fn take(&mut self, call: &Syscall, is_mark: &impl Fn(&str, &[u8]) -> bool) {
        match call.name.as_str() {
            "openat" | "open" | "creat" => self.open(call),
            "write" | "pwrite64" => self.write(call, is_mark),
            "lseek" => {
                if let (Some(fd), Ok(at)) = (call.fd(0), usize::try_from(call.result)) {
                    self.places.entry(fd).or_default().0 = at;
                }
            }
            "ftruncate" => {
                if let Some(file) = self.file_of(call) {
                    self.resize(file, call.number(1));
                }
            }
            "rename" | "renameat" | "renameat2" => self.rename(call),
            "unlink" | "unlinkat" | "rmdir" => {
                if let Some(name) = call.paths(self.folder).first() {
                    self.files.remove(name);
                    self.steps.push(Step::Name(NameStep::Remove(name.clone())));
                }
            }
            "mkdir" | "mkdirat" => {
                // The folder itself is taken for safe once it is there.
                if let Some(name) =
                    call.paths(self.folder).first().filter(|name| !name.as_os_str().is_empty())
                {
                    self.steps.push(Step::Name(NameStep::MakeFolder(name.clone())));
                }
            }
            "fsync" | "fdatasync" => {
                let Some(name) = call.descriptor(0).and_then(|path| inside(self.folder, &path)) else {
                    return;
                };
                match self.files.get(&name) {
                    Some(file) => self.steps.push(Step::SyncFile(*file)),
                    None => self.steps.push(Step::SyncFolder(name)),
                }
            }
            "close" => {}
            other => {
                let touches = !call.paths(self.folder).is_empty() || self.file_of(call).is_some();
                assert!(!touches, "the model of a loss of power does not know {other}: {call:?}");
            }
        }
    }

    fn open(&mut self, call: &Syscall) {
        let Some(name) = call.result_path.as_deref().and_then(|path| inside(self.folder, path)) else {
            return;
        };
        let Ok(fd) = u64::try_from(call.result) else { return };
        if call.has_flag("O_CREAT") && !self.files.contains_key(&name) {
            let file = self.made;
            self.made += 1;
            self.lengths.push(0);
            self.files.insert(name.clone(), file);
            self.steps.push(Step::Name(NameStep::Make { name: name.clone(), file }));
        }
        if call.has_flag("O_TRUNC")
            && let Some(file) = self.files.get(&name).copied()
        {
            self.resize(file, 0);
        }
        self.places.insert(fd, (0, call.has_flag("O_APPEND")));
    }

    fn write(&mut self, call: &Syscall, is_mark: &impl Fn(&str, &[u8]) -> bool) {
        let Ok(written) = usize::try_from(call.result) else { return };
        let bytes: Vec<u8> = call.text(1).iter().take(written).copied().collect();
        let Some(file) = self.file_of(call) else {
            if call.descriptor(0).is_some_and(|path| is_mark(&path, &bytes)) {
                self.steps.push(Step::Mark);
            }
            return;
        };
        assert_eq!(bytes.len(), written, "the whole of a write is recorded");
        let len = self.lengths.get_mut(file).expect("a file has a length");
        let at = if call.name == "pwrite64" {
            call.number(3)
        } else {
            let (next, appends) = self.places.entry(call.fd(0).unwrap_or_default()).or_default();
            let at = if *appends { *len } else { *next };
            *next = at + written;
            at
        };
        *len = (*len).max(at + written);
        self.steps.push(Step::Write { file, at, bytes });
    }

    fn rename(&mut self, call: &Syscall) {
        let paths = call.paths(self.folder);
        let [from, to] = paths.as_slice() else {
            assert!(paths.is_empty(), "a rename into or out of the folder: {call:?}");
            return;
        };
        let moved: Vec<PathBuf> = self.files.keys().filter(|name| name.starts_with(from)).cloned().collect();
        for name in moved {
            let rest = name.strip_prefix(from).expect("it starts with it");
            let new = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
            if let Some(file) = self.files.remove(&name) {
                self.files.insert(new, file);
            }
        }
        self.steps.push(Step::Name(NameStep::Rename { from: from.clone(), to: to.clone() }));
    }

    fn resize(&mut self, file: usize, len: usize) {
        *self.lengths.get_mut(file).expect("a file has a length") = len;
        self.steps.push(Step::Resize { file, len });
    }

    fn file_of(&self, call: &Syscall) -> Option<usize> {
        let name = inside(self.folder, &call.descriptor(0)?)?;
        self.files.get(&name).copied()
    }
}

/// The path relative to the folder, if it lies there.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    Path::new(path).strip_prefix(folder).ok().map(Path::to_owned)
}
