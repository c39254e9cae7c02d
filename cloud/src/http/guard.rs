//! Keeps web pages away from a server without authentication.
//!
//! A page in a browser on the same machine can send requests to loopback addresses, and move a machine by it. A browser
//! says where a request comes from (`Origin`, `Sec-Fetch-Site`), and a page that has its own name point at 127.0.0.1 is
//! given away by `Host`. This is no authentication and never takes its place.

use std::net::IpAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use nowd_protocol::Status;

use super::problem::Kind;
use super::response::refusal;

/// Which names a server may be addressed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// `localhost` and loopback addresses.
    Loopback,
    /// Any.
    Any,
}

/// `router`, refusing what a web page of another origin sends.
pub fn guard(router: Router, host: Host) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| async move {
        match check(request.headers(), host) {
            Ok(()) => next.run(request).await,
            Err(message) => forbidden(message),
        }
    }))
}

fn forbidden(message: &str) -> Response {
    // It gets no further, and has no record.
    tracing::info!(error = message, "refused a web page's request");
    refusal(Kind::Status(Status::Forbidden), message)
}

fn check(headers: &HeaderMap, wanted: Host) -> Result<(), &'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST);
    if wanted == Host::Loopback && !host.is_none_or(is_loopback) {
        return Err("the Host header names neither localhost nor a loopback address; nothing was sent");
    }
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or_default());
    let foreign_site = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let origin = text(header::ORIGIN);
    let foreign_origin = origin.is_some_and(|origin| origin.split_once("://").map(|(_, from)| from) != host);
    if foreign_site || foreign_origin {
        return Err("a web page of another origin may not make calls; nothing was sent");
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static [(&'static str, &'static str)], Host, bool);

    #[test]
    fn who_may_come_in() {
        let table: &[Row] = &[
            (&[], Host::Loopback, true),
            (&[("host", "127.0.0.1:8080")], Host::Loopback, true),
            (&[("host", "LOCALHOST:8080")], Host::Loopback, true),
            (&[("host", "[::1]:8080")], Host::Loopback, true),
            (&[("host", "evil.example:8080")], Host::Loopback, false),
            (&[("host", "127.0.0.1.evil.example")], Host::Loopback, false),
            (&[("host", "gateway.example")], Host::Any, true),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], Host::Loopback, true),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:9")], Host::Loopback, false),
            (&[("host", "localhost:8080"), ("origin", "null")], Host::Loopback, false),
            (&[("host", "a.example"), ("origin", "https://b.example")], Host::Any, false),
            (&[("host", "localhost"), ("sec-fetch-site", "cross-site")], Host::Loopback, false),
            (&[("host", "localhost"), ("sec-fetch-site", "same-site")], Host::Loopback, false),
            (&[("host", "localhost"), ("sec-fetch-site", "same-origin")], Host::Loopback, true),
            (&[("host", "localhost"), ("sec-fetch-site", "none")], Host::Loopback, true),
        ];
        for (headers, host, allowed) in table {
            let mut map = HeaderMap::new();
            for (name, value) in *headers {
                map.insert(*name, value.parse().unwrap());
            }
            assert_eq!(check(&map, *host).is_ok(), *allowed, "{headers:?} {host:?}");
        }
    }
}
