//! A slow line to the broker: every byte takes its time, either way.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use nowd_plugin::{BootInstant, CancellationToken};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a byte is under way.
pub(crate) const DELAY: Duration = Duration::from_millis(50);

/// How many pieces may be under way.
const UNDER_WAY: usize = 256;

/// Starts a line to `broker` and says where it begins.
pub(crate) async fn start(
    broker: SocketAddr,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the slow line")?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        let mut lines = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(_) = lines.join_next() => {}
                accepted = listener.accept() => {
                    let (near, _) = accepted?;
                    lines.spawn(async move { carry(near, broker).await });
                }
            }
        }
    });
    Ok(address)
}

async fn carry(near: TcpStream, broker: SocketAddr) -> std::io::Result<()> {
    let far = TcpStream::connect(broker).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        ended = delay(near_in, far_out) => ended,
        ended = delay(far_in, near_out) => ended,
    }
}

async fn delay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(BootInstant, Vec<u8>)>(UNDER_WAY);
    let take = async {
        let mut piece = vec![0; 4_096];
        loop {
            let len = from.read(&mut piece).await?;
            let due = BootInstant::now().saturating_add(DELAY);
            let bytes = piece.get(..len).unwrap_or_default().to_vec();
            if len == 0 || sender.send((due, bytes)).await.is_err() {
                return Ok(());
            }
        }
    };
    let give = async {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep(due.saturating_since(BootInstant::now())).await;
            to.write_all(&bytes).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = take => ended,
        ended = give => ended,
    }
}
