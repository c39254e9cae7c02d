//! What a disk may hold after a loss of power: a program's writes to one folder, recorded with `strace`, and every state that
//! the disk could be left in at any moment of them.
//!
//! The model is stricter than most file systems. Data that was not synced may be there, be there by half, be zeros, or be
//! missing; names that were not synced (by `fsync` of their folder) appear in their order, up to any of them. Data and names
//! that were synced are there. Writes through `mmap` and paths relative
//! to the working directory are not seen; calls that the model does not know stop the test.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::require;

mod disk;
mod steps;
mod trace;

use disk::Disk;
use steps::{Builder, Step};
use trace::parse;

/// The calls that change files, and those that are refused because the model does not know them.
const RECORDED: &str = "openat,open,creat,close,write,writev,pwrite64,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,\
     rename,renameat,renameat2,unlink,unlinkat,fsync,fdatasync,sync_file_range,mkdir,mkdirat,rmdir,link,linkat,symlink,\
     symlinkat,copy_file_range,sendfile,dup,dup2,dup3";

/// The longest write that is recorded whole, in bytes.
const LONGEST: &str = "1048576";

/// `program` under `strace`, which writes what it does to files into `log`. The process is the program's own, so that signals
/// reach it; the log is whole when its outputs have ended.
#[must_use]
pub fn recorded(program: impl AsRef<OsStr>, log: &Path) -> Command {
    require("strace");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "--seccomp-bpf", "-y", "-xx", "-s", LONGEST, "-e", "signal=none", "-e"]);
    command.arg(format!("trace={RECORDED}")).arg("-o").arg(log).arg(program);
    command
}

/// What a program did to a folder, step by step.
#[derive(Debug)]
pub struct Recording {
    before: Tree,
    steps: Vec<Step>,
}

/// One state that a loss of power may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// How many of the program's steps had been taken.
    pub step: usize,
    /// How many marks the program had made by then: see [`Recording::new`].
    pub marks: usize,
    /// What became of what was not synced.
    pub how: String,
    tree: Tree,
}

/// The names of a folder, and what they stand for. `None` is a folder.
type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Recording {
    /// Reads `log`, in which [`recorded`] wrote what was done to `folder`, which held `before` (see [`snapshot`]). `is_mark`
    /// says of a write to something outside of the folder (its path, its bytes) whether it is to be counted: what others see
    /// the program do.
    #[must_use]
    pub fn new(log: &Path, folder: &Path, before: Snapshot, is_mark: impl Fn(&str, &[u8]) -> bool) -> Self {
        let text = fs::read_to_string(log).expect("strace has written its log");
        let mut builder = Builder::new(folder, &before.0);
        for call in parse(&text) {
            builder.take(&call, &is_mark);
        }
        Self { before: before.0, steps: builder.into_steps() }
    }

    /// Every state of the files that are `wanted` (by their names in the folder) that a loss of power may leave, each once.
    pub fn worlds(&self, wanted: impl Fn(&Path) -> bool) -> impl Iterator<Item = World> {
        let mut seen = HashSet::new();
        let steps = 0..=self.steps.len();
        let all = steps.flat_map(|step| {
            let disk = Disk::after(&self.before, self.steps.get(..step).unwrap_or_default());
            let marks = disk.marks();
            disk.states().map(move |(how, tree)| World { step, marks, how, tree })
        });
        let only_wanted = all.map(move |mut world| {
            world.tree.retain(|name, _| wanted(name));
            world
        });
        only_wanted.filter(move |World { marks, tree, .. }| {
            let mut hash = DefaultHasher::new();
            (marks, tree).hash(&mut hash);
            seen.insert(hash.finish())
        })
    }

    /// How many steps the program took.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps.len()
    }
}

impl World {
    /// Makes `folder` look like it, whatever is there.
    pub fn make(&self, folder: &Path) {
        if folder.exists() {
            fs::remove_dir_all(folder).expect("the folder can be emptied");
        }
        fs::create_dir_all(folder).expect("the folder can be made");
        for (name, content) in &self.tree {
            let path = folder.join(name);
            match content {
                None => fs::create_dir_all(&path).expect("a folder can be made"),
                Some(content) => fs::write(&path, content).expect("a file can be written"),
            }
        }
    }

    /// What this file holds there, if it is there.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.tree.get(Path::new(name)).and_then(Option::as_deref)
    }
}

/// What a folder holds.
#[derive(Debug, Clone, Default)]
pub struct Snapshot(Tree);

/// What `folder` holds now; nothing, if it is not there.
#[must_use]
pub fn snapshot(folder: &Path) -> Snapshot {
    fn add(root: &Path, folder: &Path, tree: &mut Tree) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).expect("it lies in the folder").to_owned();
            if path.is_dir() {
                tree.insert(name, None);
                add(root, &path, tree);
            } else {
                tree.insert(name, Some(fs::read(&path).expect("a file can be read")));
            }
        }
    }
    let mut tree = Tree::new();
    add(folder, folder, &mut tree);
    Snapshot(tree)
}

#[cfg(test)]
mod tests;
