//! Events as the nuclei say them, and as they might.

use super::*;

const ON: Subscription = Subscription::of_stream(3);

#[test]
fn events_are_read() {
    for (topic, payload, expected) in [
        (
            Topic::Configuration,
            r#"{"configurationUpdateEvent":{"componentName":"a.B","keyPath":["nowd","log"]}}"#,
            Event::ConfigurationChanged {
                subscription: ON,
                component: "a.B".to_owned(),
                key_path: vec!["nowd".to_owned(), "log".to_owned()],
            },
        ),
        (
            Topic::Configuration,
            r#"{"configurationUpdateEvent":{"keyPath":null}}"#,
            Event::ConfigurationChanged { subscription: ON, component: String::new(), key_path: vec![] },
        ),
        (
            Topic::Validation,
            r#"{"validateConfigurationUpdateEvent":{"configuration":{"a":1}}}"#,
            Event::Validate {
                subscription: ON,
                deployment: String::new(),
                configuration: serde_json::json!({"a": 1}),
            },
        ),
        (
            Topic::ComponentUpdates,
            r#"{"preUpdateEvent":{"deploymentId":"d","isGgcRestarting":"true"},"postUpdateEvent":null}"#,
            Event::BeforeUpdate { subscription: ON, deployment: "d".to_owned(), nucleus_restarts: true },
        ),
        (
            Topic::ComponentUpdates,
            r#"{"preUpdateEvent":null,"postUpdateEvent":{"deploymentId":"d"}}"#,
            Event::AfterUpdate { subscription: ON, deployment: "d".to_owned() },
        ),
        (
            Topic::IotCore,
            r#"{"message":{"topicName":"t","payload":null,"messageExpiryIntervalSeconds":"7","retain":"false"}}"#,
            Event::Message {
                subscription: ON,
                message: Message {
                    topic: "t".to_owned(),
                    expiry: Some(7),
                    retain: Some(false),
                    ..Message::default()
                },
            },
        ),
    ] {
        assert_eq!(Event::read(ON, topic, payload.as_bytes()), expected);
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    for (topic, payload, expected) in [
        (Topic::IotCore, "", "it is not JSON"),
        (Topic::IotCore, "{}", "it is not of the kind that was subscribed to"),
        (Topic::IotCore, r#"{"message":"x"}"#, "it is not of the kind that was subscribed to"),
        (Topic::IotCore, r#"{"message":{"payload":"AA=="}}"#, "it has no topicName"),
        (Topic::IotCore, r#"{"message":{"topicName":"t","payload":"?"}}"#, "its bytes are not base64"),
        (Topic::Configuration, r#"{"message":{}}"#, "it is not of the kind that was subscribed to"),
        (Topic::ComponentUpdates, r#"{"preUpdateEvent":{}}"#, "it has no deploymentId"),
    ] {
        let event = Event::read(ON, topic, payload.as_bytes());
        assert_eq!(event, Event::Unreadable { subscription: ON, what: expected }, "{payload}");
        assert_eq!(event.subscription(), ON);
    }
}
