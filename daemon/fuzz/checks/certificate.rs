//! What a certificate says of itself.

use nowd_link::CertificateFacts;

/// `data` is a certificate in DER.
pub(crate) fn check(data: &[u8]) {
    let Some(facts) = CertificateFacts::parse(data) else { return };
    // The years 0 and 9999 are the first and the last that a certificate can name.
    for date in [facts.not_before, facts.not_after] {
        assert!((-62_167_219_200..=253_402_300_800).contains(&date), "{date}");
    }
    if let Some(subject) = facts.subject {
        assert!(subject.chars().count() <= 128 && !subject.contains(char::is_control));
    }
}
