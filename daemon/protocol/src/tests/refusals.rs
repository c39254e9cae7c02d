//! What is not accepted, and the words for it.

use super::*;

const ID: &str = "0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c";

fn parse(payload: impl AsRef<[u8]>) -> Result<Received, Dropped> {
    Received::parse(&format!("gw/m/app/{ID}"), payload.as_ref())
}

fn dropped(payload: impl AsRef<[u8]>) -> String {
    match parse(payload.as_ref()) {
        Err(dropped) => dropped.to_string(),
        Ok(received) => panic!("{}: {received:?}", String::from_utf8_lossy(payload.as_ref())),
    }
}

#[test]
fn topics() {
    let long = "x".repeat(129);
    for (topic, expected) in [
        (format!("gw/m/{ID}"), "the topic has 3 levels; {target}/{method}/{client}/{id} has 4"),
        (format!("gw/m/app/{ID}/more"), "the topic has 5 levels"),
        ("a/".repeat(120), "the topic has 9 levels"),
        (format!("gw//app/{ID}"), "a topic level is empty"),
        (format!("gw/m/$SYS/{ID}"), "a topic level starts with `$`"),
        (format!("gw/m/a+/{ID}"), "a topic level holds '+'"),
        (format!("gw/m/#/{ID}"), "a topic level holds '#'"),
        (format!("gw/m/a\0/{ID}"), "a topic level holds '\\0'"),
        (format!("gw/m/{long}/{ID}"), "a topic level is 129 bytes long"),
        (format!("gw/{}/{}/{ID}", "x".repeat(128), "y".repeat(84)), "the topic is 257 bytes long"),
        ("x".repeat(257), "the topic is 257 bytes long; at most 256 are allowed"),
        ("gw/m/app/1".into(), "the id in the topic is not a UUID"),
        (format!("gw/m/app/{}", ID.to_uppercase()), "the id in the topic is not a UUID"),
        (format!("gw/m/app/{}", ID.replace('-', "")), "the id in the topic is not a UUID"),
        (String::new(), "the topic has 1 levels"),
    ] {
        let message = Received::parse(&topic, b"{}").unwrap_err().to_string();
        assert!(message.starts_with(expected), "{topic}: {message}");
    }
    assert!(ReplyTopic::parse(&format!("app/{ID}/gw/m/nack")).is_err());
    assert!(PresenceTopic::parse("nowd/absence/gw").is_err());
    assert!(PresenceTopic::parse("nowd/presence/$gw").is_err());
}

#[test]
fn payloads_without_an_answer() {
    let deep = "[".repeat(100_000);
    for (payload, expected) in [
        (String::new(), "the payload is not the JSON object that was expected: it does not start with `{`"),
        ("null".into(), "the payload is not the JSON object"),
        (format!(r#"["{ID}"]"#), "the payload is not the JSON object"),
        (deep.clone(), "the payload is not the JSON object"),
        (format!(r#"{{"id":{deep}"#), "the payload is not the JSON object"),
        (
            format!(r#"{{"id":"{ID}","id":"{ID}"}}"#),
            "the payload is not the JSON object that was expected: duplicate",
        ),
        (format!(r#"{{"id":"{ID}"}} more"#), "the payload is not the JSON object"),
        (r#"{"request":1}"#.into(), "`id` is missing"),
        (r#"{"id":null}"#.into(), "`id` is missing"),
        (r#"{"id":""}"#.into(), "`id` is not the id in the topic"),
        (r#"{"id":7}"#.into(), "`id` is not a string"),
        (r#"{"id":{}}"#.into(), "`id` is not a string"),
        (format!(r#"{{"id":"{}"}}"#, ID.to_uppercase()), "`id` is not the id in the topic"),
        (format!(r#"{{"id":"{}"}}"#, "x".repeat(64 * 1024)), "`id` is not the id in the topic"),
        (r#"{"id":"a/+#\u0000"}"#.into(), "`id` is not the id in the topic"),
        ("x".repeat(200_000), "the payload is 200000 bytes long; at most 131072 are allowed"),
    ] {
        let message = dropped(&payload);
        let start: String = payload.chars().take(60).collect();
        assert!(message.starts_with(expected), "{start}: {message}");
        assert!(message.len() < 200);
    }
    assert_eq!(dropped(b"{\"id\":\"\xff\"}"), "the payload is not UTF-8");
}

#[test]
fn faults_that_are_answered() {
    for (field, values) in [
        (
            "timestamp",
            &["-1", "1.5", "\"\"", "\"12x\"", "\"-1\"", "99999999999999999999", "253402300800000", "{}"][..],
        ),
        ("timeout", &["0", "-1", "1.5", "\"abc\"", "3600001", "1e9", "[]"]),
        ("not_after", &["5", "{}", r#"{"incarnation":"x","at":1}"#, r#"{"incarnation":1,"at":1}"#, "\"x\""]),
        ("not_after", &[&format!(r#"{{"incarnation":"{ID}","at":-1}}"#), &format!(r#"["{ID}",1]"#)]),
        ("attempt", &["0", "-1", "\"1\"", "1.0", "4294967296"]),
        ("caller", &["1", "[]", &format!("\"{}\"", "x".repeat(2_049))]),
        ("traceparent", &["false"]),
    ] {
        for value in values {
            match parse(format!(r#"{{"id":"{ID}","{field}":{value}}}"#)) {
                Ok(Received::Faulty(topic, fault)) => {
                    assert_eq!(fault.field, field, "{value}");
                    assert!(fault.to_string().starts_with(&format!("`{field}` must be ")));
                    assert_eq!(topic.id.to_string(), ID);
                }
                other => panic!("{field} {value}: {other:?}"),
            }
        }
    }
}

#[test]
fn arrays_are_no_replies_and_no_presences() {
    assert!(Reply::parse(format!(r#"["{ID}",null,"ok","executed",null,null,null]"#).as_bytes()).is_err());
    assert!(Presence::parse(format!(r#"[true,"{ID}","{ID}",1,"",""]"#).as_bytes()).is_err());
    assert!(Presence::parse(b"").is_err());
}

#[test]
fn escapes_in_the_id_are_understood() {
    let escaped = ID.replace('0', "\\u0030");
    assert!(matches!(parse(format!(r#"{{"id":"{escaped}"}}"#)), Ok(Received::Request(_))));
}
