//! State, updates and their deferral; what lite does not have.

use std::time::Duration;

use nowd_greengrass::{CallError, Event, RefusalKind, State};
use nowd_testkit::{Deployed, Fault, Nucleus, Style, wait_for};
use serde_json::json;

use crate::common::{BOUND, OURS, next, open};

#[tokio::test]
async fn states_are_reported() {
    for style in [Style::Classic, Style::Lite] {
        let nucleus = Nucleus::start(style);
        let connection = open(&nucleus).await;
        connection.client().update_state(State::Running).await.unwrap();
        connection.client().update_state(State::Errored).await.unwrap();
        assert_eq!(nucleus.states(OURS), ["RUNNING", "ERRORED"]);
    }
}

#[tokio::test]
async fn an_update_waits_for_as_long_as_it_is_deferred() {
    let nucleus = Nucleus::start(Style::Classic);
    nucleus.set_notice_bound(BOUND);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    let early = client.defer_update("deployment-0", Duration::ZERO, "").await.unwrap_err();
    assert_eq!(early.refusal(), Some(RefusalKind::InvalidArguments), "{early}");
    let subscription = client.subscribe_component_updates().await.unwrap();
    let id = nucleus.deploy(OURS, json!({"nowd": {"target": "gw-8"}}));
    let before = Event::BeforeUpdate { subscription, deployment: id.clone(), nucleus_restarts: false };
    let waits = [Duration::from_millis(1), Duration::from_millis(2), Duration::ZERO];
    for (number, wait) in waits.into_iter().enumerate() {
        assert_eq!(next(&mut connection).await, before);
        assert_eq!(nucleus.deployed(&id), None);
        client.defer_update(&id, wait, "a call is running").await.unwrap();
        let deferral = &nucleus.deferrals()[number];
        assert_eq!((deferral.component.as_str(), deferral.recheck_after), (OURS, wait));
        assert_eq!(deferral.message.as_deref(), Some("a call is running"));
    }
    assert_eq!(next(&mut connection).await, Event::AfterUpdate { subscription, deployment: id.clone() });
    wait_for(BOUND, "the end of a deployment", || nucleus.deployed(&id).is_some()).await;
    assert_eq!(nucleus.deployed(&id), Some(Deployed::Succeeded));
    // An answer that is quicker than the nucleus is given once more.
    nucleus.fault("DeferComponentUpdate", Fault::Refused("ServiceError"));
    let id = nucleus.deploy(OURS, json!({"nowd": {"target": "gw-9"}}));
    let Event::BeforeUpdate { deployment, .. } = next(&mut connection).await else { panic!("not told") };
    client.defer_update(&deployment, Duration::ZERO, "").await.unwrap();
    wait_for(BOUND, "the end of a deployment", || nucleus.deployed(&id).is_some()).await;
    let late = client.defer_update(&id, Duration::ZERO, "").await.unwrap_err();
    assert_eq!(late.refusal(), Some(RefusalKind::Service), "{late}");
}

#[tokio::test]
async fn lite_has_no_validation_and_no_deferral() {
    let nucleus = Nucleus::start(Style::Lite);
    let connection = open(&nucleus).await;
    let client = connection.client();
    for error in [
        client.subscribe_validation().await.unwrap_err(),
        client.subscribe_component_updates().await.unwrap_err(),
    ] {
        assert_eq!(error.refusal(), Some(RefusalKind::Service), "{error}");
    }
    client.update_state(State::Running).await.unwrap();
}

#[tokio::test]
async fn a_refusal_ends_the_call_and_nothing_else() {
    for style in [Style::Classic, Style::Lite] {
        let nucleus = Nucleus::start(style);
        let connection = open(&nucleus).await;
        let client = connection.client();
        for (code, kind) in [
            ("UnauthorizedError", RefusalKind::Unauthorized),
            ("ServiceError", RefusalKind::Service),
            ("SomethingNewError", RefusalKind::Other),
        ] {
            nucleus.refuse("UpdateState", code, "Not\nfor you.");
            let error = client.update_state(State::Running).await.unwrap_err();
            assert_eq!(error.refusal(), Some(kind));
            assert_eq!(error.to_string(), format!("the nucleus refused UpdateState: {code}: Not for you"));
        }
        nucleus.allow("UpdateState");
        client.update_state(State::Running).await.unwrap();
        assert!(matches!(
            client.configuration(None, &["x"]).await,
            Err(CallError::Refused { operation: "GetConfiguration", .. })
        ));
    }
}
