//! Who we are to AWS: credentials and region, from wherever the AWS SDK looks for them.
//!
//! Credentials are looked up anew each time: the SDK reads a profile's file only once in the life of a provider, and a
//! connection that is opened hours later must be signed with those of then. They are never logged or shown.

use std::sync::{Arc, OnceLock};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Providing;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::region::Region;

/// Who we are to AWS.
#[derive(Debug, Clone)]
pub struct Aws {
    region: Option<Region>,
    profile: Option<Arc<str>>,
    client: Client,
    provider: SharedCredentialsProvider,
}

/// Nobody says which region.
#[derive(Debug, thiserror::Error)]
#[error("no AWS region is configured; set AWS_REGION, or a region in the profile")]
pub struct RegionError {}

impl Aws {
    /// Finds the region, in the environment or else in the profile, and where credentials are: with a `profile` there,
    /// whatever the environment holds; without one where the SDK's default chain finds them: environment, profile, web
    /// identity, container, instance.
    pub async fn load(profile: Option<&str>) -> Self {
        let region = if let Some(region) = environment_region() {
            Some(region)
        } else {
            let file = ProfileFileRegionProvider::builder().configure(&ProviderConfig::without_region());
            let file = if let Some(profile) = profile { file.profile_name(profile) } else { file };
            file.build().region().await
        };
        let profile: Option<Arc<str>> = profile.map(Arc::from);
        let client = Client::default();
        let fresh = Fresh { region: region.clone(), profile: profile.clone(), client: client.clone() };
        Self { region, profile, client, provider: SharedCredentialsProvider::new(fresh) }
    }

    /// The region's name.
    pub fn region(&self) -> Result<&str, RegionError> {
        self.region.as_ref().map(AsRef::as_ref).ok_or(RegionError {})
    }

    /// The credentials of now. A lookup may ask a server on this machine or elsewhere; whoever waits bounds it.
    pub async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        self.provider.provide_credentials().await
    }

    /// What a client of the AWS SDK needs. Such a client keeps credentials until shortly before they expire, or for 15
    /// minutes where nobody says when they do.
    pub async fn sdk_config(&self) -> SdkConfig {
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.client.get())
            .region(self.region.clone())
            .credentials_provider(self.provider.clone());
        let loader = if let Some(profile) = &self.profile { loader.profile_name(&**profile) } else { loader };
        loader.load().await
    }
}

/// As the SDK's chain reads it, without looking at a file.
fn environment_region() -> Option<Region> {
    let named = |name| std::env::var(name).ok().filter(|region| !region.is_empty());
    named("AWS_REGION").or_else(|| named("AWS_DEFAULT_REGION")).map(Region::new)
}

/// An HTTPS client, made when it is first needed: it reads the system's certificates, and a Lambda function that
/// publishes never needs it. Clones share it.
#[derive(Debug, Clone, Default)]
struct Client(Arc<OnceLock<SharedHttpClient>>);

impl Client {
    fn get(&self) -> SharedHttpClient {
        let ring = Provider::Rustls(CryptoMode::Ring);
        self.0.get_or_init(|| aws_smithy_http_client::Builder::new().tls_provider(ring).build_https()).clone()
    }
}

/// Looks credentials up as if for the first time.
#[derive(Debug)]
struct Fresh {
    region: Option<Region>,
    profile: Option<Arc<str>>,
    client: Client,
}

impl Fresh {
    fn config(&self) -> ProviderConfig {
        ProviderConfig::without_region().with_http_client(self.client.get()).with_region(self.region.clone())
    }

    async fn look_up(&self) -> provider::Result {
        if let Some(profile) = &self.profile {
            let profile = ProfileFileCredentialsProvider::builder().profile_name(&**profile);
            return profile.configure(&self.config()).build().provide_credentials().await;
        }
        // First in the chain in any case; asked here, nothing else need be set up.
        match EnvironmentVariableCredentialsProvider::new().provide_credentials().await {
            Err(CredentialsError::CredentialsNotLoaded(_)) => {}
            found => return found,
        }
        let chain = DefaultCredentialsChain::builder().configure(self.config()).region(self.region.clone());
        chain.build().await.provide_credentials().await
    }
}

impl ProvideCredentials for Fresh {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.look_up())
    }
}

#[cfg(test)]
mod tests;
