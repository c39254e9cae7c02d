//! Hands a stream of ours to rumqttc, which wants to connect by itself.
//!
//! rumqttc's own TLS drags in outdated crates, and it sets no socket options. So it is told to connect to a Unix socket
//! with a random abstract name, and a task copies bytes between that and the real stream. Only this very process
//! is let in. The listener is gone as soon as rumqttc is connected.

use std::io;

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::dial::Stream;

/// A socket that waits for rumqttc.
#[derive(Debug)]
pub(crate) struct Bridge {
    listener: UnixListener,
    name: String,
}

impl Bridge {
    /// Opens the socket.
    pub(crate) fn new() -> io::Result<Self> {
        // A leading NUL makes the name abstract: nothing appears in the file system, nothing is left behind.
        let name = format!("\0nowd-link-{}", Uuid::new_v4());
        Ok(Self { listener: UnixListener::bind(&name)?, name })
    }

    /// What rumqttc is to connect to.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Lets rumqttc in, and copies until both sides have ended or one has failed.
    ///
    /// The end is told *before* rumqttc's side is closed, so that whoever sees that side close can ask for the reason.
    pub(crate) async fn run(self, mut stream: Box<dyn Stream>, end: oneshot::Sender<io::Result<()>>) {
        let mut local = match accept(&self.listener).await {
            Ok(local) => local,
            Err(error) => return tell(end, Err(error)),
        };
        drop(self.listener);
        let copied = copy_bidirectional(&mut local, &mut stream).await;
        tell(end, copied.map(|_| ()));
        drop(local);
    }
}

/// Takes the connection that this process made: the name is random but can be seen in `/proc/net/unix`.
async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    let own = i32::try_from(std::process::id()).ok();
    loop {
        let (local, _) = listener.accept().await?;
        if local.peer_cred()?.pid() == own && own.is_some() {
            return Ok(local);
        }
        tracing::warn!(
            see = "link-intruder",
            "another process connected to the link's own socket; it was turned away"
        );
    }
}

fn tell(end: oneshot::Sender<io::Result<()>>, result: io::Result<()>) {
    if end.send(result).is_err() {
        tracing::trace!("nobody asks any more why the bridge has ended");
    }
}
