//! The disk: what of the steps so far survives, and what may.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Tree;
use super::steps::{NameStep, Step};

/// What is done with data that was not synced.
#[derive(Debug, Clone, Copy)]
enum Unsynced {
    Kept,
    Lost,
    Torn,
    Zeros,
}

/// The disk after some steps, and what of it is safe.
#[derive(Debug)]
pub(super) struct Disk {
    /// Each file's content: as it would survive, and as programs see it.
    files: Vec<(Vec<u8>, Vec<u8>)>,
    /// The names that survive.
    names: BTreeMap<PathBuf, Option<usize>>,
    /// What was done to names and not synced, in order.
    pending: Vec<NameStep>,
    marks: usize,
}

impl Disk {
    pub(super) fn after(before: &Tree, steps: &[Step]) -> Self {
        let mut disk = Self { files: Vec::new(), names: BTreeMap::new(), pending: Vec::new(), marks: 0 };
        for (name, content) in before {
            let file = content.as_ref().map(|content| {
                disk.files.push((content.clone(), content.clone()));
                disk.files.len() - 1
            });
            disk.names.insert(name.clone(), file);
        }
        for step in steps {
            disk.take(step);
        }
        disk
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Name(step) => {
                if let NameStep::Make { file, .. } = step {
                    assert_eq!(*file, self.files.len(), "files are numbered as they are made");
                    self.files.push((Vec::new(), Vec::new()));
                }
                self.pending.push(step.clone());
            }
            Step::Write { file, at, bytes } => {
                let content = &mut self.file(*file).1;
                content.resize(content.len().max(at + bytes.len()), 0);
                content.get_mut(*at..at + bytes.len()).expect("there is room").copy_from_slice(bytes);
            }
            Step::Resize { file, len } => self.file(*file).1.resize(*len, 0),
            Step::SyncFile(file) => {
                let (safe, seen) = self.file(*file);
                safe.clone_from(seen);
            }
            Step::SyncFolder(folder) => {
                // What happened to names in it is safe, and with it whatever came before: folders are journaled in order.
                let last = self.pending.iter().rposition(|step| step.is_in(folder));
                for step in self.pending.drain(..last.map_or(0, |last| last + 1)) {
                    step.apply(&mut self.names);
                }
            }
            Step::Mark => self.marks += 1,
        }
    }

    fn file(&mut self, file: usize) -> &mut (Vec<u8>, Vec<u8>) {
        self.files.get_mut(file).expect("files are made before they are written")
    }

    /// How many marks were made.
    pub(super) fn marks(&self) -> usize {
        self.marks
    }

    /// Each state, and what became of what was not synced in it.
    pub(super) fn states(self) -> impl Iterator<Item = (String, Tree)> {
        let kinds = [Unsynced::Kept, Unsynced::Lost, Unsynced::Torn, Unsynced::Zeros];
        let all = (0..=self.pending.len()).flat_map(move |kept| kinds.map(|unsynced| (kept, unsynced)));
        all.map(move |(kept, unsynced)| {
            let mut names = self.names.clone();
            self.pending.iter().take(kept).for_each(|step| step.apply(&mut names));
            let content = |file: usize| {
                let (safe, seen) = self.files.get(file).expect("a name stands for a file");
                unsynced.of(safe, seen)
            };
            let tree = names.into_iter().map(|(name, file)| (name, file.map(content))).collect();
            (format!("{kept} of {} unsynced names, data {unsynced:?}", self.pending.len()), tree)
        })
    }
}

impl Unsynced {
    fn of(self, safe: &[u8], seen: &[u8]) -> Vec<u8> {
        match self {
            Self::Kept => seen.to_vec(),
            Self::Lost => safe.to_vec(),
            // The first half of what differs has come to the disk.
            Self::Torn => {
                let differ = safe.iter().zip(seen).position(|(a, b)| a != b).unwrap_or(safe.len());
                let same = safe.iter().rev().zip(seen.iter().rev()).take_while(|(a, b)| a == b).count();
                let end = if safe.len() == seen.len() { seen.len() - same } else { seen.len() };
                let middle = differ.midpoint(end.max(differ)).min(seen.len());
                let mut torn = seen.get(..middle).unwrap_or_default().to_vec();
                if seen.len() >= safe.len() {
                    torn.extend(safe.iter().skip(middle));
                }
                torn
            }
            // Its length has come to the disk, and its new blocks have not.
            Self::Zeros => {
                let mut zeros: Vec<u8> = safe.iter().take(seen.len()).copied().collect();
                zeros.resize(seen.len(), 0);
                zeros
            }
        }
    }
}
