use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

mod golden;
mod refusals;

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

fn level() -> impl Strategy<Value = Level> {
    r"[^/+#$\p{Cc}][^/+#\p{Cc}]{0,20}".prop_filter_map("too long", |text| Level::new(text).ok())
}

fn topic() -> impl Strategy<Value = RequestTopic> {
    (level(), level(), level(), any::<u128>())
        .prop_map(|(target, method, client, id)| RequestTopic {
            target,
            method,
            client,
            id: Uuid::from_u128(id),
        })
        .prop_filter("too long", |topic| topic.check_len().is_ok())
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map(".{0,6}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn request()(
        topic in topic(),
        timestamp in prop::option::of(0..253_402_300_799_999_u64),
        body in json(),
        timeout in prop::option::of(1..=MAX_TIMEOUT_MS),
        not_after in prop::option::of((any::<u128>(), any::<u64>())),
        attempt in 1..9_u32,
        caller in prop::option::of(".{0,40}"),
        traceparent in prop::option::of("[0-9a-f-]{0,55}"),
    ) -> Request {
        Request {
            topic, timestamp, timeout, attempt, caller, traceparent,
            request: raw(&body.to_string()),
            not_after: not_after.map(|(incarnation, at)| NotAfter { incarnation: Uuid::from_u128(incarnation), at }),
        }
    }
}

fn assert_same(a: &Request, b: &Request) {
    assert_eq!(a.topic, b.topic);
    assert_eq!(a.request.get(), b.request.get());
    assert_eq!(
        (a.timestamp, a.timeout, a.not_after, a.attempt, &a.caller, &a.traceparent),
        (b.timestamp, b.timeout, b.not_after, b.attempt, &b.caller, &b.traceparent)
    );
}

proptest! {
    #[test]
    fn requests_come_back(request in request()) {
        for payload in [request.payload(), request.compat_payload()] {
            match Received::parse(&request.topic.to_string(), payload.as_bytes()) {
                Ok(Received::Request(parsed)) => assert_same(&request, &parsed),
                other => panic!("{payload}: {other:?}"),
            }
        }
    }

    #[test]
    fn topics_come_back(topic in topic()) {
        prop_assert_eq!(&RequestTopic::parse(&topic.to_string()).unwrap(), &topic);
        let reply = ReplyTopic(topic.clone());
        prop_assert_eq!(ReplyTopic::parse(&reply.to_string()).unwrap(), reply);
        let presence = PresenceTopic(topic.target);
        prop_assert_eq!(PresenceTopic::parse(&presence.to_string()).unwrap(), presence);
    }

    #[test]
    fn replies_come_back(
        id in any::<u128>(), body in json(), status in 0..Status::ALL.len(), declared in 0..3_usize,
        error in prop::option::of((".{0,9}", ".{0,30}")), timing in any::<[u64; 3]>(), now in any::<u64>(),
    ) {
        let status = Status::ALL[status];
        let outcomes = [Outcome::Executed, Outcome::NotExecuted, Outcome::Unknown];
        let [queue, plugin, total] = timing;
        let reply = Reply {
            id: Uuid::from_u128(id),
            response: raw(&body.to_string()),
            status: ReplyStatus::Known(status),
            outcome: status.outcome().unwrap_or(outcomes[declared]),
            error: error.map(|(code, message)| ErrorBody { code, message }),
            timing: Some(Timing { queue, plugin, total }),
            attempt: Some(u32::try_from(declared).unwrap()),
            gateway: Some(GatewayStamp { incarnation: Uuid::from_u128(id), now, since: Some(now / 2), version: "0.1.0".into() }),
        };
        let parsed = Reply::parse(reply.payload().as_bytes()).unwrap();
        prop_assert_eq!(parsed.response.get(), reply.response.get());
        prop_assert_eq!((parsed.id, &parsed.status, parsed.outcome), (reply.id, &reply.status, reply.outcome));
        prop_assert_eq!((parsed.error, parsed.timing, parsed.gateway), (reply.error, reply.timing, reply.gateway));
    }

    #[test]
    fn presences_come_back(ids in any::<[u128; 2]>(), online in any::<bool>(), since in any::<u64>(), text in ".{0,9}") {
        let [session, incarnation] = ids.map(Uuid::from_u128);
        let presence = Presence { online, session, incarnation, since, version: text.clone(), methods: text };
        prop_assert_eq!(Presence::parse(presence.payload().as_bytes()).unwrap(), presence);
    }

    #[test]
    fn no_input_panics(topic in ".{0,300}", payload in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(Received::parse(&topic, &payload));
        drop(Received::parse("t/m/c/00000000-0000-0000-0000-000000000000", &payload));
        drop(ReplyTopic::parse(&topic));
        drop(PresenceTopic::parse(&topic));
        drop(Reply::parse(&payload));
        drop(Presence::parse(&payload));
    }

    #[test]
    fn no_mangled_request_panics(request in request(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = request.payload().into_bytes();
        let at = at.index(payload.len());
        payload[at] = byte;
        // Whatever it is now, an accepted message still carries the topic's id.
        if let Ok(Received::Request(parsed)) = Received::parse(&request.topic.to_string(), &payload) {
            prop_assert_eq!(parsed.topic, request.topic);
        }
    }
}

#[test]
fn the_table_of_statuses() {
    let table: Vec<String> = Status::ALL
        .iter()
        .map(|s| format!("{} {} {}", s.as_str(), s.outcome().map_or("declared", Outcome::as_str), s.http()))
        .collect();
    assert_eq!(table.join("\n"), include_str!("../golden/statuses.txt").trim_end());
    for status in Status::ALL {
        assert_eq!(Status::parse(status.as_str()), Some(*status));
    }
    assert_eq!(Status::parse("OK"), None);
}

#[test]
fn a_reply_never_claims_more_than_it_knows() {
    let id = "00000000-0000-0000-0000-000000000001";
    for (fields, status, outcome, http) in [
        (r#""status":"ok","outcome":"executed""#, "ok", Outcome::Executed, 200),
        (r#""status":"ok""#, "ok", Outcome::Executed, 200),
        (r#""status":"ok","outcome":"not_executed""#, "ok", Outcome::Unknown, 200),
        (r#""status":"busy","outcome":"strange""#, "busy", Outcome::Unknown, 429),
        (r#""status":"failed""#, "failed", Outcome::Unknown, 502),
        (r#""status":"failed","outcome":"not_executed""#, "failed", Outcome::NotExecuted, 502),
        (r#""status":"newer","outcome":"executed""#, "newer", Outcome::Executed, 200),
        (r#""status":"newer","outcome":"not_executed""#, "newer", Outcome::NotExecuted, 503),
        (r#""status":"newer""#, "newer", Outcome::Unknown, 504),
        (r#""response":"opened""#, "ok", Outcome::Executed, 200),
        (r#""response":null"#, "ok", Outcome::Executed, 200),
        (r#""outcome":"unknown""#, "none", Outcome::Unknown, 504),
    ] {
        let reply = Reply::parse(format!(r#"{{"id":"{id}",{fields}}}"#).as_bytes()).unwrap();
        let found = (reply.status.as_str(), reply.outcome, reply.status.http(reply.outcome));
        assert_eq!(found, (status, outcome, http), "{fields}");
    }
}
