//! A bug in a port's task, put there by a log that panics.

use super::*;

/// Panics when the port's task says that it heard a line which is no answer.
pub(super) struct PanicsAtNoise;

impl tracing::Subscriber for PanicsAtNoise {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        assert!(event.fields().all(|field| field.name() != "heard"), "a bug in the port's task");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_port_whose_task_panics_comes_up_again() {
    let mut device = Device::new();
    let rig = Rig::start(PortConfig::new(device.path())).await;
    // The tasks of this test run on this thread, and log where it says.
    let _log = tracing::subscriber::set_default(PanicsAtNoise);
    for _ in 0..2 {
        let (completion, ()) = tokio::join!(rig.call("state", json!({"ch": "3"}), LONG), async {
            device.expect("STATE 3\r\n").await;
            device.say("NOISE\r\n").await;
        });
        // The device was written to.
        assert!(matches!(&completion, Completion::Internal(e) if e.code == "port_stopped"), "{completion:?}");
        assert_eq!(completion.outcome(), Outcome::Unknown);
        let refused = rig.wait("ring", gone).await;
        assert!(
            matches!(&refused, Completion::Unavailable(e) if e.message.contains("by mistake")),
            "{refused:?}"
        );
        rig.wait_open("ring").await;
        rig.works(&mut device).await;
    }
}
