//! The form of the lines, and what the chain finds.

use super::super::chain::{Hash, Head};
use super::super::files::{Lines, Next};
use super::*;

/// One entry of each kind, as the file has them.
fn all_kinds() -> String {
    let mut text = String::new();
    let mut head = None;
    let mut add = |what: &What<'_>| {
        let (line, next) = SEALER.line(head, moment(0), what);
        text.push_str(&line);
        head = Some(next);
    };
    add(&What::Segment { form: 1, after: Hash::NONE.to_string() });
    add(&What::Start { version: "0.1.0", target: "gw-1" });
    let mut refused = record(RecordKind::Answered, "cloud-1", Status::Forbidden, Outcome::NotExecuted);
    refused.error = Some(ErrorBody { code: "forbidden".into(), message: "never recorded".into() });
    let mut safe = record(RecordKind::SafeAction, "cloud-1", Status::Ok, Outcome::Executed);
    (safe.client, safe.caller) = (None, None);
    for event in [
        executed(),
        Event::Call(refused),
        Event::Call(record(RecordKind::Late, "cloud-1", Status::Ok, Outcome::Executed)),
        Event::Call(record(RecordKind::Repeated, "cloud-1", Status::Ok, Outcome::Executed)),
        Event::Call(safe),
        Event::Dropped(Dropped::Retained),
        Event::NoRequest { reason: "the payload is no JSON".into() },
        Event::Locked { reason: "a hand in the gate".into(), by: Some("local:ada".into()) },
        Event::Unlocked { by: None },
        Event::Reloaded { error: None },
        Event::Reloaded { error: Some("window.toml:1:1: nonsense".into()) },
    ] {
        add(&What::of(&event, &mut String::new()));
    }
    let statuses = BTreeMap::from([("busy", 2), ("forbidden", 40)]);
    add(&What::Folded { client: Some("cloud-1"), since: moment(0).text(), count: 42, statuses: &statuses });
    add(&What::Lost { count: 3, why: "they came faster than they could be written" });
    add(&What::Pruned { first: 1, last: 9, last_hash: Some(Hash::of(b"").to_string()) });
    add(&What::Mended { bytes: 17, sha256: Hash::of(b"").to_string() });
    add(&What::Stop);
    text
}

/// Judges a first file that holds these bytes, and nothing else.
fn judge(bytes: &[u8], heads: &[Head]) -> (Report, bool) {
    let mut verifier = Verifier::new(heads);
    verifier.begin_file("1".into(), 1);
    let mut lines = Lines::new(bytes);
    loop {
        match lines.next().unwrap() {
            Next::Whole(line) => verifier.line(line),
            Next::TooLong => verifier.too_long(),
            Next::Unfinished => return (verifier.end(), true),
            Next::End => return (verifier.end(), false),
        }
    }
}

fn first_lines(text: &str, count: usize) -> String {
    text.split_inclusive('\n').take(count).collect()
}

fn head_of(text: &str) -> Head {
    judge(text.as_bytes(), &[]).0.head.unwrap().parse().unwrap()
}

/// The form is a contract: whoever reads records of an earlier version relies on it.
#[test]
fn the_form_of_the_entries() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/audit/golden/entries.jsonl");
    let text = all_kinds();
    if std::env::var_os("NOWD_BLESS").is_some() {
        fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(golden).unwrap());
    assert!(!text.contains("never recorded"));
    let (report, _) = judge(text.as_bytes(), &[]);
    assert!(report.sound, "{report:?}");
    assert_eq!((report.entries, report.lost, report.folded, report.mended), (18, 3, 42, 1));
}

/// The first line, followed by hand: what SPECIFICATION.md says.
#[test]
fn anybody_can_follow_it() {
    let text = all_kinds();
    let mut before = "0".repeat(64);
    for line in text.lines() {
        let (body, hash) = line.rsplit_once(",\"hash\":\"").unwrap();
        let sum = ring::digest::digest(&ring::digest::SHA256, format!("{before}{body}").as_bytes());
        let digits = sum.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(format!("{digits}\"}}"), hash);
        before = digits;
    }
}

#[test]
fn any_byte_that_is_changed_put_in_or_taken_out_is_found() {
    let text = first_lines(&all_kinds(), 4);
    let bytes = text.as_bytes();
    let kept = [head_of(&text)];
    for at in 0..bytes.len() {
        let mut forms = vec![[&bytes[..at], &bytes[at + 1..]].concat()];
        for other in [bytes[at] ^ 1, bytes[at] ^ 0x20, b'\n', b'"', 0] {
            if other != bytes[at] {
                forms.push([&bytes[..at], &[other], &bytes[at + 1..]].concat());
            }
            forms.push([&bytes[..at], &[other], &bytes[at..]].concat());
        }
        for form in forms {
            let (report, unfinished) = judge(&form, &[]);
            // Without its end the last line counts as torn, which is said, and is missing from the head that was kept.
            let is_end = unfinished && report.entries == 3;
            assert!(!report.sound || is_end, "byte {at}: {}", String::from_utf8_lossy(&form));
            assert!(!judge(&form, &kept).0.sound, "byte {at}");
        }
    }
    let (report, unfinished) = judge(&[bytes, b"x"].concat(), &[]);
    assert!(report.sound && unfinished, "what is put behind the end is no entry, and is told");
}

#[test]
fn any_line_that_is_missing_twice_there_or_elsewhere_is_found_and_its_place_told() {
    let text = all_kinds();
    let lines: Vec<&str> = text.lines().collect();
    let judge_lines = |lines: &[&str]| judge(format!("{}\n", lines.join("\n")).as_bytes(), &[]).0;
    for at in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(at);
        let report = judge_lines(&without);
        if at + 1 == lines.len() {
            assert!(report.sound, "that the end was cut off, only a head shows");
        } else {
            assert_eq!((report.sound, report.problems[0].line), (false, u64::try_from(at + 1).unwrap()));
        }
        for to in 0..=lines.len() {
            let mut twice = lines.clone();
            twice.insert(to, lines[at]);
            assert!(!judge_lines(&twice).sound, "{at} {to}");
        }
        for other in at + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            assert!(!judge_lines(&swapped).sound, "{at} {other}");
        }
    }
    let report = judge_lines(&[&lines[..3], &lines[5..]].concat());
    assert_eq!(report.problems[0].message, "entries 4 to 5 are missing");
    assert_eq!(report.problems.len(), 1, "one mistake is told once: {:?}", report.problems);
    let changed = text.replacen("local:ada", "local:bob", 1);
    let report = judge(changed.as_bytes(), &[]).0;
    assert_eq!(report.problems[0].message, "entry 10 was changed, or the one before it");
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
}

#[test]
fn a_head_that_was_kept_shows_a_record_made_anew_and_one_cut_off() {
    let text = all_kinds();
    let kept = head_of(&text);
    assert!(judge(text.as_bytes(), &[kept]).0.sound);
    let earlier = first_lines(&text, 4);
    assert!(judge(text.as_bytes(), &[head_of(&earlier), kept]).0.sound);
    let message = |report: Report| report.problems[0].message.clone();
    let (report, _) = judge(earlier.as_bytes(), &[kept]);
    assert!(message(report).starts_with("the record ends with entry 4, and a head of entry 18 was kept"));
    // The same from the start, with one word changed.
    let mut head = None;
    let mut anew = String::new();
    for number in 0..18 {
        let what = if number == 0 {
            What::Segment { form: 1, after: Hash::NONE.to_string() }
        } else {
            What::Lost { count: number, why: "" }
        };
        let (line, next) = SEALER.line(head, moment(0), &what);
        anew.push_str(&line);
        head = Some(next);
    }
    assert!(judge(anew.as_bytes(), &[]).0.sound, "by itself it cannot be known");
    let (report, _) = judge(anew.as_bytes(), &[kept]);
    assert!(message(report).starts_with("entry 18 has another hash than the head that was kept"));
}

#[test]
fn heads_are_read_as_they_are_printed_and_no_other_way() {
    let head = head_of(&all_kinds());
    assert_eq!(head.to_string().parse(), Ok(head));
    for text in
        [String::new(), "1".into(), "1:".into(), format!("x:{}", head.hash), head.to_string().to_uppercase()]
    {
        assert!(text.parse::<Head>().is_err(), "{text}");
    }
}

#[test]
fn an_entry_is_never_longer_than_it_may_be() {
    let worst = "\u{1}".repeat(5_000);
    let mut event = record(RecordKind::Answered, "cloud-1", Status::Failed, Outcome::Unknown);
    event.caller = Some(worst.as_str().into());
    event.method = worst.as_str().into();
    event.error = Some(ErrorBody { code: worst.clone(), message: worst.clone() });
    for event in [
        Event::Call(event),
        Event::NoRequest { reason: worst.clone() },
        Event::Locked { reason: worst.clone(), by: Some(worst.clone()) },
        Event::Reloaded { error: Some(worst.clone()) },
    ] {
        let mut words = String::new();
        let (line, _) = SEALER.line(None, moment(0), &What::of(&event, &mut words));
        assert!(line.len() <= super::super::chain::LONGEST_LINE, "{}", line.len());
    }
    let far = Moment { wall_ms: u64::MAX, ..moment(0) };
    assert_eq!(far.text(), "9999-12-31T23:59:59.999Z");
}

#[test]
fn what_a_flood_can_write_is_short_as_it_stands_in_the_file() {
    let len = |status, outcome, timing, text: &str| {
        let mut event = record(RecordKind::Answered, "cloud-1", status, outcome);
        event.timing = timing;
        event.caller = Some(text.into());
        let (line, _) = SEALER.line(None, moment(0), &What::of(&Event::Call(event), &mut String::new()));
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
        (line.len(), entry["caller"].as_str().unwrap().to_owned())
    };
    let asked = Timing { queue: 1, plugin: 1, total: 2 };
    for text in ["\u{1}", "\"", "\n", "\u{7f}", "a", "é", "\u{10ffff}"] {
        let text = text.repeat(2_500);
        let (longest, kept) = len(Status::Ok, Outcome::Executed, asked, &text);
        assert!((2_300..2_600).contains(&longest) && text.starts_with(&kept), "{longest}: {kept:?}");
        let (longest, kept) = len(Status::Forbidden, Outcome::NotExecuted, Timing::default(), &text);
        assert!((500..800).contains(&longest) && text.starts_with(&kept), "{longest}: {kept:?}");
    }
    let (_, kept) = len(Status::Ok, Outcome::Executed, asked, "\u{1}\"é");
    assert_eq!(kept, "\u{1}\"é", "what is short is as it was");
}

/// What SPECIFICATION.md, section 17.2, says of a flood.
#[test]
fn the_longest_entry_that_a_flood_can_write() {
    let mut event = record(RecordKind::Repeated, "c", Status::Forbidden, Outcome::NotExecuted);
    let worst = "\u{1}".repeat(2_500);
    event.client = Some(Level::new("c".repeat(127)).unwrap());
    event.method = worst.as_str().into();
    event.caller = Some(worst.as_str().into());
    event.error = Some(ErrorBody { code: worst.clone(), message: worst });
    (event.attempt, event.timing) = (u32::MAX, Timing { queue: u64::MAX, plugin: u64::MAX, total: u64::MAX });
    let head = Some(Head { number: u64::MAX - 1, hash: Hash::NONE });
    let late = Moment { steady: BootInstant::from_micros(u64::MAX), ..moment(0) };
    let (line, _) = SEALER.line(head, late, &What::of(&Event::Call(event), &mut String::new()));
    eprintln!("{} bytes", line.len());
    assert!(line.len() <= 1_600, "{}", line.len());
}
