//! What a loss of power leaves, files that are removed, and what somebody does to them.

use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_record_goes_on_where_it_ended() {
    let bench = Bench::new(1 << 20);
    bench.write(3, true);
    bench.write(2, false);
    bench.write(0, true);
    let report = bench.verify();
    assert!(report.sound, "{report:?}");
    assert_eq!((report.files, report.entries, report.unclean_ends), (1, 11, 1));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(bench.path()) & 0o027, mode(bench.segments()[0].clone())), (0, 0o640));
}

#[test]
fn a_tail_that_is_torn_anywhere_is_taken_off_and_told() {
    let bench = Bench::new(1 << 20);
    bench.write(3, true);
    let file = bench.segments()[0].clone();
    let whole = fs::read(&file).unwrap();
    for junk in [&b""[..], &[0; 700], b"\n\n", b"{}\n", &vec![0xff; 40_000]] {
        for len in (0..=whole.len()).step_by(if junk.is_empty() { 1 } else { 97 }) {
            let bench = Bench::new(1 << 20);
            fs::create_dir_all(bench.path()).unwrap();
            let torn = [&whole[..len], junk].concat();
            fs::write(bench.path().join(file.file_name().unwrap()), &torn).unwrap();
            let kept = whole[..len].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let entries = whole[..len].split(|byte| *byte == b'\n').count() - 1;
            bench.write(1, true);
            let report = bench.verify();
            assert!(report.sound, "{len}: {report:?}");
            let is_torn = torn.len() > kept;
            assert_eq!(report.mended, u64::from(is_torn), "{len}");
            // A record of which nothing is left begins with the entry of its file.
            let more = 3 + usize::from(entries == 0) + usize::from(is_torn);
            assert_eq!(report.entries, u64::try_from(entries + more).unwrap(), "{len}: {report:?}");
            let written = fs::read(&bench.segments()[0]).unwrap();
            assert!(written.starts_with(&whole[..kept]), "{len}: what was whole is as it was");
            if is_torn {
                let number = entries + 1;
                let beside = fs::read(bench.path().join(format!("{number:020}.torn"))).unwrap();
                assert_eq!(beside, torn[kept..], "{len}");
            }
        }
    }
}

#[test]
fn a_start_that_was_cut_short_while_mending_is_gone_on_with() {
    let bench = Bench::new(1 << 20);
    bench.write(3, false);
    let file = bench.segments()[0].clone();
    let len = fs::metadata(&file).unwrap().len();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(len - 9).unwrap();
    // It was taken off, and not recorded yet.
    drop(Store::open(&bench.path(), 1 << 20, SEALER, &mut std::convert::identity).unwrap());
    let report = bench.verify();
    assert!(
        report.sound && report.notes[0].message.contains("the next start of the gateway records it"),
        "{report:?}"
    );
    bench.write(1, true);
    let report = bench.verify();
    assert!(report.sound && report.mended == 1, "{report:?}");
    bench.write(1, true);
    assert_eq!(bench.verify().mended, 1, "it is recorded once");
    let torn = fs::read_dir(bench.path()).unwrap().map(|entry| entry.unwrap().path());
    let torn = torn.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "torn")).unwrap();
    fs::write(&torn, "something else").unwrap();
    let report = bench.verify();
    assert!(!report.sound && report.problems[0].file.contains(".torn"), "{report:?}");
    fs::remove_file(&torn).unwrap();
    let report = bench.verify();
    assert!(report.problems[0].message.contains("not beside the record any more"), "{report:?}");
}

#[test]
fn a_file_that_was_begun_and_not_written_is_nothing() {
    for content in ["", "{\"n\":6"] {
        let bench = Bench::new(1 << 20);
        bench.write(3, true);
        fs::write(bench.path().join(format!("{:020}.jsonl", 6)), content).unwrap();
        bench.write(1, true);
        let report = bench.verify();
        assert!(report.sound, "{report:?}");
        assert_eq!((report.files, report.mended), (1, u64::from(!content.is_empty())));
    }
}

#[test]
fn an_edit_does_not_become_a_loss_of_power_by_a_restart() {
    let bench = Bench::new(1 << 20);
    bench.write(3, true);
    let (mut store, _) = bench.open_of(Sealer { incarnation: Uuid::from_u128(9) });
    for number in 0..20 {
        let event = executed();
        let mut words = String::new();
        let what = What::of(&event, &mut words);
        store.add(moment(number * 30_000), &what, &mut std::convert::identity).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    let file = bench.segments()[0].clone();
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().nth(10).unwrap();
    fs::write(&file, text.replacen(line, &line.replace("cloud-1", "cloud-2"), 1)).unwrap();
    let report = bench.verify();
    assert_eq!((report.sound, report.problems[0].line), (false, 11), "{report:?}");
    bench.write(0, true);
    let report = bench.verify();
    assert!(report.problems[0].message.contains("not a loss of power took them off"), "{report:?}");
}

#[test]
fn a_record_that_cannot_be_gone_on_with_stays_and_another_begins() {
    let bench = Bench::new(1 << 20);
    bench.write(3, true);
    let file = bench.segments()[0].clone();
    let other = bench.path().join(format!("{:020}.jsonl", 7));
    fs::write(&file, "nonsense\n").unwrap();
    fs::write(&other, "more of it\n").unwrap();
    bench.write(1, true);
    let report = bench.verify();
    assert!(!report.sound && report.entries == 4, "{report:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "nonsense\n");
    assert_eq!(fs::read_to_string(&other).unwrap(), "more of it\n");
    bench.write(1, true);
    assert_eq!(bench.verify().entries, 7, "that one is gone on with");
}

#[test]
fn it_keeps_within_its_size_and_says_what_it_removed() {
    let bench = Bench::new(1 << 16);
    for _ in 0..20 {
        bench.write(40, true);
        let size: u64 =
            fs::read_dir(bench.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 1 << 16, "{size}");
    }
    let report = bench.verify();
    assert!(report.sound, "{report:?}");
    assert!(report.files >= 10, "{report:?}");
    assert_eq!(report.pruned.map(|last| last + 1), report.first);
    let segments = bench.segments();
    let text = fs::read(&segments[0]).unwrap();
    let middle = fs::read(&segments[3]).unwrap();
    // Each of these is undone before the next.
    fs::remove_file(&segments[0]).unwrap();
    let report = bench.verify();
    assert!(report.problems[0].message.contains("the gateway has not removed them"), "{report:?}");
    fs::write(&segments[0], &text).unwrap();
    fs::remove_file(&segments[3]).unwrap();
    let report = bench.verify();
    assert!(report.problems[0].message.ends_with("are missing"), "{report:?}");
    fs::write(&segments[3], &text).unwrap();
    let report = bench.verify();
    assert!(report.problems[0].message.contains("its name says"), "{report:?}");
    fs::write(&segments[3], &middle).unwrap();
    let copy = bench.path().join(format!("{:020}.jsonl", 999_999));
    fs::copy(&segments[0], &copy).unwrap();
    assert!(!bench.verify().sound);
    fs::remove_file(copy).unwrap();
    fs::copy(&segments[0], bench.path().join("copy.jsonl")).unwrap();
    let report = bench.verify();
    assert!(report.sound && report.notes.last().unwrap().file == "copy.jsonl", "{report:?}");
}

#[test]
fn a_first_file_that_was_not_removed_before_the_power_went_is_no_mistake() {
    let bench = Bench::new(1 << 16);
    for _ in 0..10 {
        bench.write(40, true);
    }
    let before: Vec<_> = bench.segments().into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    let (_, path) = before.first().unwrap();
    while path.exists() {
        bench.write(5, true);
    }
    for (text, path) in before.iter().filter(|(_, path)| !path.exists()) {
        fs::write(path, text).unwrap();
    }
    let report = bench.verify();
    assert!(report.sound, "{report:?}");
    for _ in 0..5 {
        bench.write(40, true);
    }
    assert!(bench.verify().sound && !path.exists());
}

#[test]
fn a_line_that_is_longer_than_any_entry_is_found_in_every_file() {
    let bench = Bench::new(1 << 16);
    bench.write(40, true);
    let segments = bench.segments();
    assert!(segments.len() > 2);
    let entries = bench.verify().entries;
    for file in [&segments[0], segments.last().unwrap()] {
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().nth(2).unwrap();
        for more in [33_000, 200_000] {
            fs::write(file, text.replacen(line, &format!("{line}{}", " ".repeat(more)), 1)).unwrap();
            let report = bench.verify();
            assert_eq!((report.sound, report.problems[0].line), (false, 3), "{report:?}");
            assert!(report.problems[0].message.contains("longer than any entry"), "{report:?}");
            assert_eq!(report.entries, entries - 1, "the rest is read");
        }
        fs::write(file, text).unwrap();
    }
    assert!(bench.verify().sound);
}

#[test]
fn a_loss_of_power_after_a_quiet_time_is_no_change() {
    let bench = Bench::new(1 << 20);
    let (mut store, _) = bench.open();
    let mut wrap = std::convert::identity;
    for ms in [0, 600_000, 600_010, 600_020] {
        let event = executed();
        store.add(moment(ms), &What::of(&event, &mut String::new()), &mut wrap).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    // A block of the first after the pause never came to the disk; those behind it did.
    let file = bench.segments()[0].clone();
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().nth(2).unwrap();
    fs::write(&file, text.replace(line, &"\0".repeat(line.len()))).unwrap();
    bench.write(0, true);
    let report = bench.verify();
    assert!(report.sound && report.mended == 1, "{report:?}");
    assert!(report.notes.iter().any(|note| note.message.contains("just after a quiet time")), "{report:?}");
}

#[test]
fn a_file_that_is_removed_or_replaced_is_noticed() {
    let bench = Bench::new(1 << 20);
    let mut wrap = std::convert::identity;
    for is_replaced in [false, true] {
        let (mut store, _) = bench.open();
        store.add(moment(0), &What::Stop, &mut wrap).unwrap();
        store.sync().unwrap();
        let file = bench.segments()[0].clone();
        if is_replaced {
            let copy = bench.folder.path().join("copy");
            fs::copy(&file, &copy).unwrap();
            fs::rename(&copy, &file).unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
        store.add(moment(0), &What::Stop, &mut wrap).unwrap();
        let error = store.sync().unwrap_err().to_string();
        assert!(error.contains("was removed or replaced"), "{error}");
    }
    fs::remove_file(&bench.segments()[0]).unwrap();
    let report = bench.verify();
    assert!(report.sound && report.notes[0].message.contains("there are no entries"), "{report:?}");
}

#[test]
fn a_gateway_that_mends_the_record_while_it_is_read_makes_no_problem() {
    let bench = Bench::new(1 << 20);
    bench.write(3, false);
    let file = bench.segments()[0].clone();
    let len = fs::metadata(&file).unwrap().len();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(len - 9).unwrap();
    let names = super::super::files::Names::read(&bench.path()).unwrap();
    bench.write(1, true);
    let report = super::super::verify::try_verify(&bench.path(), &names, &[]).unwrap();
    assert!(report.sound && report.mended == 1, "{report:?}");
}

#[test]
fn what_a_start_that_was_cut_short_has_left_is_removed_and_no_link_is_followed() {
    let bench = Bench::new(1 << 20);
    bench.write(3, true);
    let left = bench.path().join(format!("{:020}.new", 3));
    fs::write(&left, "half").unwrap();
    let foreign = bench.path().join("mine.new");
    fs::write(&foreign, "").unwrap();
    bench.write(0, true);
    assert!(!left.exists() && foreign.exists());
    let file = bench.segments()[0].clone();
    let len = fs::metadata(&file).unwrap().len();
    let other = bench.folder.path().join("other");
    fs::write(&other, "mine").unwrap();
    let number = bench.verify().entries;
    std::os::unix::fs::symlink(&other, bench.path().join(format!("{number:020}.new"))).unwrap();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(len - 9).unwrap();
    bench.write(0, true);
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    let report = bench.verify();
    assert!(report.sound && report.mended == 1, "{report:?}");
}
