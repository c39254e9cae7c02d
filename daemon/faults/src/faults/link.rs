//! Networks: a link that is cut, refused, slow, or that holds its bytes longer than any deadline and then delivers them
//! all at once; between daemon and broker, and between cloud side and broker.

use std::time::Duration;

use nowd_testkit::{Proxy, Way};

use super::Fault;
use crate::stage::Stage;

pub(super) const FAULTS: &[Fault] = &[
    Fault::new("daemon-link-cut", "the daemon's connection is cut", |s| Box::pin(cut(s, daemon))),
    Fault::new("daemon-link-refused", "the daemon's connection is cut, and new ones for a while", |s| {
        Box::pin(refused(s, daemon))
    }),
    Fault::new("requests-held-at-daemon", "requests reach the daemon late and all at once", |s| {
        Box::pin(held(s, daemon, Way::Down))
    }),
    Fault::new("answers-held-at-daemon", "the daemon's answers leave late and all at once", |s| {
        Box::pin(held(s, daemon, Way::Up))
    }),
    Fault::new("cloud-link-cut", "the cloud side's connection is cut", |s| Box::pin(cut(s, cloud))),
    Fault::new("cloud-link-refused", "the cloud side's connection is cut, and new ones for a while", |s| {
        Box::pin(refused(s, cloud))
    }),
    Fault::new("requests-held-at-cloud", "requests leave the cloud side late and all at once", |s| {
        Box::pin(held(s, cloud, Way::Up))
    }),
    Fault::new("answers-held-at-cloud", "answers reach the cloud side late and all at once", |s| {
        Box::pin(held(s, cloud, Way::Down))
    }),
    Fault::new("links-delayed", "everything takes 80 ms, on each of the two links and either way", |s| {
        Box::pin(delayed(s))
    }),
    Fault::new("links-throttled", "the daemon's link carries 8 kB a second either way", |s| {
        Box::pin(throttled(s))
    }),
];

/// Longer than most budgets of the load.
const HOLD: u64 = 800;
/// In between.
const PAUSE: u64 = 300;
/// After a link was lost that often its pauses are long, and there is nothing new to see.
const MOST_CUTS: usize = 4;

fn daemon(stage: &Stage) -> &Proxy {
    &stage.bed.daemon_link
}

fn cloud(stage: &Stage) -> &Proxy {
    &stage.bed.cloud_link
}

async fn cut(stage: &mut Stage, link: fn(&Stage) -> &Proxy) -> anyhow::Result<()> {
    stage.at_most(MOST_CUTS);
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        link(stage).cut();
        stage.wait(PAUSE).await;
        stage.mended();
    }
    Ok(())
}

async fn refused(stage: &mut Stage, link: fn(&Stage) -> &Proxy) -> anyhow::Result<()> {
    stage.at_most(MOST_CUTS);
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        link(stage).refuse();
        stage.wait(HOLD).await;
        link(stage).pass();
        stage.mended();
    }
    Ok(())
}

async fn held(stage: &mut Stage, link: fn(&Stage) -> &Proxy, way: Way) -> anyhow::Result<()> {
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        link(stage).hold(way);
        stage.wait(stage.length()).await;
        link(stage).pass();
        stage.mended();
    }
    Ok(())
}

async fn delayed(stage: &mut Stage) -> anyhow::Result<()> {
    let by = Duration::from_millis(80);
    while stage.goes_on() {
        stage.strike();
        stage.bed.daemon_link.delay(Way::Both, by);
        stage.bed.cloud_link.delay(Way::Both, by);
        stage.wait(HOLD).await;
        stage.bed.daemon_link.pass();
        stage.bed.cloud_link.pass();
        stage.mended();
        stage.wait(PAUSE).await;
    }
    Ok(())
}

async fn throttled(stage: &mut Stage) -> anyhow::Result<()> {
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        stage.bed.daemon_link.throttle(Way::Both, 8_000);
        stage.wait(HOLD).await;
        stage.bed.daemon_link.pass();
        stage.mended();
    }
    Ok(())
}
