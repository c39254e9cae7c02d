//! Safe actions of a device at a serial port, through the whole gateway and with the times that nobody gave.

use std::fs;
use std::time::Duration;

use nowd_plugin::BootInstant;
use nowd_testkit::{Process, Pty, wait_for, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::bed::{Bed, PATIENCE, comes_back, within_ms, words};

/// Neither `timeout` nor `silence` is given anywhere.
const GATE: &str = r#"
[serial]
port = "gate"
framing = { line = "\n" }
[methods."gate.open"]
send = "OPEN"
reply = '^OPENED$'
on_timeout = "gate.halt"
on_stop = "gate.halt"
[methods."gate.halt"]
send = "HALT"
reply = '^HALTED$'
internal = true
"#;

/// The next line that the gateway writes.
async fn next(pty: &mut Pty) -> String {
    let mut line = Vec::new();
    within(PATIENCE, "a frame", async {
        loop {
            match pty.read_u8().await.unwrap() {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
    })
    .await;
    String::from_utf8(line).unwrap()
}

async fn bed_with_gate() -> (Bed, Pty) {
    let bed = Bed::new().await;
    let pty = Pty::open();
    let port = format!("\n[ports.gate]\ndevice = \"{}\"\n", pty.path().display());
    fs::write(bed.config(), fs::read_to_string(bed.config()).unwrap() + &port).unwrap();
    fs::write(bed.folder.path().join("methods.d/gate.toml"), GATE).unwrap();
    (bed, pty)
}

/// The record of the next safe action that ended, of those after `before`.
async fn record(gateway: &Process, before: usize) -> String {
    let records = || -> Vec<String> {
        let is_record = |line: &String| line.contains("nowd::call") && line.contains("gate.halt");
        gateway.lines().into_iter().filter(is_record).collect()
    };
    wait_for(PATIENCE, "the record of the safe action", || records().len() > before).await;
    records().remove(before)
}

#[tokio::test]
async fn at_the_deadline_it_is_written_and_its_record_is_honest() {
    let (mut bed, mut pty) = bed_with_gate().await;
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    // A device that answers too late, only the safe action, or nothing at all.
    for (number, (said, status)) in
        [("OPENED\nHALTED\n", "\"ok\""), ("HALTED\n", "\"ok\""), ("", "\"timeout\"")].into_iter().enumerate()
    {
        let answer = async {
            // Until the call before has given its line back.
            within(PATIENCE, "a call that is written", async {
                loop {
                    let answer = words(&cloud.invoke(within_ms("gate.open", "null", 800)).await);
                    if !answer.contains("not_executed") {
                        return answer;
                    }
                }
            })
            .await
        };
        let device = async {
            assert_eq!(next(&mut pty).await, "OPEN");
            assert_eq!(next(&mut pty).await, "HALT");
            pty.write_all(said.as_bytes()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(answer, device);
        assert_eq!(answer, "timeout unknown null");
        let told = record(&gateway, number).await;
        assert!(told.contains(status), "{said:?}: {told}");
    }
}

#[tokio::test]
async fn at_the_end_it_is_written_though_the_call_has_time_left() {
    let (mut bed, mut pty) = bed_with_gate().await;
    let mut gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let mut running = JoinSet::new();
    let calls = cloud.clone();
    running.spawn(async move { words(&calls.invoke(within_ms("gate.open", "null", 20_000)).await) });
    assert_eq!(next(&mut pty).await, "OPEN");
    let begun = BootInstant::now();
    gateway.terminate();
    assert_eq!(next(&mut pty).await, "HALT");
    let took = BootInstant::now().saturating_since(begun);
    pty.write_all(b"HALTED\n").await.unwrap();
    let status = gateway.exit(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{:?}", gateway.lines());
    assert!(took < Duration::from_secs(3), "{took:?}");
    let told = record(&gateway, 0).await;
    assert!(told.contains("\"ok\""), "{told}");
    let answer = within(PATIENCE, "the answer", running.join_next()).await.unwrap().unwrap();
    assert_eq!(answer, "timeout unknown null");
}
