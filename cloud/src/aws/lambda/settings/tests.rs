use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingError> {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::read(|name| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
}

const ENDPOINT: (&str, &str) = ("NOWD_ENDPOINT", "a1b2c3-ats.iot.eu-central-1.amazonaws.com");

#[test]
fn what_is_not_set_is_usual() {
    let names = [
        "CA",
        "CLIENT",
        "DELIVERY",
        "DEFAULT_TIMEOUT",
        "MAX_TIMEOUT",
        "COMPAT",
        "POLICY",
        "LOG",
        "ALLOW_ANONYMOUS",
    ];
    let names: Vec<_> = names.iter().map(|name| format!("NOWD_{name}")).collect();
    let empty: Vec<_> = names.iter().map(|name| (name.as_str(), "")).chain([ENDPOINT]).collect();
    for settings in [read(&[ENDPOINT]).unwrap(), read(&empty).unwrap()] {
        assert_eq!(settings.endpoint, (ENDPOINT.1.to_owned(), 443));
        assert_eq!((settings.client.as_str(), settings.delivery), ("nowd-cloud", DeliveryBy::Mqtt));
        assert_eq!((settings.default_timeout.as_secs(), settings.max_timeout.as_secs()), (2, 29));
        assert!(
            !settings.compat
                && !settings.allow_anonymous
                && settings.ca.is_none()
                && settings.policy.is_none()
        );
        assert_eq!((settings.log, settings.base_path.as_str()), (LevelFilter::INFO, ""));
        assert!(matches!(settings.access(), Ok(Access::Everybody)));
    }
}

#[test]
fn what_is_set_counts() {
    let settings = read(&[
        ("NOWD_ENDPOINT", "localhost:8443"),
        ("NOWD_CLIENT", "ours"),
        ("NOWD_DELIVERY", "direct"),
        ("NOWD_MAX_TIMEOUT", "1s"),
        ("NOWD_COMPAT", "true"),
        ("NOWD_LOG", "debug"),
        ("NOWD_BASE_PATH", "/fleet"),
    ]);
    let settings = settings.unwrap();
    assert_eq!(settings.endpoint, ("localhost".to_owned(), 8443));
    assert_eq!(settings.delivery, DeliveryBy::Direct);
    assert!(settings.compat);
    assert_eq!((settings.default_timeout.as_secs(), settings.log), (1, LevelFilter::DEBUG));
}

#[test]
fn each_mistake_has_its_sentence() {
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[], "NOWD_ENDPOINT is not set; it must be the data endpoint of AWS IoT Core, such as a1b2c3-ats"),
        (
            &[("NOWD_ENDPOINT", "wss://x/mqtt")],
            "NOWD_ENDPOINT is \"wss://x/mqtt\"; it must be the data endpoint",
        ),
        (&[("NOWD_ENDPOINT", "x:0")], "NOWD_ENDPOINT is \"x:0\""),
        (&[("NOWD_ENDPOINT", "x:99999")], "NOWD_ENDPOINT is"),
        (&[("NOWD_ENDPOINT", ":443")], "NOWD_ENDPOINT is"),
        (&[ENDPOINT, ("NOWD_CLIENT", "a/b")], "NOWD_CLIENT cannot begin a return address"),
        (&[ENDPOINT, ("NOWD_DELIVERY", "MQTT")], "NOWD_DELIVERY is \"MQTT\"; it must be mqtt or direct"),
        (
            &[ENDPOINT, ("NOWD_MAX_TIMEOUT", "30s")],
            "NOWD_MAX_TIMEOUT is \"30s\"; it must be a duration from 1ms to 29s",
        ),
        (&[ENDPOINT, ("NOWD_MAX_TIMEOUT", "0s")], "NOWD_MAX_TIMEOUT is"),
        (
            &[ENDPOINT, ("NOWD_DEFAULT_TIMEOUT", "10")],
            "NOWD_DEFAULT_TIMEOUT is \"10\"; it must be a duration from",
        ),
        (
            &[ENDPOINT, ("NOWD_DEFAULT_TIMEOUT", "3s"), ("NOWD_MAX_TIMEOUT", "2s")],
            "NOWD_DEFAULT_TIMEOUT is \"3s\"; it must be a duration from 1ms to NOWD_MAX_TIMEOUT",
        ),
        (&[ENDPOINT, ("NOWD_COMPAT", "yes")], "NOWD_COMPAT is \"yes\"; it must be true or false"),
        (&[ENDPOINT, ("NOWD_LOG", "loud")], "NOWD_LOG is \"loud\"; it must be off, error"),
        (&[ENDPOINT, ("NOWD_ALLOW_ANONYMOUS", "perhaps")], "NOWD_ALLOW_ANONYMOUS is"),
        (&[ENDPOINT, ("NOWD_TARGETS", "a/*")], "NOWD_TARGETS is \"a/*\"; it must be a name of a gateway"),
        (&[ENDPOINT, ("NOWD_UNANNOUNCED", "+")], "NOWD_UNANNOUNCED is \"+\"; it must be a name of a gateway"),
        (&[ENDPOINT, ("NOWD_BASE_PATH", "fleet")], "NOWD_BASE_PATH is \"fleet\"; it must be a path"),
        (&[ENDPOINT, ("NOWD_BASE_PATH", "/fleet/")], "NOWD_BASE_PATH is"),
        (
            &[ENDPOINT, ("NOWD_KEEP_ALIVE", "1s")],
            "NOWD_KEEP_ALIVE is \"1s\"; it must be a duration from 5s to 20min",
        ),
    ];
    for (pairs, said) in table {
        let error = read(pairs).unwrap_err().to_string();
        assert!(error.starts_with(said), "{pairs:?}: {error}");
    }
    let settings =
        read(&[ENDPOINT, ("NOWD_CA", "/nonexistent.pem"), ("NOWD_POLICY", "/nonexistent.toml")]).unwrap();
    let said = |error: SettingError| format!("{:#}", anyhow::Error::from(error));
    let ca = settings.link().unwrap_err();
    assert_eq!(said(ca), "NOWD_CA cannot be used: /nonexistent.pem: there is no such file");
    let policy = said(settings.access().unwrap_err());
    assert!(policy.starts_with("NOWD_POLICY cannot be used: /nonexistent.toml"), "{policy}");
    assert_eq!(policy.matches("/nonexistent.toml").count(), 1, "{policy}");
}

#[test]
fn a_misspelt_setting_is_not_as_if_it_were_not_set() {
    let know = |names: &[&str]| Settings::know(names.iter().map(|name| (*name).to_owned()));
    assert!(know(&["PATH", "AWS_REGION", "NOWD_POLICY", "NOWD_ENDPOINT"]).is_ok());
    let error = know(&["NOWD_ENDPOINT", "NOWD_POLICIES"]).unwrap_err().to_string();
    assert!(
        error.starts_with("there is no setting NOWD_POLICIES; there are NOWD_ALLOW_ANONYMOUS, "),
        "{error}"
    );
}
