//! Whether the owner of a port goes round: whatever the device does, and not when it stands where it may not.

use super::*;

impl Rig {
    fn pulse(&self) -> Arc<Pulse> {
        let [pulse] = self.plugin.pulses().try_into().unwrap();
        pulse
    }
}

/// Asks until it answers, or comes round by itself.
async fn answers(pulse: &Pulse) {
    let bound = Deadline::after(LONG);
    let before = pulse.moves();
    pulse.ask();
    while pulse.moves() == before {
        assert!(bound.check().is_ok(), "{} stands still", pulse.name());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_owner_answers_with_a_port_and_without() {
    let device = Device::new();
    let rig = Rig::start(PortConfig::new(device.path())).await;
    let pulse = rig.pulse();
    assert_eq!(pulse.name(), format!("the owner of the port \"relay\" ({})", device.path().display()));
    for _ in 0..3 {
        answers(&pulse).await;
    }
    drop(device);
    rig.wait("ring", gone).await;
    for _ in 0..3 {
        answers(&pulse).await;
    }
}

#[tokio::test]
async fn a_slow_device_takes_its_time_and_a_call_says_how_much() {
    let mut device = Device::new();
    let rig = Rig::start(PortConfig::new(device.path())).await;
    let pulse = rig.pulse();
    let usual = pulse.bound();
    let budget = Duration::from_secs(3600);
    let (completion, ()) = tokio::join!(rig.call("state", json!({"ch": "1"}), budget), async {
        device.expect("STATE 1\r\n").await;
        assert!(pulse.bound() >= budget, "{:?}", pulse.bound());
        let before = pulse.moves();
        pulse.ask();
        tokio::time::sleep(SHORT).await;
        assert_eq!(pulse.moves(), before, "it is at the device's mercy, until the deadline");
        device.say("OK fine\r\n").await;
    });
    assert!(matches!(completion, Completion::Ok(_)), "{completion:?}");
    answers(&pulse).await;
    assert_eq!(pulse.bound(), usual);
}
