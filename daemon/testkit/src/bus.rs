//! A private D-Bus: a real dbus-daemon that allows everything to everybody who reaches its socket; messages may be as long
//! as on a session's bus.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, require};
use crate::wait::wait_blocking;

const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A running dbus-daemon. Ends when dropped.
#[derive(Debug)]
pub struct Bus {
    folder: TempDir,
    process: Option<Process>,
}

impl Bus {
    /// A bus of one's own, ready for clients.
    #[must_use]
    pub fn start() -> Self {
        require("dbus-daemon");
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let mut bus = Self { folder, process: None };
        let config = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig>\n\
             <type>session</type>\n\
             <listen>{}</listen>\n\
             <auth>EXTERNAL</auth>\n\
             <limit name=\"max_message_size\">1000000000</limit>\n\
             <policy context=\"default\">\n\
             <allow send_destination=\"*\" eavesdrop=\"true\"/>\n\
             <allow eavesdrop=\"true\"/>\n\
             <allow own=\"*\"/>\n\
             </policy>\n\
             </busconfig>\n",
            bus.address()
        );
        fs::write(bus.config(), config).expect("a temporary file can be written");
        bus.launch();
        bus
    }

    /// Its address, for `DBUS_SESSION_BUS_ADDRESS` and the like. The same after a restart.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    /// Kills it: all its connections break.
    pub fn stop(&mut self) {
        self.process = None;
        if let Err(error) = fs::remove_file(self.socket()) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "the old socket can be removed");
        }
    }

    /// Kills it if it runs, and starts it at the same address.
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// Freezes it: connections stay, nothing is answered.
    pub fn pause(&self) {
        self.running().pause();
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self) {
        self.running().resume();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("dbus-daemon does not run"))
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("bus.conf")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("bus")
    }

    fn launch(&mut self) {
        let config = format!("--config-file={}", self.config().display());
        let process = Process::spawn("dbus-daemon", &["--nofork", "--nopidfile", &config], &[]);
        let socket = self.socket();
        let ready = wait_blocking(STARTS_WITHIN, || UnixStream::connect(&socket).is_ok());
        assert!(ready, "dbus-daemon does not start; its output:\n{}", process.lines().join("\n"));
        self.process = Some(process);
    }
}
