//! A vehicle with two windows as a D-Bus service, on any bus. Knows nothing of nowd.
//!
//! The objects `/com/example/vehicle/window/left` and `.../right` have the interface `com.example.Window1`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use zbus::connection::Builder;
use zbus::names::WellKnownName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, DBusError, interface};

/// The path of the left window.
pub const LEFT: &str = "/com/example/vehicle/window/left";
/// The path of the right window.
pub const RIGHT: &str = "/com/example/vehicle/window/right";

/// How far a window gets in one `pace`, in percent.
const STEP: u32 = 10;
/// How many commands may wait for a window's motor; it takes them at once.
const MOST_COMMANDS: usize = 16;

/// A running vehicle. Dropping it stops the windows where they are; it leaves the bus with the last clone of its
/// connection.
#[derive(Debug)]
pub struct Vehicle {
    connection: Connection,
    _motors: JoinSet<()>,
}

/// What the vehicle answers instead of moving. The names on the bus start with `com.example.Error.`.
#[derive(Debug, DBusError)]
#[zbus(prefix = "com.example.Error")]
pub enum VehicleError {
    /// The bus failed.
    #[zbus(error)]
    Bus(zbus::Error),
    /// The child lock is on: nothing was moved.
    Interlock(String),
    /// The position is not 0 to 100: nothing was moved.
    OutOfRange(String),
    /// `Halt` or another move came before the window arrived.
    Interrupted(String),
}

/// Connects to the bus at `address` and serves there under `name`.
///
/// `pace` is how long a window takes for 10 percent, for example 10 ms.
pub async fn serve(address: &str, name: &str, pace: Duration) -> zbus::Result<Vehicle> {
    serve_on(Builder::address(address).build().await?, name, pace).await
}

/// Serves under `name` on a connection that is already there.
pub async fn serve_on(connection: Connection, name: &str, pace: Duration) -> zbus::Result<Vehicle> {
    let name = WellKnownName::try_from(name)?;
    let locked = Arc::new(AtomicBool::new(false));
    let mut motors = JoinSet::new();
    for path in [LEFT, RIGHT] {
        let (commands, inbox) = mpsc::channel(MOST_COMMANDS);
        let percent = Arc::new(AtomicU32::new(0));
        let window = Window { percent: Arc::clone(&percent), locked: Arc::clone(&locked), commands };
        connection.object_server().at(path, window).await?;
        let emitter = SignalEmitter::new(&connection, path)?.into_owned();
        motors.spawn(Motor { percent, pace, emitter }.run(inbox));
    }
    connection.request_name(name).await?;
    Ok(Vehicle { connection, _motors: motors })
}

impl Vehicle {
    /// The connection it serves on.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

struct Window {
    percent: Arc<AtomicU32>,
    /// One lock for the whole vehicle.
    locked: Arc<AtomicBool>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Move { to: u32, then: Then },
    Halt,
}

/// What is done when the window has arrived.
#[derive(Debug)]
enum Then {
    Signal { call_id: String },
    Answer(oneshot::Sender<u32>),
}

#[interface(name = "com.example.Window1")]
impl Window {
    /// Starts a move and returns; `Moved` tells its end.
    async fn move_to(&self, percent: u32, call_id: String) -> Result<(), VehicleError> {
        self.start(percent, Then::Signal { call_id }).await
    }

    /// Moves, and returns when the window has arrived.
    async fn set(&self, percent: u32) -> Result<u32, VehicleError> {
        let (arrived, answer) = oneshot::channel();
        self.start(percent, Then::Answer(arrived)).await?;
        answer.await.map_err(|_| VehicleError::Interrupted("the window was stopped on its way".into()))
    }

    /// Stops where the window is.
    async fn halt(&self) -> Result<(), VehicleError> {
        self.command(Command::Halt).await
    }

    /// Locks or unlocks all windows of the vehicle; a move that has begun goes on.
    fn set_child_lock(&self, on: bool) {
        self.locked.store(on, Ordering::SeqCst);
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn child_lock(&self) -> bool {
        self.locked.load(Ordering::SeqCst)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn percent(&self) -> u32 {
        self.percent.load(Ordering::SeqCst)
    }

    #[zbus(signal)]
    async fn moved(emitter: &SignalEmitter<'_>, call_id: &str, percent: u32) -> zbus::Result<()>;
}

impl Window {
    async fn start(&self, to: u32, then: Then) -> Result<(), VehicleError> {
        if to > 100 {
            return Err(VehicleError::OutOfRange(format!("{to} percent is more than 100")));
        }
        if self.locked.load(Ordering::SeqCst) {
            return Err(VehicleError::Interlock("the child lock is on".into()));
        }
        self.command(Command::Move { to, then }).await
    }

    async fn command(&self, command: Command) -> Result<(), VehicleError> {
        let stopped = |_| VehicleError::Interrupted("the vehicle is switched off".into());
        self.commands.send(command).await.map_err(stopped)
    }
}

struct Motor {
    percent: Arc<AtomicU32>,
    pace: Duration,
    emitter: SignalEmitter<'static>,
}

impl Motor {
    async fn run(self, mut inbox: mpsc::Receiver<Command>) {
        let mut moving: Option<(u32, Then)> = None;
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Move { to, then }) => moving = Some((to, then)),
                    Some(Command::Halt) => moving = None,
                    None => return,
                },
                () = sleep(self.pace), if moving.is_some() => {
                    let at = self.percent.load(Ordering::SeqCst);
                    if let Some((to, then)) = moving.take() {
                        let next = to.clamp(at.saturating_sub(STEP), at.saturating_add(STEP));
                        self.percent.store(next, Ordering::SeqCst);
                        if next == to {
                            self.arrived(to, then).await;
                        } else {
                            moving = Some((to, then));
                        }
                    }
                }
            }
        }
    }

    async fn arrived(&self, percent: u32, then: Then) {
        match then {
            Then::Signal { call_id } => {
                if let Err(e) = Window::moved(&self.emitter, &call_id, percent).await {
                    tracing::debug!(error = %e, "the simulated vehicle could not tell that a window has moved");
                }
            }
            Then::Answer(arrived) => {
                arrived.send(percent).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests;
