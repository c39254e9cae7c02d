//! A TCP proxy on loopback that does to a connection what networks do: cuts it, holds its bytes, delays, throttles.
//!
//! It never changes, drops or reorders bytes of a connection that lives. What it keeps is bounded: beyond that it stops
//! reading, as a network would.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How many bytes are read at once.
const PIECE: usize = 16 * 1024;
/// How many pieces of one direction may be under way; with [`PIECE`]: 4 MiB.
const UNDER_WAY: usize = 256;
/// A throttled direction writes this often.
const THROTTLE_STEP: Duration = Duration::from_millis(20);

/// Which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From whoever connects to the proxy, to the server behind it.
    Up,
    /// From the server to whoever connected.
    Down,
    /// Either.
    Both,
}

/// What becomes of the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Pass,
    Hold,
    Delay(Duration),
    Throttle(u32),
}

#[derive(Debug, Clone, Copy)]
struct State {
    up: Flow,
    down: Flow,
    refuse: bool,
    /// Raised by each cut: connections of an earlier epoch end.
    epoch: u64,
    /// Raised by each abandoning: connections of an earlier age go silent.
    age: u64,
}

impl State {
    /// What becomes of the bytes of a connection that was made when the state was `born`.
    fn flow(&self, born: Self, flow: Flow) -> Flow {
        if born.age == self.age { flow } else { Flow::Hold }
    }
}

/// A proxy before one loopback port. Ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    open: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// A proxy before 127.0.0.1:`to`, which passes everything. Needs a tokio runtime.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let state = State { up: Flow::Pass, down: Flow::Pass, refuse: false, epoch: 0, age: 0 };
        let (state, watched) = watch::channel(state);
        let open = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, (Ipv4Addr::LOCALHOST, to).into(), watched, Arc::clone(&open)));
        Self { port, state, open, _tasks: tasks }
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How many connections it carries.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Ends [`Self::hold`], [`Self::delay`], [`Self::throttle`] and [`Self::refuse`]: what was kept is delivered at once,
    /// and in order.
    pub fn pass(&self) {
        self.state.send_modify(|state| {
            (state.up, state.down, state.refuse) = (Flow::Pass, Flow::Pass, false);
        });
    }

    /// Forwards nothing and keeps it, until [`Self::pass`].
    pub fn hold(&self, way: Way) {
        self.set(way, Flow::Hold);
    }

    /// Forwards each byte this much later than it came.
    pub fn delay(&self, way: Way, by: Duration) {
        self.set(way, Flow::Delay(by));
    }

    /// Forwards no more than this many bytes a second, at least 50.
    pub fn throttle(&self, way: Way, bytes_per_second: u32) {
        self.set(way, Flow::Throttle(bytes_per_second));
    }

    /// Forwards nothing any more on the connections that there are, and does not end them, as a box on the way that has
    /// forgotten them. New ones are welcome.
    pub fn abandon(&self) {
        self.state.send_modify(|state| state.age += 1);
    }

    /// Ends all connections; what was kept of them is lost. New ones are welcome.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.epoch += 1);
    }

    /// Ends all connections, and new ones at once, until [`Self::pass`].
    pub fn refuse(&self) {
        self.state.send_modify(|state| {
            state.refuse = true;
            state.epoch += 1;
        });
    }

    fn set(&self, way: Way, flow: Flow) {
        self.state.send_modify(|state| {
            if way != Way::Down {
                state.up = flow;
            }
            if way != Way::Up {
                state.down = flow;
            }
        });
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    state: watch::Receiver<State>,
    open: Arc<AtomicUsize>,
) {
    let mut lines = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = lines.join_next() => {}
            accepted = listener.accept() => {
                // A connection that went away before it was accepted is nobody's concern.
                let Ok((near, _)) = accepted else { continue };
                if state.borrow().refuse {
                    continue;
                }
                let (state, open) = (state.clone(), Arc::clone(&open));
                let born = *state.borrow();
                lines.spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    carry(near, to, state, born).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    }
}

/// Carries one connection until either end closes it, or it is cut.
async fn carry(near: TcpStream, to: SocketAddr, state: watch::Receiver<State>, born: State) {
    let mut cut = state.clone();
    let lines = async {
        let far = TcpStream::connect(to).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        tokio::select! {
            ended = pump(near_in, far_out, state.clone(), |now| now.flow(born, now.up)) => ended,
            ended = pump(far_in, near_out, state, |now| now.flow(born, now.down)) => ended,
        }
    };
    tokio::select! {
        // How a connection ends is what its two ends make of it.
        ended = lines => drop::<std::io::Result<()>>(ended),
        ended = cut.wait_for(|state| state.epoch != born.epoch) => drop(ended),
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    flow: impl Fn(&State) -> Flow,
) -> std::io::Result<()> {
    let (pieces, mut kept) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let take = async {
        let mut buffer = vec![0; PIECE];
        loop {
            let len = from.read(&mut buffer).await?;
            let bytes = buffer.get(..len).unwrap_or_default().to_vec();
            // Nothing read is the end; it comes after all that was kept.
            if pieces.send((Instant::now(), bytes)).await.is_err() || len == 0 {
                return std::future::pending().await;
            }
        }
    };
    let give = async {
        while let Some((came, bytes)) = kept.recv().await {
            let mut rest = bytes.as_slice();
            if rest.is_empty() {
                return Ok(());
            }
            while !rest.is_empty() {
                let most = allowed(&mut state, &flow, came).await.min(rest.len());
                let (now, later) = rest.split_at(most);
                to.write_all(now).await?;
                rest = later;
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = take => ended,
        ended = give => ended,
    }
}

/// Waits until something may be written of what came at `came`, and says how much.
async fn allowed(state: &mut watch::Receiver<State>, flow: impl Fn(&State) -> Flow, came: Instant) -> usize {
    loop {
        let now = flow(&state.borrow_and_update());
        let wait = async {
            match now {
                Flow::Pass => usize::MAX,
                Flow::Hold => std::future::pending().await,
                Flow::Delay(by) => {
                    sleep_until(came + by).await;
                    usize::MAX
                }
                Flow::Throttle(bytes_per_second) => {
                    sleep(THROTTLE_STEP).await;
                    usize::try_from(bytes_per_second / 50).unwrap_or(usize::MAX).max(1)
                }
            }
        };
        tokio::select! {
            most = wait => return most,
            changed = state.changed() => {
                if changed.is_err() {
                    // The proxy is being dropped, and this with it.
                    return std::future::pending().await;
                }
            }
        }
    }
}
