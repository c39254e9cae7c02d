//! `traceparent`: the caller's own, or one made of X-Ray's, so that the gateway's log leads to the trace.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::is_traceparent;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const XRAY: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Puts in a `traceparent` where there is none, made of what X-Ray says of this invocation, or else in its header.
pub(super) fn complete(headers: &mut HeaderMap, invocation: Option<&str>) {
    if headers.get(TRACEPARENT).is_some_and(|value| value.to_str().is_ok_and(is_traceparent)) {
        return;
    }
    let header = headers.get(XRAY).and_then(|value| value.to_str().ok());
    let made = invocation.and_then(traceparent).or_else(|| header.and_then(traceparent));
    match made.and_then(|text| HeaderValue::try_from(text).ok()) {
        Some(value) => drop(headers.insert(TRACEPARENT, value)),
        None => drop(headers.remove(TRACEPARENT)),
    }
}

/// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1` in W3C's form. Without a parent there is no
/// span to be the child of.
fn traceparent(xray: &str) -> Option<String> {
    let part = |name| xray.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let mut root = part("Root")?.split('-');
    let (version, time, rest) = (root.next()?, root.next()?, root.next()?);
    let parent = part("Parent")?.to_ascii_lowercase();
    let trace = format!("{time}{rest}").to_ascii_lowercase();
    let flags = if part("Sampled") == Some("1") { "01" } else { "00" };
    let made = format!("00-{trace}-{parent}-{flags}");
    (version == "1" && root.next().is_none() && is_traceparent(&made)).then_some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    const XRAY_VALUE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    const MADE: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
    const OWN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_callers_own_or_one_of_x_rays() {
        let other =
            "Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=0;Lineage=1:ab:0";
        let other_made = "00-67891233abcdef012345678912345678-463ac35c9f6413ad-00";
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        // The caller's own, X-Ray's of the invocation and in the header; what comes of them.
        let table: &[[Option<&str>; 4]] = &[
            [Some(OWN), None, None, Some(OWN)],
            [Some(OWN), Some(XRAY_VALUE), Some(other), Some(OWN)],
            [None, Some(XRAY_VALUE), None, Some(MADE)],
            [None, Some(XRAY_VALUE), Some(other), Some(MADE)],
            [None, None, Some(other), Some(other_made)],
            [Some("nonsense"), Some(XRAY_VALUE), None, Some(MADE)],
            [Some(zeros), None, None, None],
            [Some(&OWN.to_uppercase()), None, None, None],
            [Some("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), None, None, None],
            [None, Some("Root=1-5759e988-bd862e3fe1be46a994272793"), None, None],
            [None, Some("Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8"), None, None],
            [None, Some("Root=1-5759e988-bd862e3fe1be46a99427279g;Parent=53995c3f42cd8ad8"), None, None],
            [None, Some(""), None, None],
        ];
        for [own, invocation, header, found] in table {
            let mut headers = HeaderMap::new();
            for (name, value) in [(TRACEPARENT, own), (XRAY, header)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            complete(&mut headers, *invocation);
            let traceparent = headers.get(TRACEPARENT).map(|value| value.to_str().unwrap());
            assert_eq!(traceparent, *found, "{own:?} {invocation:?} {header:?}");
        }
    }
}
