//! How a port is set up.

use nowd_plugin::Health;

use super::*;

#[tokio::test]
async fn a_driver_without_rs485_is_told() {
    let device = Device::new();
    let mut rig = Rig::load(
        &[("relay", PortConfig { rs485: Some(Rs485::default()), ..PortConfig::new(device.path()) })],
        &[MAP],
    );
    rig.run();
    rig.wait("ring", |c| matches!(c, Completion::Unavailable(e) if e.message.contains("RS-485 transceiver")))
        .await;
    assert!(Path::new(&device.path()).exists());
    let health = rig.plugin.health();
    assert!(matches!(&health, Health::Failed(why) if why.contains("RS-485 transceiver")), "{health:?}");
}

#[tokio::test]
async fn any_speed_is_set() {
    let mut device = Device::new();
    let config = PortConfig { baud: 12_345, ..PortConfig::new(device.path()) };
    let rig = Rig::start(config).await;
    assert_eq!(device.slave.baud_rate().unwrap(), 12_345);
    rig.works(&mut device).await;
    assert_eq!(rig.plugin.health(), Health::Ok);
}

#[tokio::test]
async fn the_gap_between_frames_is_kept() {
    let mut device = Device::new();
    let gap = Duration::from_millis(60);
    let rig = Rig::start(PortConfig { gap: Some(gap), ..PortConfig::new(device.path()) }).await;
    let mut last = None;
    for _ in 0..4 {
        let (completion, answered) = tokio::join!(rig.call("state", json!({"ch": "1"}), LONG), async {
            device.expect("STATE 1\r\n").await;
            let heard = nowd_plugin::BootInstant::now();
            if let Some(last) = last {
                assert!(heard.saturating_since(last) >= gap, "{:?}", heard.saturating_since(last));
            }
            // Before the answer is written: the line is silent since then at the earliest.
            let answered = nowd_plugin::BootInstant::now();
            device.say("OK fine\r\n").await;
            answered
        });
        assert!(matches!(completion, Completion::Ok(_)), "{completion:?}");
        last = Some(answered);
    }
}
