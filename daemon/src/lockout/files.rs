//! Small files that are read within bounds and written whole or not at all. Nothing here follows a symbolic link, or opens
//! what could block.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How much of a file is read: each byte of a reason can become six.
const MOST_READ: u64 = 8 * 1_024;

/// What anybody may read, whatever the umask of the one who made it.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// Opens a regular file for reading.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// The text of a small file.
pub(super) fn text(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MOST_READ).read_to_string(&mut text)?;
    Ok(text)
}

pub(super) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<T> {
    serde_json::from_str(&text(&open(path)?)?).map_err(io::Error::from)
}

/// A new file that anybody may read.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// Whole or not at all, and on the disk when this returns: under another name first.
pub(super) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let fresh = path.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    let written = try_write(&fresh, path, value);
    if written.is_err() {
        drop(fs::remove_file(&fresh));
    }
    written
}

fn try_write(fresh: &Path, path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut file = create(fresh)?;
    file.write_all(serde_json::to_string(value)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(fresh, path)?;
    sync_folder_of(path)
}

/// Brings the names in the folder of `path` to the disk.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Makes a folder and those above it, each for anybody to search and kept over a loss of power.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => {
            fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?;
            sync_folder_of(folder)
        }
        // Somebody else was faster.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}
