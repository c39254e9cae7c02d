use std::collections::BTreeSet;

use tempfile::TempDir;

use super::*;

/// What may be in the file `a`, over all moments of a shell script that runs in a folder which holds `a` with "old".
fn may_hold(script: &str) -> (BTreeSet<Option<String>>, Recording) {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().canonicalize().unwrap().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a"), "old").unwrap();
    let before = snapshot(&folder);
    let log = temp.path().join("log");
    // Its outputs end when the log is whole.
    let output = recorded("python3", &log).args(["-c", script]).current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    let recording = Recording::new(&log, &folder, before, |_, bytes| bytes.starts_with(b"said"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', "0");
    let all = recording.worlds(|_| true).map(|world| world.file("a").map(text)).collect();
    (all, recording)
}

fn set(texts: &[&str]) -> BTreeSet<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

const WRITE: &str = "import os\ndef put(name, text, sync):\n f = open(name, 'w'); f.write(text); f.flush()\n if sync: os.fsync(f.fileno())\n f.close()\n";

#[test]
fn what_is_written_in_place_is_torn() {
    let (found, _) = may_hold(&format!("{WRITE}put('a', 'newest', True)"));
    assert_eq!(found, set(&["old", "", "newest", "new", "old000"]));
}

#[test]
fn what_is_renamed_unsynced_may_be_empty() {
    let (found, _) = may_hold(&format!(
        "{WRITE}put('b', 'newest', False)\nos.rename(os.path.abspath('b'), os.path.abspath('a'))"
    ));
    assert_eq!(found, set(&["old", "", "newest", "new", "000000"]));
}

#[test]
fn what_is_synced_and_renamed_is_whole_and_after_the_folder_is_synced_it_stays() {
    let script = format!(
        "{WRITE}put('b', 'newest', True)\nos.rename(os.path.abspath('b'), os.path.abspath('a'))\nos.fsync(os.open('.', os.O_RDONLY))\nprint('said', flush=True)"
    );
    let (found, recording) = may_hold(&script);
    assert_eq!(found, set(&["old", "newest"]));
    let said: Vec<World> = recording.worlds(|_| true).filter(|world| world.marks > 0).collect();
    assert!(!said.is_empty() && said.iter().all(|world| world.file("a") == Some(b"newest")), "{said:?}");
}

#[test]
fn threads_and_places_in_a_file_are_followed() {
    let script = "import os, threading\nfd = os.open('a', os.O_RDWR)\nos.pwrite(fd, b'X', 1)\nos.lseek(fd, 0, os.SEEK_END)\nos.write(fd, b'end')\nos.fsync(fd)\n\
                  def more():\n f = open('a', 'ab'); f.write(b'!'); f.flush(); os.fsync(f.fileno())\n\
                  t = threading.Thread(target=more); t.start(); t.join()";
    let (found, _) = may_hold(script);
    for text in ["old", "oXd", "oXdend", "oXdend!"] {
        assert!(found.contains(&Some(text.to_owned())), "{text}: {found:?}");
    }
    assert!(!found.contains(&None));
}
