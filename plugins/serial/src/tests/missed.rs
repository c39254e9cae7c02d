//! What is told of a call that was not answered.

use super::*;

/// Whoever asks later is told why what came was no answer.
#[tokio::test]
async fn a_timeout_says_what_was_heard() {
    let mut device = Device::new();
    let silence = Some(Duration::from_millis(300));
    let rig = Rig::start(PortConfig { silence, ..PortConfig::new(device.path()) }).await;
    for (method, said, expected) in [
        ("state", "", "answered frame 1 of 1; nothing was heard: look at the wires"),
        ("state", "EVENT 3\r\nDONE\r\n", "; heard \"DONE\", which does not match '^OK (?<state>"),
        (
            "state",
            "OK on\n",
            "; heard 6 bytes without a whole frame: \"OK on\\n\"; the map's `framing` is lines that",
        ),
        (
            "pulse",
            "OK a\r\n",
            "answered frame 1 of 2; the answer came late, and what follows it was not sent",
        ),
    ] {
        let given_up = call(method, json!({"ch": "1"}), SHORT);
        let (completion, ()) = tokio::join!(rig.plugin.invoke(&given_up), async {
            device.expect(if method == "state" { "STATE 1\r\n" } else { "ON\r\n" }).await;
            given_up.deadline.passed().await;
            device.say(said).await;
        });
        let Completion::Timeout(error) = &completion else { panic!("{completion:?}") };
        assert!(error.message.contains(expected), "{said:?}: {}", error.message);
    }
    rig.works(&mut device).await;
}
