//! The topics of the three message forms, and one level.

use super::sentence;
use nowd_protocol::{Level, MAX_TOPIC_LEN, PresenceTopic, ReplyTopic, RequestTopic};

/// `data` is a topic, and a level.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Level::new(text) {
        Ok(level) => {
            check_level(&level);
            assert_eq!(level.as_str(), text);
        }
        Err(e) => sentence::check(&e),
    }
    match RequestTopic::parse(text) {
        Ok(topic) => {
            assert_eq!(topic.to_string(), text);
            check_request(&topic);
        }
        Err(e) => sentence::check(&e),
    }
    match ReplyTopic::parse(text) {
        Ok(reply) => {
            assert_eq!(reply.to_string(), text);
            assert!(text.len() <= MAX_TOPIC_LEN);
            check_request(&reply.0);
        }
        Err(e) => sentence::check(&e),
    }
    match PresenceTopic::parse(text) {
        Ok(presence) => {
            assert_eq!(presence.to_string(), text);
            check_level(&presence.0);
        }
        Err(e) => sentence::check(&e),
    }
}

/// A request's topic and its reply's say the same, and both fit.
pub(crate) fn check_request(topic: &RequestTopic) {
    for level in [&topic.target, &topic.method, &topic.client] {
        check_level(level);
    }
    let (request, reply) = (topic.to_string(), ReplyTopic(topic.clone()).to_string());
    assert!(request.len() <= MAX_TOPIC_LEN && reply.len() <= MAX_TOPIC_LEN, "{request} {reply}");
    assert_eq!(RequestTopic::parse(&request).as_ref(), Ok(topic));
    assert_eq!(ReplyTopic::parse(&reply), Ok(ReplyTopic(topic.clone())));
    let presence = PresenceTopic(topic.target.clone());
    assert_eq!(PresenceTopic::parse(&presence.to_string()), Ok(presence));
}

fn check_level(level: &Level) {
    let text = level.as_str();
    assert!((1..=Level::MAX_LEN).contains(&text.len()), "{text:?}");
    assert!(!text.contains(['/', '+', '#', '\0']) && !text.starts_with('$'), "{text:?}");
}
