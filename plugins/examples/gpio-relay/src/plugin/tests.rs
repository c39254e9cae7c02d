use std::path::Path;

use nowd_plugin::Deadline;
use nowd_plugin::host::Registry;
use nowd_plugin::service::{Description, fingerprint};
use nowd_testkit::{wait_for, within};

use super::*;

const LONG: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60);

fn relays() -> Arc<Relays> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "chip = \"simulated\"\n[channels.pump]\nline = 17\n[channels.lamp]\nline = \"GPIO27\"\nactive_low = true\n";
    std::fs::write(file.path(), text).unwrap();
    Arc::new(Relays::new(&Config::load(file.path()).unwrap()).unwrap())
}

fn call(method: &str, params: Value, budget: Duration) -> Call {
    Call::new(Uuid::new_v4(), method, params, Deadline::after(budget))
}

async fn says(relays: &Relays, method: &str, params: Value) -> Completion {
    relays.invoke(&call(method, params, LONG)).await
}

fn code(completion: &Completion) -> &str {
    match completion {
        Completion::Failed { error, .. }
        | Completion::Refused(error)
        | Completion::Timeout(error)
        | Completion::InvalidRequest(error)
        | Completion::Unavailable(error)
        | Completion::Internal(error) => &error.code,
        Completion::Expired(_) => "expired",
        Completion::Ok(_) | Completion::Sent(_) => "ok",
    }
}

#[tokio::test]
async fn a_relay_is_switched_and_says_so() {
    let relays = relays();
    assert_eq!(
        says(&relays, "relay.set", json!({"channel": "lamp", "on": true})).await,
        Completion::Ok(json!({"channel": "lamp", "on": true}))
    );
    let state = || says(&relays, "relay.state", json!({}));
    assert_eq!(state().await, Completion::Ok(json!({"lamp": true, "pump": false})));
    says(&relays, "relay.release", json!({"channel": "lamp"})).await;
    assert_eq!(state().await, Completion::Ok(json!({"lamp": false, "pump": false})));
}

#[tokio::test]
async fn what_is_wrong_or_late_switches_nothing() {
    let relays = relays();
    for (method, params, budget, expected) in [
        ("relay.set", json!({"channel": "lamp", "on": true}), Duration::ZERO, "expired"),
        ("relay.pulse", json!({"channel": "lamp", "ms": 1}), Duration::ZERO, "expired"),
        ("relay.release", json!({"channel": "lamp"}), Duration::ZERO, "expired"),
        ("relay.pulse", json!({"channel": "lamp", "ms": 10_000}), Duration::from_secs(5), "pulse_too_long"),
        ("relay.pulse", json!({"channel": "lamp", "ms": 10_001}), LONG, "bad_params"),
        ("relay.set", json!({"channel": "door", "on": true}), LONG, "bad_params"),
        ("relay.set", json!({"channel": "lamp", "on": 1}), LONG, "bad_params"),
        ("relay.toggle", json!({"channel": "lamp"}), LONG, "no_such_method"),
    ] {
        let completion = relays.invoke(&call(method, params.clone(), budget)).await;
        assert_eq!(code(&completion), expected, "{method} {params}");
        assert_eq!(completion.outcome(), Outcome::NotExecuted);
        assert_eq!(relays.state(), json!({"lamp": false, "pump": false}), "{method} {params}");
    }
}

#[tokio::test]
async fn a_pulse_ends_by_itself_or_when_told_to() {
    let relays = relays();
    let lamp = json!({"channel": "lamp"});
    let short = says(&relays, "relay.pulse", json!({"channel": "lamp", "ms": 5})).await;
    assert_eq!(short, Completion::Ok(json!({"channel": "lamp", "ms": 5})));
    assert_eq!(relays.state()["lamp"], false);
    for (released, expected) in [(true, "released"), (false, "cancelled")] {
        let long = call("relay.pulse", json!({"channel": "lamp", "ms": 10_000}), LONG);
        let other = async {
            wait_for(PATIENCE, "the pulse", || relays.channels["lamp"].line.is_on()).await;
            let refused = says(&relays, "relay.set", json!({"channel": "lamp", "on": false})).await;
            assert_eq!(code(&refused), "pulse");
            let pump = says(&relays, "relay.set", json!({"channel": "pump", "on": true})).await;
            assert_eq!(code(&pump), "ok", "another channel waits for nobody");
            if released {
                assert_eq!(code(&says(&relays, "relay.release", lamp.clone()).await), "ok");
                // The end of the old pulse does not switch off what comes after it.
                assert_eq!(
                    code(&says(&relays, "relay.set", json!({"channel": "lamp", "on": true})).await),
                    "ok"
                );
            } else {
                long.cancelled.cancel();
            }
        };
        let (completion, ()) =
            within(PATIENCE, "the pulse's end", async { tokio::join!(relays.invoke(&long), other) }).await;
        assert_eq!((code(&completion), completion.outcome()), (expected, Outcome::Unknown));
        assert_eq!(relays.state()["lamp"], released);
        says(&relays, "relay.release", lamp.clone()).await;
    }
}

#[tokio::test]
async fn nothing_stays_on_when_the_plugin_stops_or_a_call_is_dropped() {
    let relays = relays();
    let long = call("relay.pulse", json!({"channel": "pump", "ms": 10_000}), LONG);
    {
        let mut pulse = relays.invoke(&long);
        tokio::select! {
            biased;
            _ = &mut pulse => panic!("the pulse is longer"),
            () = wait_for(PATIENCE, "the pulse", || relays.channels["pump"].line.is_on()) => {}
        }
    }
    assert_eq!(relays.state()["pump"], false);
    says(&relays, "relay.set", json!({"channel": "lamp", "on": true})).await;
    let stop = CancellationToken::new();
    stop.cancel();
    within(PATIENCE, "the end", Arc::clone(&relays).run(stop)).await;
    assert_eq!(relays.state(), json!({"lamp": false, "pump": false}));
}

#[test]
fn a_gateway_takes_the_description() {
    let relays = relays();
    let text = Description::text(&relays.methods(), &fingerprint(&*relays));
    let described = Description::parse(&text, "com.example.Relay").unwrap();
    assert_eq!(described.methods.len(), 4);
    let plugin: Arc<dyn Plugin> = relays;
    Registry::new(&[plugin]).unwrap();
}

#[test]
fn a_chip_that_is_not_there_is_named() {
    let text = "chip = \"/dev/no-such-chip\"\n[channels.pump]\nline = 17\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let error = Relays::new(&Config::load(Path::new(file.path())).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("channel pump: /dev/no-such-chip, line 17: "), "{error}");
}
