//! Somebody on the gateway's bus who is no plugin, and sends it what nobody asked him for.

use std::thread;

use nowd_testkit::{wait_for, within};
use tokio_util::sync::CancellationToken;
use zbus::Connection;
use zbus::message::{Flags, Message};

use super::{Bed, Deadline, PATIENCE, WORST, beside, gate, gateway, until};
use super::{GATE, JoinSet};
use crate::local::{NAME, PATH, shell};

/// How somebody is a nuisance.
#[derive(Debug, Clone, Copy)]
enum How {
    /// Small signals straight to the gateway, without end.
    Signals,
    /// Calls of what there is not, without end, and without a look at the answers.
    Calls,
    /// Long calls, of half a megabyte.
    LongCalls,
    /// Messages of 100 MB.
    Huge,
}

const HUGE: usize = 100 * 1024 * 1024;

/// On a thread of his own, until the token is cancelled.
fn somebody(address: String, how: How, stop: CancellationToken) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut count = 0;
            while !stop.is_cancelled() {
                let connection = zbus::connection::Builder::address(address.as_str()).build().await.unwrap();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = pester(&connection, how, &mut count) => {}
                }
            }
            count
        })
    })
}

/// Until the bus has had enough of him.
async fn pester(connection: &Connection, how: How, count: &mut u64) {
    let message = match how {
        How::Signals => Message::signal(PATH, NAME, "Ended").destination(NAME).build(&"x"),
        How::Calls => {
            let call = Message::method_call(PATH, "Nothing").destination(NAME).interface(NAME);
            call.with_flags(Flags::NO_REPLY_EXPECTED).build(&())
        }
        How::LongCalls => {
            let call = Message::method_call(PATH, "Call").destination(NAME).interface(NAME);
            call.build(&("", "echo", "x".repeat(500_000), 0_u64))
        }
        How::Huge => {
            let call = Message::method_call(PATH, "Call").destination(NAME).interface(NAME);
            call.build(&("", "echo", "x".repeat(HUGE), 0_u64))
        }
    };
    let message = message.unwrap();
    while connection.send(&message).await.is_ok() {
        *count += 1;
        tokio::task::yield_now().await;
    }
}

async fn next_to(how: How) {
    let mut bed = Bed::new().await;
    bed.drop_in("gate", GATE);
    let mut tasks = JoinSet::new();
    let _gate = gate(&bed, &mut tasks, &["gate.open"]);
    let gateway = gateway(&bed).await;
    let cloud = bed.cloud().await;
    until(&cloud, "gate.open", "ok executed \"gate.open\"").await;
    let stop = CancellationToken::new();
    let mut nuisance = None;
    let worst = async {
        nuisance = Some(somebody(bed.bus.address(), how, stop.clone()));
        // Others are served meanwhile, on the same connection. Behind what the bus has kept for the gateway they may wait
        // for longer than they have, on a machine that is busy: then they hear that nobody knows.
        let over = Deadline::after(WORST);
        while over.check().is_ok() {
            let (code, text) = shell(&bed, &["call", "echo", "5", "--timeout", "20s"]).await;
            let nobody_knows = code == 4 && text.contains("has said nothing");
            let may_wait = matches!(how, How::Calls);
            assert!(code == 0 || (may_wait && nobody_knows), "{how:?}: {code} {text}");
        }
    };
    beside(&format!("{how:?}"), &gateway, &cloud, worst).await;
    stop.cancel();
    let nuisance = nuisance.unwrap();
    wait_for(PATIENCE, "his end", || nuisance.is_finished()).await;
    println!("    {} messages", nuisance.join().unwrap());
    // When he is gone they are served again.
    within(PATIENCE, "an answer after him", async {
        while shell(&bed, &["call", "echo", "5", "--timeout", "20s"]).await.0 != 0 {}
    })
    .await;
    let gone = |line: &String| line.contains("connecting anew") || line.contains("giving up");
    assert!(!gateway.lines().iter().any(gone), "the gateway has lost a connection");
}

/// One after the other: together they would measure each other.
#[tokio::test]
async fn somebody_on_the_bus_hurts_nobody() {
    for how in [How::Signals, How::Calls, How::LongCalls, How::Huge] {
        next_to(how).await;
    }
}

#[tokio::test]
async fn who_asks_at_too_great_length_hears_so() {
    let bed = Bed::new().await;
    let _gateway = gateway(&bed).await;
    let client = crate::local::client(&bed).await;
    let body = ("", "echo", "x".repeat(1_000_000), 0_u64);
    let asked = client.call_method(Some(NAME), PATH, Some(NAME), "Call", &body).await;
    let error = asked.unwrap_err().to_string();
    assert!(error.contains("longer than the 262144 bytes that are read"), "{error}");
}
