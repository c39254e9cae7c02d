//! Requests that come more than once: copied by somebody on the way, and resent by a publisher whose session outlives its
//! connection.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use nowd_testkit::Way;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::v5::{AsyncClient, MqttOptions};
use tokio::task::JoinSet;

use super::Fault;
use crate::clock;
use crate::raw::{Own, Request};
use crate::stage::Stage;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        clock: "trusted",
        ..Fault::new(
            "requests-copied",
            "requests and answers come again: at once, soon, after deadlines, as other attempts",
            |stage| Box::pin(copied(stage)),
        )
    },
    Fault {
        clock: "trusted",
        ..Fault::new(
            "requests-resent",
            "a publisher with a lasting session loses its connection and sends again what was not acknowledged",
            |stage| Box::pin(resent(stage)),
        )
    },
];

/// When copies come, in milliseconds after the request, and by how much their attempt is raised: the last after any
/// deadline.
const COPIES: [(u64, u64); 5] = [(0, 0), (0, 1), (90, 0), (350, 2), (1_900, 3)];

async fn copied(stage: &mut Stage) -> anyhow::Result<()> {
    let runs = stage.raw.incarnation(None).await?;
    let mut own = Vec::new();
    let mut due: VecDeque<(u64, Request)> = VecDeque::new();
    let (mut from, mut seen, mut copies) = (stage.raw.heard(), HashSet::new(), 0);
    let mut replies_from = stage.raw.replies(0).len();
    stage.strike();
    while !stage.load.is_over() || !due.is_empty() {
        // One call by timestamp, and one by the daemon's clock, beside those of the load.
        if !stage.load.is_over() {
            for incarnation in [None, Some(runs)] {
                let call = Own::new(stage.caller.number(), ("checked", "slow"), 500, incarnation);
                stage.raw.say(&call.topic, call.bytes());
                own.push(call);
            }
        }
        let requests = stage.raw.requests(from);
        from += requests.len();
        for request in requests {
            // A copy is heard as well, and is not copied again.
            if seen.insert(request.topic.clone()) {
                for (after, raise) in COPIES {
                    due.push_back((request.at + after * 1_000, raised(&request, raise)));
                }
            }
        }
        let replies = stage.raw.replies(replies_from);
        replies_from += replies.len();
        for reply in replies {
            if seen.insert(reply.topic.clone()) {
                due.extend([0, 90, 350].map(|after| (reply.at + after * 1_000, reply.clone())));
            }
        }
        let now = clock::now();
        let mut later = VecDeque::new();
        for (at, request) in due.drain(..) {
            if at > now || !stage.raw.say(&request.topic, request.payload.clone()) {
                later.push_back((at, request));
            } else {
                copies += 1;
            }
        }
        due = later;
        stage.wait(10).await;
    }
    stage.mended();
    stage.note(format!("{copies} copies of {} requests and answers", seen.len()));
    stage.wait(500).await;
    let calls = own.iter().map(|own| stage.raw.call(own, 1)).collect::<Vec<_>>();
    stage.calls.extend(calls);
    Ok(())
}

/// The same bytes but for the attempt.
fn raised(request: &Request, by: u64) -> Request {
    const KEY: &str = "\"attempt\":";
    let text = String::from_utf8_lossy(&request.payload);
    let payload = match text.split_once(KEY) {
        _ if by == 0 => return request.clone(),
        Some((before, after)) => {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (number, rest) = after.split_at(end);
            format!("{before}{KEY}{}{rest}", number.parse().unwrap_or(1) + by)
        }
        None => text.replacen('{', &format!("{{{KEY}{},", 1 + by), 1),
    };
    Request { payload: payload.into_bytes(), ..request.clone() }
}

async fn resent(stage: &mut Stage) -> anyhow::Result<()> {
    let runs = stage.raw.incarnation(None).await?;
    let mut options = MqttOptions::new("raw-lasting", "127.0.0.1", stage.bed.other_link.port());
    options.set_keep_alive(Duration::from_secs(30)).set_clean_start(false);
    options
        .set_connect_properties(ConnectProperties { session_expiry_interval: Some(600), ..no_properties() });
    let (client, mut events) = AsyncClient::new(options, 512);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            // It connects again by itself, and sends again what was not acknowledged.
            if events.poll().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let mut own = Vec::new();
    while stage.goes_on() {
        publish(stage, &client, &mut own, runs).await?;
        // First the requests are lost with the connection, then only the acknowledgements.
        for way in [Way::Up, Way::Down] {
            stage.strike();
            stage.bed.other_link.hold(way);
            publish(stage, &client, &mut own, runs).await?;
            stage.wait(150).await;
            if way == Way::Down {
                arrived(stage, &own).await?;
            }
            stage.bed.other_link.refuse();
            stage.wait(350).await;
            stage.bed.other_link.pass();
            stage.mended();
            stage.wait(300).await;
        }
    }
    stage.wait(1_000).await;
    let topics: HashSet<_> = own.iter().map(|own: &Own| own.topic.as_str()).collect();
    let heard = stage.raw.requests(0).iter().filter(|r| topics.contains(r.topic.as_str())).count();
    stage.note(format!("{} calls of a lasting session were sent, and {heard} arrived", own.len()));
    if heard == topics.len() {
        stage.fail("nothing was sent again, so that nothing is proved");
    }
    let calls: Vec<_> = own.iter().map(|own| stage.raw.call(own, 1)).collect();
    stage.calls.extend(calls);
    Ok(())
}

/// Waits until the last of these has reached the broker.
async fn arrived(stage: &Stage, own: &[Own]) -> anyhow::Result<()> {
    let last = own.last().map(|own| own.topic.clone());
    for _ in 0..1_000 {
        if stage.raw.requests(0).iter().any(|request| Some(&request.topic) == last.as_ref()) {
            return Ok(());
        }
        stage.wait(10).await;
    }
    anyhow::bail!("what the lasting session publishes does not arrive")
}

/// A few calls, every other by timestamp.
async fn publish(
    stage: &Stage,
    client: &AsyncClient,
    own: &mut Vec<Own>,
    runs: nowd_protocol::Uuid,
) -> anyhow::Result<()> {
    for budget in [300, 600, 1_500] {
        for incarnation in [None, Some(runs)] {
            let call = Own::new(stage.caller.number(), ("checked", "now"), budget, incarnation);
            client.publish(call.topic.as_str(), QoS::AtLeastOnce, false, call.bytes()).await?;
            own.push(call);
        }
    }
    Ok(())
}

fn no_properties() -> ConnectProperties {
    ConnectProperties::new()
}
