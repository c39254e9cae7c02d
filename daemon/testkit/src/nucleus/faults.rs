//! What a test lets the stand-in do wrong, and when it is there at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use tokio::sync::oneshot;

use super::state::Out;
use super::{Command, Fault, Nucleus, frame};

impl Nucleus {
    /// Refuses an operation from now on, such as `UpdateState` with `UnauthorizedError`.
    pub fn refuse(&self, operation: &str, code: &str, message: &str) {
        self.state().refused.insert(operation.to_owned(), (code.to_owned(), message.to_owned()));
    }

    /// Takes that back.
    pub fn allow(&self, operation: &str) {
        self.state().refused.remove(operation);
    }

    /// One of the next answers to an operation goes wrong, in the order of these calls; `Connect` is an operation here.
    pub fn fault(&self, operation: &str, fault: Fault) {
        self.state().faults.entry(operation.to_owned()).or_default().push_back(fault);
    }

    /// Whatever is sent is sent so much later.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Sends nothing, to nobody, until [`Self::release`].
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Sends everything that was held.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Forgets all subscriptions without a word, as lite does when its MQTT daemon restarts.
    pub fn lose_subscriptions(&self) {
        for session in self.state().sessions.values_mut() {
            session.subscriptions.clear();
        }
    }

    /// AWS takes so long to end the subscriptions of a connection that has ended; one to the same topics that is made meanwhile is
    /// granted and ends with them, as the classic nucleus does it.
    pub fn set_taking_back(&self, bound: Duration) {
        self.state().taking_back = bound;
    }

    /// Ends all subscriptions and says so.
    pub fn end_subscriptions(&self) {
        for session in self.state().sessions.values_mut() {
            for stream in std::mem::take(&mut session.subscriptions).into_keys() {
                session.send(Out::Bytes(frame::frame(0, 2, stream, &[], &[])));
            }
        }
    }

    /// Sends bytes to everybody who is connected, whatever they are.
    pub fn send_raw(&self, bytes: &[u8]) {
        for session in self.state().sessions.values() {
            session.send(Out::Bytes(bytes.to_vec()));
        }
    }

    /// Sends a frame to everybody: type, flags, stream, headers of text, payload.
    pub fn send_frame(&self, kind: i32, flags: i32, stream: i32, texts: &[(&str, &str)], payload: &[u8]) {
        self.send_raw(&frame::frame(kind, flags, stream, texts, payload));
    }

    /// Asks everybody whether they are there.
    pub fn ping(&self) {
        self.send_frame(2, 0, 0, &[], &[]);
    }

    /// Cuts every connection. New ones are welcome.
    pub fn close_all(&self) {
        for session in self.state().sessions.values() {
            session.send(Out::Cut);
        }
    }

    /// Stops: the socket is gone and all connections are cut. Configurations and tokens stay.
    pub fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        self.command(Command::Unlisten(self.socket(), done));
        // From a thread that may drive a runtime: not to be waited for there.
        let waited = std::thread::spawn(move || stopped.blocking_recv().is_ok()).join();
        assert!(waited.unwrap_or(false), "the stand-in for the nucleus does not stop");
    }

    /// Starts again after [`Self::stop`], on the same socket.
    pub fn listen(&self) {
        let socket = self.socket();
        let listener = UnixListener::bind(&socket)
            .unwrap_or_else(|error| panic!("no socket at {}: {error}", socket.display()));
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("it is ours");
        listener.set_nonblocking(true).expect("a listener need not block");
        self.command(Command::Listen(listener));
    }
}
