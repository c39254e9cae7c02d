use std::fs;
use std::process::Command;

use aws_credential_types::credential_fn::provide_credentials_fn;

use super::*;

impl Aws {
    /// These credentials, in this region.
    pub(crate) fn fixed(region: &str, credentials: Credentials) -> Self {
        Self::from(region, credentials)
    }

    /// None at all.
    pub(crate) fn without_credentials(region: &str) -> Self {
        Self::from(region, provide_credentials_fn(|| async { Err(CredentialsError::not_loaded("none")) }))
    }

    fn from(region: &str, provider: impl ProvideCredentials + 'static) -> Self {
        Self {
            region: Some(Region::new(region.to_owned())),
            profile: None,
            client: Client::default(),
            provider: SharedCredentialsProvider::new(provider),
        }
    }
}

/// Set for the one test that changes what the environment says; the environment of a process that runs other tests cannot
/// be changed.
const ALONE: &str = "NOWD_TEST_ALONE";

fn write(file: &str, key: &str) {
    let text =
        format!("[default]\nregion = eu-north-1\naws_access_key_id = {key}\naws_secret_access_key = s\n");
    fs::write(file, text + &format!("[other]\naws_access_key_id = other-{key}\naws_secret_access_key = s\n"))
        .unwrap();
}

#[tokio::test]
async fn inside_a_process_of_its_own() {
    let Ok(file) = std::env::var(ALONE) else { return };
    write(&file, "first");
    let aws = Aws::load(None).await;
    assert_eq!(aws.region().unwrap(), "eu-north-1");
    let other = Aws::load(Some("other")).await;
    for key in ["first", "rotated"] {
        write(&file, key);
        assert_eq!(aws.credentials().await.unwrap().access_key_id(), key);
        assert_eq!(other.credentials().await.unwrap().access_key_id(), format!("other-{key}"));
    }
    let missing = Aws::load(Some("nonsense")).await;
    assert!(missing.credentials().await.is_err());
    assert!(!format!("{aws:?}").contains("rotated"));
}

#[test]
fn what_a_profile_says_later_counts_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let name = "aws::credentials::tests::inside_a_process_of_its_own";
    let child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env_clear()
        .env(ALONE, &file)
        .env("AWS_SHARED_CREDENTIALS_FILE", &file)
        .env("AWS_CONFIG_FILE", folder.path().join("config"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
}
