//! The socket, its connections, and the tasks of deployments.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::frame::{self, frame};
use super::operations::{answer, faulty};
use super::state::{LITE_FRAME, Out, QUEUE, Session};
use super::{Command, Shared, Style, bridge, deployment, locked};

/// What the classic nucleus takes, in bytes; its library allows 16 MiB.
const CLASSIC_FRAME: usize = 16 << 20;

/// Serves until the handle says stop.
pub(super) async fn serve(shared: Arc<Shared>, mut commands: mpsc::Receiver<Command>, broker: Option<u16>) {
    let mut others = JoinSet::new();
    if let Some(port) = broker {
        let (bridge, queued) = mpsc::channel(QUEUE);
        locked(&shared.state).bridge = Some(bridge);
        others.spawn(bridge::run(Arc::clone(&shared), port, queued));
    }
    let mut listening = JoinSet::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(listener) => {
                let listener =
                    tokio::net::UnixListener::from_std(listener).expect("a listener fits the runtime");
                listening.spawn(accept(Arc::clone(&shared), listener));
            }
            Command::Unlisten(path, done) => {
                drop(std::fs::remove_file::<PathBuf>(path));
                // With it all connections, which are tasks of its own.
                listening.shutdown().await;
                locked(&shared.state).sessions.clear();
                // Who waited may have given up.
                done.send(()).ok();
            }
            Command::Deploy(deployment) => {
                others.spawn(deployment::run(Arc::clone(&shared), deployment));
            }
            Command::Stop => return,
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: tokio::net::UnixListener) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                if let Err(panicked) = ended {
                    std::panic::resume_unwind(panicked.into_panic());
                }
                continue;
            }
        };
        if let Ok((stream, _)) = accepted {
            connections.spawn(connection(Arc::clone(&shared), stream));
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: UnixStream) {
    let (mut read, write) = stream.into_split();
    let (out, queued) = mpsc::channel(QUEUE);
    let Some(session) = connect(&shared, &mut read, write, &out, queued).await else { return };
    let (number, mut writer) = session;
    tokio::select! {
        () = calls(&shared, number, &mut read, &out) => {}
        _ = writer.join_next() => {}
    }
    locked(&shared.state).end(number);
}

/// The first frame. A stranger is told so by the classic nucleus, and lite just closes.
async fn connect(
    shared: &Arc<Shared>,
    read: &mut OwnedReadHalf,
    mut write: OwnedWriteHalf,
    out: &mpsc::Sender<Out>,
    queued: mpsc::Receiver<Out>,
) -> Option<(u64, JoinSet<()>)> {
    let first = match frame::read(read, CLASSIC_FRAME).await {
        Ok(first) => first,
        Err(why) => {
            complain(shared, &format!("at connect: {why}"));
            return None;
        }
    };
    let (refused, number) = {
        let mut state = locked(&shared.state);
        let payload: Value = serde_json::from_slice(&first.payload).unwrap_or_default();
        let owner = payload.get("authToken").and_then(Value::as_str).and_then(|token| state.owner(token));
        let formal = first.int(":message-type") == Some(4)
            && first.int(":stream-id") == Some(0)
            && first.int(":message-flags") == Some(0)
            && first.text(":version") == Some("0.1.0");
        if !formal {
            state.mistakes.push(format!("no connect: {:?}", first.headers));
        }
        let fault = state.faults.get_mut("Connect").and_then(std::collections::VecDeque::pop_front);
        let accepted = owner.filter(|_| formal);
        let flags = i32::from(accepted.is_some());
        let outs = faulty(fault, frame(5, flags, 0, &[], &[]));
        if let Some(component) = accepted {
            state.ever += 1;
            let number = state.ever;
            for one in outs {
                drop(out.try_send(one));
            }
            let session = Session {
                component,
                out: out.clone(),
                last: 0,
                subscriptions: std::collections::BTreeMap::new(),
                filters: Vec::new(),
            };
            state.sessions.insert(number, session);
            (None, number)
        } else {
            state.strangers += 1;
            (Some((state.style, outs)), 0)
        }
    };
    if let Some((style, outs)) = refused {
        if style == Style::Classic {
            for one in outs {
                if let Out::Bytes(bytes) = one {
                    drop(write.write_all(&bytes).await);
                }
            }
        }
        return None;
    }
    let mut writer = JoinSet::new();
    writer.spawn(write_out(Arc::clone(shared), write, queued));
    Some((number, writer))
}

async fn write_out(shared: Arc<Shared>, mut write: OwnedWriteHalf, mut queued: mpsc::Receiver<Out>) {
    while let Some(out) = queued.recv().await {
        let delay = locked(&shared.state).delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if shared.held.subscribe().wait_for(|held| !held).await.is_err() {
            return;
        }
        match out {
            Out::Bytes(bytes) => {
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Out::Cut => return,
        }
    }
}

async fn calls(shared: &Arc<Shared>, number: u64, read: &mut OwnedReadHalf, out: &mpsc::Sender<Out>) {
    loop {
        let call = match frame::read(read, CLASSIC_FRAME).await {
            Ok(call) => call,
            Err("closed") => return,
            Err(why) => return complain(shared, why),
        };
        let outs = {
            let mut state = locked(&shared.state);
            if state.style == Style::Lite && call.length > LITE_FRAME + 12 {
                // It has no room for it, and no words.
                return;
            }
            match call.int(":message-type") {
                Some(0) if call.int(":stream-id").is_some_and(|stream| stream > 0) => {
                    answer(&mut state, number, &call)
                }
                Some(3) => {
                    *state.calls.entry("PingResponse".to_owned()).or_default() += 1;
                    Vec::new()
                }
                _ => {
                    state.mistakes.push(format!("no call: {:?}", call.headers));
                    return;
                }
            }
        };
        for one in outs {
            if out.send(one).await.is_err() {
                return;
            }
        }
    }
}

fn complain(shared: &Shared, what: &str) {
    locked(&shared.state).mistakes.push(what.to_owned());
}
