//! AWS Signature Version 4, as the one who checks it: written from its description, so that it agrees with a signer only
//! if both are right.
//!
//! Never signs for anybody, and never says which signature would have been right.

use data_encoding::HEXLOWER;
use http::HeaderMap;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::{digest, hmac};

use super::clock::unix_of;
use super::credentials::Credentials;

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a request's date may be from now, in seconds.
const SKEW: i64 = 300;
/// The longest that a presigned URL may claim to be valid, in seconds: a week.
const LONGEST: i64 = 604_800;
/// All that stands unescaped in a canonical query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// What is wrong with a request, for the test's author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) &'static str);

/// What a request is judged by.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) credentials: &'a Credentials,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// What a request says of its own signature.
#[derive(Debug)]
struct Claim {
    access_key: String,
    /// Date, region, service, terminator.
    scope: Vec<String>,
    /// `20260102T030405Z`.
    time: String,
    signed_headers: Vec<String>,
    signature: String,
}

impl Judge<'_> {
    /// A presigned URL, as AWS IoT Core wants it: the session token takes no part in the signature.
    pub(crate) fn presigned(&self, parts: &Parts) -> Result<(), Wrong> {
        let query = parts.uri.query().unwrap_or_default();
        let claim = Claim::of_query(query)?;
        if let Some(expires) = at_most_one(query, "X-Amz-Expires")? {
            let seconds: i64 = expires.parse().map_err(|_| Wrong("X-Amz-Expires is no number"))?;
            if !(1..=LONGEST).contains(&seconds) {
                return Err(Wrong("X-Amz-Expires is out of range"));
            }
            let time = unix_of(&claim.time).ok_or(Wrong("X-Amz-Date is no date"))?;
            if time + seconds <= self.now {
                return Err(Wrong("the URL has expired"));
            }
        }
        let token = at_most_one(query, "X-Amz-Security-Token")?;
        self.judge(&claim, token.as_deref())?;
        let signed = canonical_query(query, &["X-Amz-Signature", "X-Amz-Security-Token"]);
        self.compare(&claim, parts, &signed, b"")
    }

    /// A request whose signature is in its header `authorization`.
    pub(crate) fn in_headers(&self, parts: &Parts, body: &[u8]) -> Result<(), Wrong> {
        let claim = Claim::of_headers(&parts.headers)?;
        for name in parts.headers.keys().map(http::HeaderName::as_str) {
            if name.starts_with("x-amz-") && !claim.signed_headers.iter().any(|signed| signed == name) {
                return Err(Wrong("a header x-amz-... is not signed"));
            }
        }
        self.judge(&claim, header(&parts.headers, "x-amz-security-token"))?;
        let query = canonical_query(parts.uri.query().unwrap_or_default(), &[]);
        self.compare(&claim, parts, &query, body)
    }

    fn judge(&self, claim: &Claim, token: Option<&str>) -> Result<(), Wrong> {
        let [date, region, service, end] = claim.scope.as_slice() else {
            return Err(Wrong("the credential's scope has not four parts"));
        };
        let time = unix_of(&claim.time).ok_or(Wrong("X-Amz-Date is no date"))?;
        let checks = [
            (
                claim.time.starts_with(date.as_str()) && date.len() == 8,
                "the scope's date is not X-Amz-Date's",
            ),
            (region == self.region, "the scope is for another region"),
            (service == self.service, "the scope is for another service"),
            (end == "aws4_request", "the scope does not end with aws4_request"),
            ((time - self.now).abs() <= SKEW, "X-Amz-Date is too far from now"),
            (claim.signed_headers.iter().any(|name| name == "host"), "the header host is not signed"),
            (claim.access_key == self.credentials.access_key, "the access key is not valid"),
            (
                token.unwrap_or_default() == self.credentials.session_token,
                "the session token is not the access key's",
            ),
        ];
        checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, wrong)| Err(Wrong(wrong)))
    }

    fn compare(&self, claim: &Claim, parts: &Parts, query: &str, body: &[u8]) -> Result<(), Wrong> {
        let mut lines = vec![parts.method.to_string(), escape_path(parts.uri.path()), query.to_owned()];
        for name in &claim.signed_headers {
            let values: Vec<_> = parts.headers.get_all(name).iter().map(|value| value.to_str()).collect();
            if values.is_empty() || values.iter().any(Result::is_err) {
                return Err(Wrong("a signed header is missing or no text"));
            }
            let values: Vec<_> = values.into_iter().flatten().map(one_blank).collect();
            lines.push(format!("{name}:{}", values.join(",")));
        }
        lines.extend([String::new(), claim.signed_headers.join(";"), sha256(body)]);
        let request = lines.join("\n");
        let to_sign =
            format!("{ALGORITHM}\n{}\n{}\n{}", claim.time, claim.scope.join("/"), sha256(request.as_bytes()));
        let start = format!("AWS4{}", self.credentials.secret_key).into_bytes();
        let key = claim.scope.iter().fold(start, |key, part| hmac(&key, part.as_bytes()));
        if HEXLOWER.encode(&hmac(&key, to_sign.as_bytes())) == claim.signature {
            Ok(())
        } else {
            Err(Wrong("the signature does not match"))
        }
    }
}

impl Claim {
    fn of_query(query: &str) -> Result<Self, Wrong> {
        let one = |name, missing| at_most_one(query, name)?.ok_or(Wrong(missing));
        if one("X-Amz-Algorithm", "X-Amz-Algorithm is missing")? != ALGORITHM {
            return Err(Wrong("the algorithm is not AWS4-HMAC-SHA256"));
        }
        Ok(Self::new(
            &one("X-Amz-Credential", "X-Amz-Credential is missing")?,
            &one("X-Amz-SignedHeaders", "X-Amz-SignedHeaders is missing")?,
            one("X-Amz-Signature", "X-Amz-Signature is missing")?,
            one("X-Amz-Date", "X-Amz-Date is missing")?,
        ))
    }

    fn of_headers(headers: &HeaderMap) -> Result<Self, Wrong> {
        let text = header(headers, "authorization").ok_or(Wrong("there is no header authorization"))?;
        let fields =
            text.strip_prefix(ALGORITHM).ok_or(Wrong("the algorithm is not AWS4-HMAC-SHA256"))?.split(',');
        let field = |name: &str| fields.clone().find_map(|field| field.trim().strip_prefix(name));
        match (field("Credential="), field("SignedHeaders="), field("Signature=")) {
            (Some(credential), Some(signed), Some(signature)) => {
                let time = header(headers, "x-amz-date").ok_or(Wrong("there is no header x-amz-date"))?;
                Ok(Self::new(credential, signed, signature.to_owned(), time.to_owned()))
            }
            _ => Err(Wrong("the header authorization is incomplete")),
        }
    }

    fn new(credential: &str, signed_headers: &str, signature: String, time: String) -> Self {
        let mut scope = credential.split('/').map(str::to_owned);
        let access_key = scope.next().unwrap_or_default();
        let signed_headers = signed_headers.split(';').map(str::to_owned).collect();
        Self { access_key, scope: scope.collect(), time, signed_headers, signature }
    }
}

/// The pairs of a query, decoded; `+` is itself.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// The value of a parameter that may not stand twice.
pub(crate) fn at_most_one(query: &str, name: &str) -> Result<Option<String>, Wrong> {
    let mut values = pairs(query).filter(|(found, _)| found == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Wrong("a parameter stands twice")),
        (value, None) => Ok(value),
    }
}

fn canonical_query(query: &str, without: &[&str]) -> String {
    let escape = |text: &str| utf8_percent_encode(text, QUERY).to_string();
    let kept = pairs(query).filter(|(name, _)| !without.contains(&name.as_str()));
    let mut pairs: Vec<_> = kept.map(|(name, value)| (escape(&name), escape(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// What is escaped in the request is escaped once more, as everywhere but in S3.
fn escape_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

fn one_blank(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

#[cfg(test)]
mod tests;
