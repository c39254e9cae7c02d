//! The AWS credentials to sign with: found once, and again before they expire.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_http_client::tls;
use aws_types::SdkConfig;
use axum::body::Bytes;
use axum::http::Request;
use nowd_cloud::aws::sign::{EXECUTE_API, Scope, sign_request};

use crate::cli::{Exit, Failure};

/// Credentials that expire within this time are found anew.
const SOON: Duration = Duration::from_secs(60);

pub(super) struct Signer {
    config: SdkConfig,
    provider: SharedCredentialsProvider,
    region: String,
    credentials: Credentials,
}

impl Signer {
    /// Finds credentials as all of AWS's tools do: environment, profiles, SSO, a process, a container, a machine.
    pub(super) async fn start(region: String, profile: Option<&str>) -> Result<Self, Failure> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(region.clone()));
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        let provider = config.credentials_provider().ok_or_else(|| {
            Failure::new(Exit::Internal, anyhow!("there is no way to find AWS credentials"))
        })?;
        let credentials = find(&provider).await?;
        Ok(Self { config, provider, region, credentials })
    }

    pub(super) async fn sign(&mut self, request: &mut Request<Bytes>) -> Result<(), Failure> {
        let now = self.now()?;
        if self.credentials.expiry().is_some_and(|expiry| expiry <= now + SOON) {
            self.credentials = find(&self.provider).await?;
        }
        let scope = Scope { service: EXECUTE_API, region: &self.region };
        // Finding them may have taken a while.
        let signed = sign_request(request, scope, &self.credentials, self.now()?);
        signed.map_err(|error| Failure::new(Exit::Denied, error))
    }

    /// As the SDK reads it, which judges by it when credentials expire.
    fn now(&self) -> Result<SystemTime, Failure> {
        let source = self.config.time_source();
        source
            .map(|source| source.now())
            .ok_or_else(|| Failure::new(Exit::Internal, anyhow!("there is no clock")))
    }
}

async fn find(provider: &SharedCredentialsProvider) -> Result<Credentials, Failure> {
    let found = provider.provide_credentials().await;
    found
        .context(
            "no AWS credentials can be had: say --profile, log in (`aws sso login`), or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY; --no-sign is for `nowd-cloud serve`",
        )
        .map_err(|error| Failure::new(Exit::Denied, error))
}
