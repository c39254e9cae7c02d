//! What a certificate says of itself.

use nowd_link::CertificateFacts;

/// `data` is a certificate in DER.
pub(crate) fn check(data: &[u8]) {
    let Some(facts) = CertificateFacts::parse(data) else { return };
    // A date before 1970 is not read, and none after 9999 can be named.
    for date in [facts.not_before, facts.not_after] {
        assert!((0..=253_402_300_800).contains(&date), "{date}");
    }
    if let Some(subject) = facts.subject {
        assert!(subject.chars().count() <= 128 && !subject.contains(char::is_control));
    }
}
