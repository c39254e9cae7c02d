//! What the provisioning service says, read within bounds, and what each of its refusals means. Never shows an ownership token.
//!
//! By the documentation of AWS IoT Core, "Device provisioning MQTT API". Which error codes there are is documented nowhere, so
//! that the status code counts first and words second.

use std::fmt;

use nowd_protocol::Level;
use serde::Deserialize;

/// The longest token and certificate that are taken, in bytes.
const LONGEST_TOKEN: usize = 16 * 1024;
const LONGEST_PEM: usize = 64 * 1024;
/// So much of a token's beginning gives it away, in bytes.
const TELLING: usize = 16;
/// How much of a refusal's words is shown, in characters.
const MOST_WORDS: usize = 300;

/// What proves, for an hour, that a certificate was made for us.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The answer to a request for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Created {
    #[serde(rename = "certificateOwnershipToken")]
    pub(crate) token: Token,
    #[serde(rename = "certificateId")]
    pub(crate) id: String,
    #[serde(rename = "certificatePem")]
    pub(crate) pem: String,
}

/// The answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registered {
    pub(crate) thing_name: Level,
}

/// The service's refusal; what it leaves out is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rejection {
    pub(crate) status_code: Option<i64>,
    pub(crate) error_code: String,
    pub(crate) error_message: String,
}

/// Which request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Certificate,
    Registration,
}

/// What a refusal means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Asking again later may help, without anybody changing anything.
    pub(crate) again: bool,
    pub(crate) sentence: String,
}

impl Created {
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, &'static str> {
        let created: Self = serde_json::from_slice(payload)
            .map_err(|_| "it holds no `certificateOwnershipToken`, `certificateId` and `certificatePem`")?;
        if created.token.0.is_empty() || created.token.0.len() > LONGEST_TOKEN {
            return Err("its `certificateOwnershipToken` is empty or above 16 KiB");
        }
        if !is_certificate_id(&created.id) {
            return Err("its `certificateId` is not 1 to 128 letters and digits");
        }
        if created.pem.len() > LONGEST_PEM || !created.pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err("its `certificatePem` is no certificate or above 64 KiB");
        }
        Ok(created)
    }
}

/// What the service calls a certificate. It becomes the name of a file, so it holds nothing else.
pub(crate) fn is_certificate_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl Registered {
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, &'static str> {
        serde_json::from_slice(payload).map_err(|_| {
            "its `thingName` is missing or cannot be a gateway's name; let the template declare a thing whose name holds no / + # and \
             does not start with $"
        })
    }
}

impl Rejection {
    /// Whatever was said, something was refused.
    pub(crate) fn parse(payload: &[u8]) -> Self {
        serde_json::from_slice(payload).unwrap_or_default()
    }

    /// Without the token, or any beginning of it that tells something: some services repeat what they were sent.
    #[must_use]
    pub(crate) fn without(self, token: &Token) -> Self {
        let blank = |text: &str| {
            // What would not be shown must not hide it.
            let mut rest: &str = &text.chars().filter(|c| !c.is_control()).collect::<String>();
            let telling = token.0.char_indices().map(|(at, _)| at).find(|at| *at >= TELLING);
            let head = telling.and_then(|at| token.0.get(..at)).unwrap_or(&token.0);
            let mut shown = String::new();
            while !head.is_empty()
                && let Some((before, from)) = rest.split_once(head)
            {
                let after = token.0.get(head.len()..).unwrap_or_default();
                let same = from.chars().zip(after.chars()).take_while(|(a, b)| a == b);
                let same: usize = same.map(|(a, _)| a.len_utf8()).sum();
                shown.push_str(before);
                shown.push_str("(the token)");
                rest = from.get(same..).unwrap_or_default();
            }
            shown.push_str(rest);
            shown
        };
        Self { error_code: blank(&self.error_code), error_message: blank(&self.error_message), ..self }
    }

    /// Whether the certificate's ownership token is no good, so that there is no use in the certificate.
    pub(crate) fn is_about_the_token(&self) -> bool {
        self.error_code.to_lowercase().contains("ownershiptoken")
    }

    pub(crate) fn verdict(&self, request: Request, template: &str) -> Verdict {
        let code = self.error_code.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| code.contains(word));
        let status = self.status_code.unwrap_or_default();
        let (again, what) = if status == 429 || has(&["throttl", "toomany", "limitexceeded"]) {
            (true, "it is asked too often at the moment".to_owned())
        } else if status >= 500 || has(&["internal", "unavailable"]) {
            (true, "it has a failure of its own at the moment".to_owned())
        } else if self.is_about_the_token() {
            (
                true,
                "the certificate's ownership token is not good any more; a new certificate is asked for"
                    .to_owned(),
            )
        } else if status == 404 || has(&["notfound"]) {
            (
                false,
                format!(
                    "there is no template {template:?} in the account and region of this endpoint, or something that it names is missing; check `provisioning.template`"
                ),
            )
        } else if status == 409 || has(&["conflict"]) {
            (
                false,
                format!(
                    "something that the template {template:?} makes is there already; let its `OverrideSettings` say what to do with a thing that exists"
                ),
            )
        } else if status == 401 || status == 403 || has(&["denied", "unauthorized", "forbidden"]) {
            let what = match request {
                Request::Certificate => {
                    "the policy of the claim certificate does not allow it to ask for certificates".to_owned()
                }
                Request::Registration => format!(
                    "the pre-provisioning hook of the template {template:?} does not let this device in, the template is not enabled, or its role may not do what it says"
                ),
            };
            (false, what)
        } else {
            let what = match request {
                Request::Certificate => "it does not take this request for a certificate".to_owned(),
                Request::Registration => format!(
                    "it does not take these values; compare `provisioning.parameters` with what the template {template:?} declares"
                ),
            };
            (false, what)
        };
        let refused = match request {
            Request::Certificate => "a certificate",
            Request::Registration => "the registration of this device",
        };
        Verdict { again, sentence: format!("the service refused {refused}: {what}{}", self.words()) }
    }

    fn words(&self) -> String {
        let plain =
            |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(MOST_WORDS).collect() };
        let status = self.status_code.map(|status| status.to_string()).unwrap_or_default();
        let words = [status, plain(&self.error_code), plain(&self.error_message)];
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
        if words.is_empty() { String::new() } else { format!(" (it said: {})", words.join(", ")) }
    }
}

#[cfg(test)]
mod tests;
