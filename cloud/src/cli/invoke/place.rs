//! Where the API is, and the path of a method below it.

use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};
use axum::http::Uri;
use nowd_protocol::Level;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The server takes one spelling of each name: what is unreserved in URLs is literal, all else is `%XX`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A method of a gateway, as a URL.
pub(super) struct Place {
    /// Scheme, host, port and stage; no slash at the end.
    base: String,
    host: String,
    target: String,
    method: String,
}

impl Place {
    pub(super) fn new(url: &str, target: &Level, method: &Level) -> anyhow::Result<Self> {
        let example = "such as https://a1b2c3.execute-api.eu-central-1.amazonaws.com/Prod";
        // What is wrong with it is not shown: it may hold a password.
        let uri: Uri =
            url.parse().ok().with_context(|| format!("the URL cannot be read; expected one {example}"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            bail!("the URL must begin with https:// and a host, {example}");
        };
        ensure!(
            !authority.as_str().contains('@'),
            "the URL must not hold a user or password; calls are signed instead"
        );
        ensure!(!url.contains(['?', '#']), "the URL must hold no ? and no #, {example}");
        let path = uri.path().trim_end_matches('/');
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        ensure!(path.split('/').skip(1).all(plain), "the URL's path must not hold //, /./ or /../");
        let host = authority.host();
        ensure!(!host.is_empty(), "the URL names no host; expected one {example}");
        match scheme {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => bail!("http:// is for this machine only (`nowd-cloud serve`); {host} needs https://"),
            other => bail!(
                "the URL begins with {other}://; only https:// can be called, and http:// on this machine"
            ),
        }
        let host = host.to_owned();
        let base = format!("{scheme}://{authority}{path}");
        Ok(Self { base, host, target: segment("--target", target)?, method: segment("--method", method)? })
    }

    /// Without the port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn needs_tls(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// Where the call is made.
    pub(super) fn call(&self, timeout_ms: u64) -> String {
        let Self { base, target, method, .. } = self;
        format!("{base}/things/{target}/methods/{method}?timeout={timeout_ms}")
    }

    /// Where it is said what became of a call; its id follows.
    pub(super) fn calls(&self) -> String {
        format!("{}/things/{}/calls/", self.base, self.target)
    }
}

fn segment(name: &str, level: &Level) -> anyhow::Result<String> {
    let text = level.as_str();
    ensure!(!matches!(text, "." | ".."), "{name} cannot be {text:?}: a URL's path cannot hold it");
    Ok(utf8_percent_encode(text, ENCODED).to_string())
}

fn is_loopback(host: &str) -> bool {
    let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(url: &str, target: &str, method: &str) -> Result<String, String> {
        let (target, method) = (Level::new(target).unwrap(), Level::new(method).unwrap());
        Place::new(url, &target, &method).map(|place| place.call(3_000)).map_err(|error| error.to_string())
    }

    #[test]
    fn urls() {
        for (url, target, method, expected) in [
            ("https://a.example", "g", "m", "https://a.example/things/g/methods/m?timeout=3000"),
            ("https://a.example/", "g", "m", "https://a.example/things/g/methods/m?timeout=3000"),
            ("https://a.example/Prod/", "g", "m", "https://a.example/Prod/things/g/methods/m?timeout=3000"),
            (
                "https://a.example:8443/a/b",
                "g",
                "m",
                "https://a.example:8443/a/b/things/g/methods/m?timeout=3000",
            ),
            (
                "http://[::1]:8080",
                "a-b._~",
                "x.y",
                "http://[::1]:8080/things/a-b._~/methods/x.y?timeout=3000",
            ),
            (
                "http://localhost:8080",
                "a b%:!*'()ä",
                "x?y&z=\\",
                "http://localhost:8080/things/a%20b%25%3A%21%2A%27%28%29%C3%A4/methods/x%3Fy%26z%3D%5C?timeout=3000",
            ),
        ] {
            assert_eq!(call(url, target, method).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn wrong_urls() {
        for (url, expected) in [
            ("", "cannot be read"),
            ("a.example", "must begin with https://"),
            ("/path", "must begin with https://"),
            ("https://me:s3cret@a.example", "must not hold a user or password"),
            ("https://a.example/?x", "no ? and no #"),
            ("https://a.example/#x", "no ? and no #"),
            ("https://a.example/a//b", "must not hold //"),
            ("https://a.example/a/../b", "must not hold //"),
            ("https://a b", "cannot be read"),
            ("http://a.example", "this machine only"),
            ("http://127.0.0.1.a.example", "this machine only"),
            ("ws://a.example", "begins with ws://"),
        ] {
            let error = call(url, "g", "m").unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{url}: {error}");
        }
        for name in [".", ".."] {
            assert!(call("https://a.example", name, "m").unwrap_err().contains("--target cannot be"));
            assert!(call("https://a.example", "g", name).unwrap_err().contains("--method cannot be"));
        }
    }
}
