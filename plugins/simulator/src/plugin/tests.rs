use nowd_plugin::Deadline;
use nowd_plugin::host::Registry;
use serde_json::json;

use super::*;

const MAP: &str = r#"
[simulator]
[lane]
concurrency = 4
[methods."*"]
[methods."fixed"]
answer = { state = "open", at = [1, 2.5] }
[methods."slow"]
delay = "100ms"
[methods."sent"]
status = "sent"
[methods."refused"]
status = "refused"
[methods."failed"]
status = "failed"
[methods."hang"]
status = "hang"
"#;

fn load(text: &str) -> Result<Arc<SimulatorPlugin>, String> {
    let map = MapSource { file: "methods.d/echo.toml".into(), text: text.into() };
    SimulatorPlugin::load(&[map]).map_err(|e| e.to_string())
}

fn call(method: &str, budget: Duration) -> Call {
    Call::new(Uuid::new_v4(), method, json!({"percent": 40}), Deadline::after(budget))
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn answers_as_the_map_says() {
    let plugin = load(MAP).unwrap();
    let echo = json!({"percent": 40});
    for (method, expected, acts) in [
        ("anything", Completion::Ok(echo.clone()), true),
        ("fixed", Completion::Ok(json!({"state": "open", "at": [1, 2.5]})), true),
        ("slow", Completion::Ok(echo.clone()), true),
        ("sent", Completion::Sent(echo), true),
        (
            "refused",
            Completion::Refused(CallError::new("refused", "the simulated device did nothing")),
            false,
        ),
    ] {
        let call = call(method, LONG);
        assert_eq!(plugin.invoke(&call).await, expected, "{method}");
        assert_eq!(plugin.actuations().last().is_some_and(|(id, _)| *id == call.id), acts, "{method}");
    }
    let failed = plugin.invoke(&call("failed", LONG)).await;
    assert!(matches!(failed, Completion::Failed { outcome: Outcome::Unknown, .. }));
}

#[tokio::test]
async fn never_acts_late() {
    let plugin = load(MAP).unwrap();
    for (method, budget) in
        [("anything", Duration::ZERO), ("slow", Duration::from_millis(30)), ("hang", Duration::ZERO)]
    {
        let completion = plugin.invoke(&call(method, budget)).await;
        assert!(matches!(completion, Completion::Expired(_)), "{method}: {completion:?}");
    }
    let cancelled = call("slow", LONG);
    cancelled.cancelled.cancel();
    assert!(matches!(plugin.invoke(&cancelled).await, Completion::Unavailable(e) if e.code == "cancelled"));
    assert_eq!(plugin.actuations(), []);
}

#[tokio::test]
async fn hangs_until_cancelled() {
    let plugin = load(MAP).unwrap();
    let call = call("hang", LONG);
    let (completion, ()) = tokio::join!(plugin.invoke(&call), async {
        while plugin.actuations().is_empty() {
            tokio::task::yield_now().await;
        }
        call.cancelled.cancel();
    });
    assert!(matches!(completion, Completion::Timeout(_)));
}

#[tokio::test]
async fn the_record_is_bounded() {
    let plugin = load(MAP).unwrap();
    let mut last = Uuid::nil();
    for _ in 0..=MOST_ACTUATIONS {
        let call = call("anything", LONG);
        last = call.id;
        plugin.invoke(&call).await;
    }
    let actuations = plugin.actuations();
    assert_eq!((actuations.len(), actuations.last().unwrap().0), (MOST_ACTUATIONS, last));
}

#[test]
fn declares_lanes_and_tells_mistakes() {
    let plugin: Arc<dyn Plugin> = load(MAP).unwrap();
    let registry = Registry::new(&[plugin]).unwrap();
    let (method, _) = registry.get("whatever").unwrap();
    assert_eq!((method.name.as_str(), method.lane.name.as_str()), ("*", "simulator:echo"));
    assert_eq!(method.lane.concurrency.get(), 4);
    for (from, to, expected) in [
        ("[simulator]", "[simulator]\nspeed = 1", "methods.d/echo.toml:3:1: unknown key `speed`"),
        (
            "\"hang\"\n",
            "\"hung\"\n",
            "methods.d/echo.toml:17:10: \"hung\" is not known; did you mean `hang`?",
        ),
        ("\"100ms\"", "100", "methods.d/echo.toml:9:9: "),
        ("delay", "dealy", "methods.d/echo.toml:9:1: unknown key `dealy`; did you mean `delay`?"),
    ] {
        let message = load(&MAP.replace(from, to)).unwrap_err();
        assert!(message.starts_with(expected), "{from}: {message}");
    }
}
