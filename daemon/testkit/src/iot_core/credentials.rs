//! Credentials for a while, and the loopback server that gives them out as ECS and Greengrass do.

use data_encoding::HEXLOWER;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::clock::{date_of, now};
use super::server::{Answer, json};
use super::{Shared, locked};

/// What signs requests for a while. Worth nothing outside of a test, so they may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: String,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: String,
}

impl Credentials {
    /// New ones, with all that makes a careless signer fail: `/`, `+` and `=`.
    pub(crate) fn random() -> Self {
        let hex =
            |len| HEXLOWER.encode(&std::iter::repeat_with(|| fastrand::u8(..)).take(len).collect::<Vec<_>>());
        Self {
            access_key: format!("ASIA{}", hex(8).to_uppercase()),
            secret_key: format!("{}/+{}", hex(10), hex(9)),
            session_token: format!("IQoJ{}/+{}+/{}==", hex(40), hex(60), hex(40)),
        }
    }
}

/// Answers whoever asks at `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
pub(crate) fn give(request: &Request<Incoming>, shared: &Shared) -> Response<Answer> {
    if request.method() != http::Method::GET || request.uri().path() != "/credentials" {
        return json(
            StatusCode::NOT_FOUND,
            &serde_json::json!({ "code": "NotFound", "message": "look at /credentials" }),
        );
    }
    let mut state = locked(&shared.state);
    state.asked_for_credentials += 1;
    let Credentials { access_key, secret_key, session_token } = &state.credentials;
    let expiration = date_of(now() + state.lifetime);
    json(
        StatusCode::OK,
        &serde_json::json!({
            "AccessKeyId": access_key,
            "SecretAccessKey": secret_key,
            "Token": session_token,
            "Expiration": expiration,
        }),
    )
}
