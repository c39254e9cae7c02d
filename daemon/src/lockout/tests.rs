use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;

const QUIET: Answers = Answers::All { running: 0 };

fn heard(folder: &Path, order: &Order) -> Answers {
    answers(folder, order).unwrap()
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn an_order_is_seen_once_and_until_it_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Lockout::new(folder.path().join("state"));
    assert_eq!(daemon.look(), None, "no lockout");
    let folder = folder.path().join("state");
    let order = lock(&folder, "a hand in the gate", "local:me").unwrap();
    assert_eq!(daemon.look(), Some(Change::Locked("a hand in the gate".into())));
    assert_eq!(daemon.look(), None);
    assert_eq!(heard(&folder, &order), Answers::Missing(1));
    daemon.tell(2).unwrap();
    assert_eq!(heard(&folder, &order), Answers::All { running: 2 });
    daemon.tell(0).unwrap();
    assert_eq!(heard(&folder, &order), QUIET);
    let again = lock(&folder, "a hand in the gate", "local:me").unwrap();
    assert_eq!(heard(&folder, &again), Answers::Missing(1), "the same once more is answered anew");
    assert_eq!(daemon.look(), Some(Change::Locked("a hand in the gate".into())));
    let refused = lock(&folder, "two hands", "local:me").unwrap_err().to_string();
    assert!(
        refused.starts_with("NOT locked for you: ") && refused.contains(": a hand in the gate;"),
        "{refused}"
    );
    assert_eq!(daemon.look(), None, "the first reason stays");
    assert!(unlock(&folder).unwrap());
    let other = lock(&folder, "two hands", "local:me").unwrap();
    assert_eq!(heard(&folder, &other), Answers::Missing(1), "what was told of another lockout");
    assert_eq!(daemon.look(), Some(Change::Locked("two hands".into())));
    assert!(unlock(&folder).unwrap());
    assert!(!unlock(&folder).unwrap());
    assert_eq!(daemon.look(), Some(Change::Unlocked));
    assert_eq!(daemon.look(), None);
    drop(daemon);
    assert_eq!(names(&folder), [""; 0], "nothing is left behind");
}

#[test]
fn every_daemon_that_lives_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut old = Lockout::new(folder.into());
    let mut new = Lockout::new(folder.into());
    let order = lock(folder, "x", "local:me").unwrap();
    new.look();
    new.tell(0).unwrap();
    assert_eq!(heard(folder, &order), Answers::Missing(1), "the old one has not looked");
    old.look();
    old.tell(3).unwrap();
    new.tell(0).unwrap();
    assert_eq!(heard(folder, &order), Answers::All { running: 3 });
    drop(old);
    assert_eq!(heard(folder, &order), QUIET);
    drop(new);
    assert_eq!(heard(folder, &order), Answers::Nobody);
}

#[test]
fn one_that_was_killed_lives_no_more_and_is_cleaned_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let order = lock(folder, "x", "local:me").unwrap();
    let seen = serde_json::to_string(&Seen { id: order.id, running: 0 }).unwrap();
    fs::write(folder.join("daemon-killed"), format!("{seen}\n{seen}\n")).unwrap();
    assert_eq!(heard(folder, &order), Answers::Nobody);
    let daemon = Lockout::new(folder.into());
    assert!(!folder.join("daemon-killed").exists());
    assert_eq!(heard(folder, &order), Answers::Missing(1));
    drop(daemon);
}

#[test]
fn an_answer_that_is_being_written_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let order = lock(folder.path(), "x", "local:me").unwrap();
    let file = files::create(&folder.path().join("daemon-x")).unwrap();
    file.try_lock().unwrap();
    let text = |running| serde_json::to_string(&Seen { id: order.id, running }).unwrap();
    for (content, answers) in [
        (format!("{}\n{}\n", text(0), text(1)), Answers::Missing(1)),
        (format!("{}\n", text(0)), Answers::Missing(1)),
        (format!("{}\n{}\n", text(0), text(0)), QUIET),
    ] {
        fs::write(folder.path().join("daemon-x"), content).unwrap();
        assert_eq!(heard(folder.path(), &order), answers);
    }
}

#[test]
fn a_folder_that_was_cleared_gets_the_answer_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("state");
    let mut daemon = Lockout::new(folder.clone());
    fs::remove_dir_all(&folder).unwrap();
    let order = lock(&folder, "x", "local:me").unwrap();
    daemon.look();
    daemon.tell(0).unwrap();
    assert_eq!(heard(&folder, &order), QUIET);
}

#[test]
fn what_cannot_be_understood_locks() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Lockout::new(folder.path().to_owned());
    for content in ["", "{}", "not JSON", &"x".repeat(100_000)] {
        fs::write(order_file(folder.path()), content).unwrap();
        assert!(matches!(daemon.look(), Some(Change::Locked(reason)) if reason.contains("cannot be read")));
        fs::remove_file(order_file(folder.path())).unwrap();
        daemon.look();
    }
    let mut nowhere = Lockout::new("/dev/null/state".into());
    assert!(matches!(nowhere.look(), Some(Change::Locked(_))));
}

#[test]
fn only_a_regular_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = order_file(folder.path());
    let order = Order { id: Uuid::nil(), reason: "elsewhere".into(), by: None };
    files::write(&folder.path().join("elsewhere"), &order).unwrap();
    let mut daemon = Lockout::new(folder.path().to_owned());
    let fifo = || {
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
    };
    let socket = || drop(UnixListener::bind(&path).unwrap());
    let makers: [&dyn Fn(); 4] =
        [&fifo, &socket, &|| symlink("/dev/zero", &path).unwrap(), &|| symlink("elsewhere", &path).unwrap()];
    for make in makers {
        make();
        let Some(Change::Locked(reason)) = daemon.look() else { panic!("it is locked") };
        assert!(reason.ends_with("it is not a regular file"), "{reason}");
        daemon.tell(0).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(daemon.look(), Some(Change::Unlocked));
    }
    fs::create_dir(&path).unwrap();
    assert!(matches!(daemon.look(), Some(Change::Locked(_))));
}

#[test]
fn nothing_is_left_behind_by_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(order_file(folder.path())).unwrap();
    assert!(lock(folder.path(), "x", "local:me").is_err());
    assert_eq!(names(folder.path()), ["lockout"]);
}

#[test]
fn an_answer_that_cannot_be_written_is_tried_again_and_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut daemon = Lockout::new(state.clone());
    let order = lock(&state, "x", "local:me").unwrap();
    daemon.look();
    fs::rename(&state, folder.path().join("away")).unwrap();
    assert!(daemon.tell(0).is_err());
    assert!(daemon.tell(0).is_ok(), "told once");
    fs::rename(folder.path().join("away"), &state).unwrap();
    daemon.tell(0).unwrap();
    assert_eq!(heard(&state, &order), QUIET);
}

/// Modes do not depend on the umask; a process of its own has the hostile one.
#[test]
fn everybody_may_read_what_a_careful_root_has_made() {
    const FOLDER: &str = "NOWD_TEST_OF_UMASK";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let folder = PathBuf::from(folder);
        lock(&folder, "x", "local:me").unwrap();
        // Left for the one who looks.
        std::mem::forget(Lockout::new(folder));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let made = folder.path().join("made/state");
    let itself = std::env::current_exe().unwrap();
    let ran = std::process::Command::new("sh")
        .args([
            "-c",
            "umask 077; exec \"$0\" --exact lockout::tests::everybody_may_read_what_a_careful_root_has_made",
        ])
        .arg(itself)
        .env(FOLDER, &made)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(made.parent().unwrap()), mode(&made)], [0o755, 0o755]);
    let names = names(&made);
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        assert_eq!(mode(&made.join(&name)), 0o644, "{name}");
    }
}
