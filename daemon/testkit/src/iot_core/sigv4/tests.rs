//! Signatures that AWS published, each accepted; and refused as soon as one part of it is another.

use http::Request;

use super::*;

/// 2015-08-30T12:36:00Z, when AWS signed its examples.
const THEN: i64 = 1_440_938_160;
const PRESIGNED: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request\
    &X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600\
    &X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d";
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
    Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
    SignedHeaders=content-length;content-type;host;x-amz-content-sha256;x-amz-date, \
    Signature=d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b";

fn example(token: &str) -> Credentials {
    Credentials {
        access_key: "AKIDEXAMPLE".into(),
        secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        session_token: token.into(),
    }
}

fn judge(credentials: &Credentials, now: i64) -> Judge<'_> {
    Judge { region: "us-east-1", service: "service", credentials, now }
}

fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn presigned(query: &str, token: &str, now: i64) -> Result<(), Wrong> {
    let parts = parts("GET", &format!("/?{query}"), &[("host", "example.amazonaws.com")]);
    judge(&example(token), now).presigned(&parts)
}

#[test]
fn a_published_url_is_accepted_while_it_is_young() {
    for now in [THEN - SKEW, THEN, THEN + SKEW] {
        assert_eq!(presigned(PRESIGNED, "", now), Ok(()));
    }
    for now in [THEN - SKEW - 1, THEN + SKEW + 1] {
        assert_eq!(presigned(PRESIGNED, "", now), Err(Wrong("X-Amz-Date is too far from now")));
    }
}

#[test]
fn a_session_token_is_appended_after_signing() {
    let with = format!("{PRESIGNED}&X-Amz-Security-Token=to%2Fken%3D%3D");
    assert_eq!(presigned(&with, "to/ken==", THEN), Ok(()));
    assert!(presigned(&with, "another", THEN).is_err());
    assert!(presigned(PRESIGNED, "to/ken==", THEN).is_err());
    // The same request of AWS's suite, signed with the token: right for most services, but not here.
    let signed_too = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request\
        &X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600\
        &X-Amz-Security-Token=6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267\
        &X-Amz-Signature=7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c";
    let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    assert_eq!(presigned(signed_too, token, THEN), Err(Wrong("the signature does not match")));
}

#[test]
fn each_wrong_part_of_a_url_is_refused() {
    for (right, wrong, why) in [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "the algorithm is not AWS4-HMAC-SHA256"),
        ("X-Amz-Algorithm", "Y", "X-Amz-Algorithm is missing"),
        ("X-Amz-Credential", "Y", "X-Amz-Credential is missing"),
        ("X-Amz-SignedHeaders", "Y", "X-Amz-SignedHeaders is missing"),
        ("X-Amz-Signature", "Y", "X-Amz-Signature is missing"),
        ("X-Amz-Date", "Y", "X-Amz-Date is missing"),
        ("AKIDEXAMPLE", "AKIDANOTHER", "the access key is not valid"),
        ("%2F20150830", "%2F20150831", "the scope's date is not X-Amz-Date's"),
        ("us-east-1", "us-east-2", "the scope is for another region"),
        ("%2Fservice", "%2Fiotdata", "the scope is for another service"),
        ("aws4_request", "aws3_request", "the scope does not end with aws4_request"),
        ("%2Faws4_request", "", "the credential's scope has not four parts"),
        ("20150830T123600Z", "20150830T123601Z", "the signature does not match"),
        ("20150830T123600Z", "20150830", "X-Amz-Date is no date"),
        ("=host", "=date", "the header host is not signed"),
        ("=host", "=host%3Borigin", "a signed header is missing or no text"),
        ("Expires=3600", "Expires=3601", "the signature does not match"),
        ("Expires=3600", "Expires=0", "X-Amz-Expires is out of range"),
        ("Expires=3600", "Expires=604801", "X-Amz-Expires is out of range"),
        ("Expires=3600", "Expires=soon", "X-Amz-Expires is no number"),
        ("=e93c", "=e93d", "the signature does not match"),
        ("&X-Amz-Date", "&more=1&X-Amz-Date", "the signature does not match"),
        ("&X-Amz-Date", "&X-Amz-Date=20150830T123600Z&X-Amz-Date", "a parameter stands twice"),
    ] {
        let query = PRESIGNED.replace(right, wrong);
        assert_eq!(presigned(&query, "", THEN), Err(Wrong(why)), "{right} -> {wrong}");
    }
    let expired = PRESIGNED.replace("Expires=3600", "Expires=60");
    assert_eq!(presigned(&expired, "", THEN + 60), Err(Wrong("the URL has expired")));
}

#[test]
fn another_method_path_or_host_is_refused() {
    for (method, path, host, right) in [
        ("GET", "/", "example.amazonaws.com", true),
        ("POST", "/", "example.amazonaws.com", false),
        ("GET", "/mqtt", "example.amazonaws.com", false),
        ("GET", "/", "example.amazonaws.com:443", false),
    ] {
        let parts = parts(method, &format!("{path}?{PRESIGNED}"), &[("host", host)]);
        let judged = judge(&example(""), THEN).presigned(&parts);
        assert_eq!(judged.is_ok(), right, "{method} {path} {host}");
    }
}

#[test]
fn published_headers_are_accepted_and_each_wrong_part_refused() {
    let right = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "example.amazonaws.com"),
        ("content-length", "13"),
        ("x-amz-date", "20150830T123600Z"),
        ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"),
        ("authorization", AUTHORIZATION),
    ];
    let in_headers = |headers: &[(&str, &str)], body: &[u8]| {
        judge(&example(""), THEN).in_headers(&parts("POST", "/", headers), body)
    };
    assert_eq!(in_headers(&right, b"Param1=value1"), Ok(()));
    assert_eq!(in_headers(&right, b"Param1=value2"), Err(Wrong("the signature does not match")));
    for (position, why) in [
        (0, "a signed header is missing or no text"),
        (1, "a signed header is missing or no text"),
        (3, "there is no header x-amz-date"),
        (5, "there is no header authorization"),
    ] {
        let mut headers = right.to_vec();
        headers.remove(position);
        assert_eq!(in_headers(&headers, b"Param1=value1"), Err(Wrong(why)));
    }
    let mut headers = right.to_vec();
    headers.push(("x-amz-mqtt5-correlation-data", "AAAA"));
    assert_eq!(in_headers(&headers, b"Param1=value1"), Err(Wrong("a header x-amz-... is not signed")));
}

#[test]
fn a_published_path_is_escaped_twice() {
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20210511/us-east-2/lambda/aws4_request, \
        SignedHeaders=host;x-amz-date, \
        Signature=4b93abbcc68be32bd64c18e2c71150660ab4c29bbd6c32a383a7517a88fc1804";
    let path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-west-2%3A892717189312%3Afunction%3Amy-rusty-fun\
        /invocations";
    let headers = [
        ("host", "lambda.us-east-2.amazonaws.com"),
        ("x-amz-date", "20210511T154045Z"),
        ("authorization", authorization),
    ];
    let credentials = example("");
    let judge =
        Judge { region: "us-east-2", service: "lambda", credentials: &credentials, now: 1_620_747_645 };
    assert_eq!(judge.in_headers(&parts("POST", path, &headers), b""), Ok(()));
}
