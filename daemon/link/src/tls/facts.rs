//! What a certificate says of itself: whose it is, and from when to when. For people and for their warnings.
//!
//! Never decides whether a certificate may be believed: that is rustls's. It reads the few fields on the way to the dates
//! (RFC 5280, section 4.1), in DER, and takes nothing for a date that is none.

/// The tags of DER that stand on the way.
const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// No more of a name is shown, in characters.
const LONGEST_NAME: usize = 128;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its subject's common name, if it has one that is text; control characters are left out, and what is beyond 128.
    pub subject: Option<String>,
    /// The first second in which it is valid, in seconds since the epoch.
    pub not_before: i64,
    /// The last second in which it is valid, in seconds since the epoch.
    pub not_after: i64,
}

impl CertificateFacts {
    /// Reads a certificate in DER; nothing if it is none.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (certificate, _) = element(der, SEQUENCE)?;
        let (fields, _) = element(certificate, SEQUENCE)?;
        // The version is left out of the oldest kind.
        let fields = element(fields, VERSION).map_or(fields, |(_, rest)| rest);
        let (_serial, fields) = element(fields, INTEGER)?;
        let (_algorithm, fields) = element(fields, SEQUENCE)?;
        let (_issuer, fields) = element(fields, SEQUENCE)?;
        let (validity, fields) = element(fields, SEQUENCE)?;
        let (subject, _) = element(fields, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self { subject: common_name(subject), not_before, not_after })
    }
}

/// The content of an element with this tag, and what comes after it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(input)?;
    (found == tag).then_some((content, rest))
}

fn any(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // Up to three bytes: no certificate is above 16 MiB.
        let count = usize::from(first & 0x7f);
        let (bytes, rest) = rest.split_at_checked(count).filter(|_| (1..=3).contains(&count))?;
        (bytes.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn common_name(mut name: &[u8]) -> Option<String> {
    while let Some((part, rest)) = element(name, SET) {
        name = rest;
        let Some((attribute, _)) = element(part, SEQUENCE) else { continue };
        let Some((kind, value)) = element(attribute, OBJECT_ID) else { continue };
        if kind == COMMON_NAME {
            let (_, text, _) = any(value)?;
            let text = std::str::from_utf8(text).ok()?;
            return Some(text.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect());
        }
    }
    None
}

/// A time in seconds since the epoch, and what comes after it.
fn time(input: &[u8]) -> Option<(i64, &[u8])> {
    let (tag, content, rest) = any(input)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, rest_of_it) = match tag {
        // RFC 5280: 50 to 99 are of the last century.
        UTC_TIME if text.len() == 12 => {
            (number(0, 2).map(|year| if year < 50 { 2_000 } else { 1_900 } + year)?, 2)
        }
        GENERALIZED_TIME if text.len() == 14 => (number(0, 4)?, 4),
        _ => return None,
    };
    let field = |index: usize| number(rest_of_it + 2 * index, rest_of_it + 2 * index + 2);
    let (month, day, hour, minute, second) = (field(0)?, field(1)?, field(2)?, field(3)?, field(4)?);
    let is_right =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    is_right.then(|| (((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second, rest))
}

/// Days since 1970-01-01, by the Gregorian calendar counted from a March: the leap day is then the last of its year.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let month = (month + 9) % 12;
    year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (month * 153 + 2) / 5
        + day
        - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar() {
        for (date, expected) in [
            ((1970, 1, 1), 0),
            ((1970, 3, 1), 59),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 22), 20_779),
            ((2049, 12, 31), 29_219),
            ((9999, 12, 31), 2_932_896),
        ] {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        }
    }

    #[test]
    fn times() {
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERALIZED_TIME, "20491331235959Z", None),
            (GENERALIZED_TIME, "20491231235959", None),
            (GENERALIZED_TIME, "2049123123595+Z", None),
            (UTC_TIME, "20491231235959Z", None),
            (INTEGER, "491231235959Z", None),
        ] {
            let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
            der.extend(text.as_bytes());
            assert_eq!(time(&der).map(|(seconds, _)| seconds), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_taken_for_a_certificate() {
        for der in
            [&b""[..], b"\x30", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00", &[0x30; 200]]
        {
            assert_eq!(CertificateFacts::parse(der), None, "{der:?}");
        }
    }
}
