//! What a certificate says of itself: whose it is, and from when to when. For people and for their warnings.
//!
//! Never decides whether a certificate may be believed: that is rustls's.

use std::time::Duration;

use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode;

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
    /// Reads a certificate in DER (RFC 5280); nothing if it is none.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let about = certificate.tbs_certificate();
        let seconds = |since_epoch: Duration| i64::try_from(since_epoch.as_secs()).ok();
        let name = about.subject().common_name().ok().flatten();
        let shown = |name: &str| name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
        Some(Self {
            subject: name.map(|name| shown(&name.value())),
            not_before: seconds(about.validity().not_before.to_unix_duration())?,
            not_after: seconds(about.validity().not_after.to_unix_duration())?,
        })
    }
}

/// The version of a certificate that is not of version 3, as a person counts.
pub(super) fn outdated(der: &[u8]) -> Option<u8> {
    match Certificate::from_der(der).ok()?.tbs_certificate().version() {
        Version::V1 => Some(1),
        Version::V2 => Some(2),
        Version::V3 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_for_a_certificate() {
        for der in
            [&b""[..], b"\x30", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00", &[0x30; 200]]
        {
            assert_eq!(CertificateFacts::parse(der), None, "{der:?}");
        }
    }
}
