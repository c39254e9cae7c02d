//! What must survive a restart: the deployment that was accepted last, and that an exit was spent on a wrong one.
//!
//! Small files of the state folder, for their owner only, written whole or not at all. Nothing here follows a symbolic link,
//! or opens what could block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::document::Deployed;
use crate::config::ConfigError;
use crate::lockout::{make_folder, sync_folder_of};

/// The deployment that was accepted last.
const ACCEPTED: &str = "greengrass.json";
/// Our component, whose working folder has its name.
const COMPONENT: &str = "io.nowd.Gateway";
/// There while an exit was spent since the last configuration that was right.
const SPENT: &str = "greengrass-exit";

/// The configuration that the recipe's check has refused last, and how often.
const REFUSED: &str = "greengrass-refused.json";

/// More than what is taken at most, which is counted as it is written: without indentation, which has no bound of that kind.
const MOST_READ: u64 = 4 * 1024 * 1024;

/// Where the accepted deployment is kept.
pub(crate) fn file(state_dir: &Path) -> PathBuf {
    state_dir.join(ACCEPTED)
}

/// Whether it is a component's folder in which nothing was accepted yet: by the name that nuclei give it, or by what a component leaves.
pub(crate) fn is_before_the_first(state_dir: &Path) -> bool {
    let is_there = |name: &str| state_dir.join(name).symlink_metadata().is_ok();
    let is_of_component = state_dir.ends_with(COMPONENT) || is_there(SPENT) || is_there(REFUSED);
    is_of_component && !is_there(ACCEPTED)
}

/// The deployment of a file; nothing if it is not there.
pub(crate) fn read(file: &Path) -> Result<Option<Deployed>, ConfigError> {
    let error = |source| ConfigError::Read { file: file.into(), source };
    let text = match read_text(file) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error(e)),
    };
    serde_json::from_str(&text).map(Some).map_err(|e| ConfigError::Layer {
        origin: file.display().to_string(),
        message: format!("what was deployed last is damaged here, and comes again from the nucleus: {e}"),
    })
}

/// What is to be kept, by whichever thread comes to it: one writes at a time, and always the latest.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    latest: Mutex<Option<Arc<Deployed>>>,
    writing: Mutex<()>,
}

impl Keeping {
    /// Never waits for the disk.
    pub(crate) fn set(&self, deployed: Arc<Deployed>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(deployed);
    }

    pub(crate) fn write(&self, state_dir: &Path) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        latest.map_or(Ok(()), |latest| write(state_dir, &latest))
    }
}

/// Keeps it, on the disk when this returns.
fn write(state_dir: &Path, deployed: &Deployed) -> io::Result<()> {
    replace(&file(state_dir), &serde_json::to_string(deployed)?)
}

/// Spends the one exit that there is between two configurations that are right. Not where that cannot be remembered.
pub(crate) fn spend_exit(state_dir: &Path, why: &str) -> bool {
    let path = state_dir.join(SPENT);
    fs::symlink_metadata(&path).is_err() && replace(&path, &format!("{why}\n")).is_ok()
}

/// A configuration was right: the next that is wrong may cost an exit again.
pub(crate) fn forget_exit(state_dir: &Path) {
    // Where it cannot be removed, none is spent.
    drop(fs::remove_file(state_dir.join(SPENT)));
}

/// The recipe's check refuses a configuration: how often it has, with this time, by this version of the program.
pub(crate) fn count_refusal(state_dir: &Path, deployed: &Deployed) -> u32 {
    let path = state_dir.join(REFUSED);
    let known = read_text(&path).ok().and_then(|text| serde_json::from_str::<Refused>(&text).ok());
    let (version, of) = (env!("CARGO_PKG_VERSION").to_owned(), digest_of(deployed));
    let same = known.filter(|known| known.of == of && known.version == version);
    let times = same.map_or(0, |known| known.times).saturating_add(1);
    let written = serde_json::to_string(&Refused { version, times, of })
        .map_err(io::Error::from)
        .and_then(|text| replace(&path, &text));
    // What cannot be counted is not refused for ever.
    written.map_or(u32::MAX, |()| times)
}

/// What it is known by. Not kept itself: one that is refused for its size is larger than what is read here, and would be counted as new
/// for ever.
fn digest_of(deployed: &Deployed) -> String {
    let text = serde_json::to_vec(deployed).unwrap_or_default();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &text).simple().to_string()
}

/// It lets one pass.
pub(crate) fn forget_refusals(state_dir: &Path) {
    drop(fs::remove_file(state_dir.join(REFUSED)));
}

#[derive(Serialize, Deserialize)]
struct Refused {
    version: String,
    times: u32,
    /// A digest of the deployment.
    of: String,
}

fn read_text(path: &Path) -> io::Result<String> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MOST_READ).read_to_string(&mut text)?;
    Ok(text)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    // One process at a time is the component; what one that was killed has left under this name goes.
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder_of(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_deployment_is_kept_for_its_owner_only_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        assert_eq!(read(&file(&state_dir)).unwrap(), None);
        let component = serde_json::json!({"nowd": {"target": "gw-1"}});
        let deployed = Deployed::default().with_component(component.as_object().unwrap().clone());
        write(&state_dir, &deployed).unwrap();
        write(&state_dir, &deployed).unwrap();
        assert_eq!(read(&file(&state_dir)).unwrap(), Some(deployed));
        assert_eq!(fs::metadata(file(&state_dir)).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(file(&state_dir), "{").unwrap();
        assert!(read(&file(&state_dir)).unwrap_err().to_string().contains("is damaged here"));
    }

    #[test]
    fn what_is_refused_again_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let deployed =
            |value: serde_json::Value| Deployed::default().with_component(value.as_object().unwrap().clone());
        let small = deployed(serde_json::json!({"nowd": {"x": 0.1}}));
        let large = deployed(serde_json::json!({"methods.d": {"x.toml": "#".repeat(5 << 20)}}));
        for (number, deployed) in [small, large].into_iter().enumerate() {
            for times in 1..5 {
                assert_eq!(count_refusal(folder.path(), &deployed), times, "{number}");
            }
        }
    }

    #[test]
    fn what_is_deep_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        // What is of no use to us, in a component of maps: 100 KB, and 10 MB with indentation.
        let mut deep = serde_json::Value::from(vec![0; 50_000]);
        for _ in 0..100 {
            deep = serde_json::json!([deep]);
        }
        let mut deployed = Deployed::default();
        deployed.component.insert("maps".into(), serde_json::json!(["com.example.Maps"]));
        let maps = serde_json::json!({"methods.d": {}, "theirs": deep});
        deployed.add_component("com.example.Maps", maps.as_object().unwrap().clone());
        deployed.read().unwrap();
        write(folder.path(), &deployed).unwrap();
        assert!(read(&file(folder.path())).unwrap() == Some(deployed));
    }

    #[test]
    fn one_exit_is_spent_between_two_configurations_that_are_right() {
        let folder = tempfile::tempdir().unwrap();
        assert!(spend_exit(folder.path(), "wrong"));
        assert!(!spend_exit(folder.path(), "wrong otherwise"));
        forget_exit(folder.path());
        assert!(spend_exit(folder.path(), "wrong again"));
        let nowhere = folder.path().join("file");
        fs::write(&nowhere, "").unwrap();
        assert!(!spend_exit(&nowhere, "wrong"), "what cannot be remembered is not spent");
    }
}
