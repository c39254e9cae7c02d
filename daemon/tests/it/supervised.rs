//! What the service manager is told, by a stand-in that listens at `NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nowd::{ClockTrust, ConfigSource, Gateway, ServiceManager, Setup, WallClock};
use nowd_plugin::{BoxFuture, Call, CallError, CancellationToken, Completion, Method, Plugin, Pulse};
use nowd_testkit::{Process, wait_for, within};
use tempfile::TempDir;

use crate::bed::{Bed, PATIENCE, nowd};

/// The watchdog's time in these tests: the gateway says that it lives four times as often.
const WATCHDOG: Duration = Duration::from_secs(2);

/// Somebody who was asked to be told.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
    told: Vec<String>,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, folder, told: Vec::new() }
    }

    fn address(&self) -> String {
        self.folder.path().join("notify").to_str().unwrap().to_owned()
    }

    /// All that was told so far, one entry a message, without signs of life.
    fn told(&mut self) -> &[String] {
        self.listen();
        &self.told
    }

    /// How often it was told since the last question that the gateway lives.
    fn listen(&mut self) -> usize {
        let mut alive = 0;
        let mut text = [0; 1_024];
        while let Ok(len) = self.socket.recv(&mut text) {
            match String::from_utf8_lossy(text.get(..len).unwrap()).into_owned() {
                sign if sign == "WATCHDOG=1" => alive += 1,
                other => self.told.push(other),
            }
        }
        alive
    }

    async fn hears(&mut self, text: &str) {
        wait_for(PATIENCE, text, || self.told().iter().any(|told| told.contains(text))).await;
    }

    async fn hears_signs_of_life(&mut self, count: usize) {
        let mut heard = 0;
        wait_for(PATIENCE, "signs of life", || {
            heard += self.listen();
            heard >= count
        })
        .await;
    }

    /// Until the watchdog would bark.
    async fn hears_no_sign_of_life(&mut self) {
        within(PATIENCE, "no sign of life", async {
            self.listen();
            loop {
                tokio::time::sleep(WATCHDOG).await;
                if self.listen() == 0 {
                    return;
                }
            }
        })
        .await;
    }
}

fn supervised(bed: &Bed, manager: &Manager) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nowd"));
    command.args(["run", "--config", bed.config().to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", manager.address());
    command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    Process::start(command)
}

#[tokio::test]
async fn it_is_ready_without_its_broker_and_says_how_it_is() {
    let mut bed = Bed::new().await;
    let mut manager = Manager::new();
    bed.broker.stop();
    let mut gateway = supervised(&bed, &manager);
    manager.hears("READY=1").await;
    assert!(manager.told()[0].starts_with("READY=1\nSTATUS="), "{:?}", manager.told);
    manager.hears("STATUS=the link is down: ").await;
    manager.hears_signs_of_life(3).await;
    bed.broker.restart();
    manager.hears("STATUS=the link to localhost:").await;
    let up = manager.told().last().unwrap().clone();
    assert!(up.contains(" is up since 2"), "{up}");

    let shell = |words: &[&str]| nowd(&[words, &["--config", bed.config().to_str().unwrap()]].concat());
    assert!(shell(&["lock", "--reason", "the belt is open"]).exit(PATIENCE).await.success());
    manager.hears("STATUS=locked out: the belt is open; the link to ").await;
    assert!(shell(&["unlock"]).exit(PATIENCE).await.success());
    wait_for(PATIENCE, "no lockout", || manager.told().last() == Some(&up)).await;

    let known = manager.told().len();
    gateway.terminate();
    assert!(gateway.exit(PATIENCE).await.success());
    assert!(manager.told()[known].starts_with("STOPPING=1\n"), "{:?}", manager.told);
    assert_eq!(manager.told().len(), known + 1, "{:?}", manager.told);
}

#[tokio::test]
async fn a_reload_begins_and_ends_whether_it_is_right_or_wrong() {
    let bed = Bed::new().await;
    let mut manager = Manager::new();
    let gateway = supervised(&bed, &manager);
    manager.hears("up since").await;
    let known = manager.told().len();
    gateway.hang_up();
    wait_for(PATIENCE, "two messages", || manager.told().len() >= known + 2).await;
    let map = bed.folder.path().join("methods.d/echo.toml");
    std::fs::write(&map, "[simulator]\nnonsense = 1\n").unwrap();
    gateway.hang_up();
    wait_for(PATIENCE, "two more", || manager.told().len() >= known + 4).await;
    gateway.wait_for_line(PATIENCE, "is rejected").await;
    let told = &manager.told()[known..];
    for pair in told.chunks(2) {
        assert!(pair[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told:?}");
        assert_eq!(pair[1], "READY=1", "{told:?}");
    }
    manager.hears_signs_of_life(3).await;
}

#[tokio::test]
async fn what_is_wrong_is_never_ready_and_what_is_frozen_does_not_live() {
    let bed = Bed::new().await;
    let mut manager = Manager::new();
    let map = bed.folder.path().join("methods.d/echo.toml");
    let right = std::fs::read_to_string(&map).unwrap();
    std::fs::write(&map, "[simulator]\nnonsense = 1\n").unwrap();
    let mut gateway = supervised(&bed, &manager);
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(78));
    assert_eq!(manager.told(), [""; 0]);
    std::fs::write(&map, right).unwrap();

    let gateway = supervised(&bed, &manager);
    manager.hears("READY=1").await;
    manager.hears_signs_of_life(2).await;
    gateway.pause();
    manager.hears_no_sign_of_life().await;
    gateway.resume();
    manager.hears_signs_of_life(2).await;
}

/// A plugin whose background work does what the test says.
#[derive(Debug)]
struct Faulty {
    pulse: Arc<Pulse>,
    /// Its loop waits where it may not.
    is_wedged: AtomicBool,
    /// It takes the gateway's thread and does not give it back for so long.
    blocks: AtomicBool,
}

impl Plugin for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn methods(&self) -> Vec<Method> {
        Vec::new()
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let pause = Duration::from_millis(20);
            while !stop.is_cancelled() {
                while self.is_wedged.load(Ordering::Relaxed) && !stop.is_cancelled() {
                    tokio::time::sleep(pause).await;
                }
                if self.blocks.swap(false, Ordering::Relaxed) {
                    std::thread::sleep(WATCHDOG * 2);
                }
                // As if for something that may never come.
                tokio::select! {
                    () = self.pulse.idle(tokio::time::sleep(pause)) => {}
                    () = stop.cancelled() => {}
                }
            }
        })
    }

    fn invoke<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async { Completion::Unavailable(CallError::new("none", "it has no method")) })
    }

    fn pulses(&self) -> Vec<Arc<Pulse>> {
        vec![Arc::clone(&self.pulse)]
    }
}

/// A gateway on a thread of its own, as a process has it.
fn gateway_with(
    bed: &Bed,
    plugin: &Arc<Faulty>,
    manager: &Manager,
    stop: &CancellationToken,
) -> std::thread::JoinHandle<()> {
    let source = ConfigSource {
        file: bed.config(),
        required: true,
        environment: Vec::new(),
        set: Vec::new(),
        deployment: nowd::Deployment::None,
    };
    let files = source.load().unwrap();
    let plugin: Arc<dyn Plugin> = Arc::<Faulty>::clone(plugin);
    let manager = ServiceManager::new(manager.address().as_ref(), Some(WATCHDOG)).unwrap();
    let stop = stop.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let clock = WallClock::of_this_machine(ClockTrust::Untrusted);
            let setup = Setup::new(&files, vec![plugin], clock).unwrap();
            Gateway::new(setup).unwrap().supervised(Some(manager)).run(stop).await;
        });
    })
}

#[tokio::test]
async fn one_part_that_stands_still_ends_the_signs_of_life() {
    let bed = Bed::new().await;
    let mut manager = Manager::new();
    let plugin = Arc::new(Faulty {
        pulse: Arc::new(Pulse::new("the loop of a faulty plugin".into(), Duration::ZERO)),
        is_wedged: AtomicBool::new(true),
        blocks: AtomicBool::new(false),
    });
    let stop = CancellationToken::new();
    let gateway = gateway_with(&bed, &plugin, &manager, &stop);
    // It has not begun yet, and so the gateway is not ready.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(manager.told(), [""; 0]);
    plugin.is_wedged.store(false, Ordering::Relaxed);
    manager.hears("READY=1").await;
    manager.hears_signs_of_life(3).await;

    plugin.is_wedged.store(true, Ordering::Relaxed);
    manager.hears_no_sign_of_life().await;
    plugin.is_wedged.store(false, Ordering::Relaxed);
    manager.hears_signs_of_life(3).await;

    // The thread of the calls is held by somebody: the loop, the core and the link stand still with it.
    plugin.blocks.store(true, Ordering::Relaxed);
    manager.hears_no_sign_of_life().await;
    manager.hears_signs_of_life(3).await;
    stop.cancel();
    tokio::task::spawn_blocking(|| gateway.join().unwrap()).await.unwrap();
    manager.hears("STOPPING=1").await;
}
