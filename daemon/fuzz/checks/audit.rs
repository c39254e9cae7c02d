//! A file of the audit record. Included where `crate::audit` is the daemon's.

use crate::audit::chain::{Hash, Head, seal};
use crate::audit::files::{Lines, Next};
use crate::audit::report::Report;
use crate::audit::verify::Verifier;

use super::sentence;

/// `data` is a file; and what stands in the entries of another, of which its last two bytes change one.
pub(crate) fn check(data: &[u8]) {
    any(data);
    if let Some((entries, [place, change])) = data.split_last_chunk() {
        changed(entries, *place, *change);
    }
}

/// What is called sound is a chain, and what is said is fit for people.
fn any(data: &[u8]) {
    let report = judge(data);
    for finding in report.problems.iter().chain(&report.notes) {
        sentence::check(&finding.message);
    }
    if let Some(head) = &report.head {
        assert_eq!(&head.parse::<Head>().unwrap().to_string(), head);
    }
    if !report.sound {
        return;
    }
    let mut before = "0".repeat(64);
    for line in whole_lines(data) {
        let line = std::str::from_utf8(line).unwrap();
        let (body, rest) = line.rsplit_once(",\"hash\":\"").unwrap();
        assert_eq!(format!("{}\"}}", Hash::of(format!("{before}{body}").as_bytes())), rest);
        rest.trim_end_matches("\"}").clone_into(&mut before);
    }
}

/// A chain is sound; one byte of it changed, it is not.
fn changed(entries: &[u8], place: u8, change: u8) {
    let (mut file, mut before) = (String::new(), Hash::NONE);
    for (number, text) in entries.split(|byte| *byte == b'\n').take(16).enumerate() {
        let number = number + 1;
        let text: String = String::from_utf8_lossy(text).chars().take(200).collect();
        let what = if number == 1 { "segment" } else { "call" };
        let object = serde_json::json!({
            "n": number, "time": text, "steady_us": 7, "incarnation": uuid::Uuid::nil(), "what": what, "after": "0".repeat(64),
        });
        let (line, hash) = seal(&object.to_string(), &before);
        file.push_str(&line);
        file.push('\n');
        before = hash;
    }
    let report = judge(file.as_bytes());
    assert!(report.sound, "{report:?}");
    let kept = report.head.unwrap().parse::<Head>().unwrap();
    let mut bytes = file.into_bytes();
    let at = usize::from(place).pow(2) % bytes.len();
    if change != 0 {
        bytes[at] ^= change;
        assert!(!read(&bytes, Verifier::new(&[kept])).sound, "byte {at}");
        // The same, and so long that no entry is.
        let end = bytes.iter().skip(at).position(|byte| *byte == b'\n').map_or(bytes.len(), |more| at + more);
        bytes.splice(end..end, std::iter::repeat_n(b' ', 40_000));
        assert!(!read(&bytes, Verifier::new(&[kept])).sound, "byte {at}");
    }
}

fn judge(data: &[u8]) -> Report {
    read(data, Verifier::new(&[]))
}

/// As `nowd audit verify` reads a file that another one follows.
fn read(data: &[u8], mut verifier: Verifier) -> Report {
    verifier.begin_file("1".into(), 1);
    let mut lines = Lines::new(data);
    loop {
        match lines.next().unwrap() {
            Next::Whole(line) => verifier.line(line),
            Next::TooLong => verifier.too_long(),
            Next::Unfinished | Next::End => return verifier.end(),
        }
    }
}

fn whole_lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}
