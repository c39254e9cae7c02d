use super::*;
use crate::sentence;

#[path = "../../../fuzz/checks/provisioning.rs"]
mod check;

#[test]
fn the_corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/provisioning");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        check::check(&std::fs::read(file).unwrap());
    }
}

#[test]
fn refusals() {
    for (status, code, request, again, expected) in [
        (429, "", Request::Certificate, true, "asked too often"),
        (400, "ThrottlingException", Request::Registration, true, "asked too often"),
        (500, "InternalFailureException", Request::Certificate, true, "a failure of its own"),
        (400, "InvalidCertificateOwnershipToken", Request::Registration, true, "ownership token"),
        (404, "ResourceNotFoundException", Request::Registration, false, "there is no template \"fleet\""),
        (409, "ResourceConflictException", Request::Registration, false, "is there already"),
        (403, "AccessDenied", Request::Registration, false, "the pre-provisioning hook"),
        (403, "AccessDenied", Request::Certificate, false, "the policy of the claim certificate"),
        (400, "InvalidParameters", Request::Registration, false, "compare `provisioning.parameters`"),
        (0, "", Request::Certificate, false, "does not take this request"),
    ] {
        let rejection =
            Rejection { status_code: Some(status), error_code: code.into(), error_message: "a\nb".into() };
        let Verdict { again: found, sentence } = rejection.verdict(request, "fleet");
        assert!(found == again && sentence.contains(expected), "{status} {code}: {sentence}");
        assert!(!sentence.contains('\n') && sentence.contains("ab)"), "{sentence}");
    }
    assert_eq!(Rejection::parse(b"\xff"), Rejection::default());
}

#[test]
fn a_token_that_is_repeated_is_not_shown() {
    let token = "eyJ0b2tlbiI6IjEyMzQ1Njc4OTAi.secret.c2lnbmF0dXJl";
    let half = &token[..30];
    for said in
        [token.to_owned(), format!("{token}{token}"), half.to_owned(), format!("{}\n{}", half, &token[30..])]
    {
        let error_message = format!("bad token \"{said}\" for it");
        let rejection = Rejection { error_code: said, error_message, ..Rejection::default() };
        let shown = rejection.without(&Token(token.into())).verdict(Request::Registration, "fleet").sentence;
        assert!(shown.contains("(the token)\" for it") && !shown.contains(&token[..16]), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    let rejection = Rejection { error_message: "nothing of it, t".into(), ..Rejection::default() };
    assert_eq!(rejection.clone().without(&Token("eyJ0".into())), rejection);
}

#[test]
fn answers_of_the_documentation_and_more_than_it_says() {
    let created = br#"{"certificateOwnershipToken":"t","certificateId":"0a","certificatePem":"-----BEGIN CERTIFICATE-----\n","more":1}"#;
    let created = Created::parse(created).unwrap();
    assert_eq!(created.id, "0a");
    assert!(!format!("{created:?}").contains("\"t\""), "tokens are not shown");
    let thing = br#"{"deviceConfiguration":{"a":"b"},"thingName":"gw-1"}"#;
    assert_eq!(Registered::parse(thing).unwrap().thing_name.as_str(), "gw-1");
    for name in ["", "a/b", "a+b", "$aws", "a#"] {
        assert!(Registered::parse(format!("{{\"thingName\":\"{name}\"}}").as_bytes()).is_err(), "{name}");
    }
    let long = "x".repeat(LONGEST_TOKEN + 1);
    for (token, id, pem) in [
        ("", "0a", "-----BEGIN CERTIFICATE-----"),
        (long.as_str(), "0a", "-----BEGIN CERTIFICATE-----"),
        ("t", "", "-----BEGIN CERTIFICATE-----"),
        ("t", "../a", "-----BEGIN CERTIFICATE-----"),
        ("t", "0a", "no certificate"),
    ] {
        let payload = serde_json::json!({ "certificateOwnershipToken": token, "certificateId": id, "certificatePem": pem });
        assert!(Created::parse(payload.to_string().as_bytes()).is_err(), "{id} {pem}");
    }
}
