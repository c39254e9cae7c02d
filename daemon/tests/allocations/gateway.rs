//! A whole gateway with TLS link and bus: everything on the thread that calls pass through, from bytes read to bytes written.

use std::fs;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nowd::{ClockTrust, ConfigSource, Deployment, Gateway, Setup, WallClock};
use nowd_cloud::{CallRequest, Config, Invoker};
use nowd_link::{DatePolicy, Options, Tls, TlsFiles};
use nowd_plugin_simulator::vehicle;
use nowd_protocol::{Level, RawValue};
use nowd_testkit::{Access, Bus, Ca, Identity, Listener, Mosquitto, within};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{CALLS, Taken, median, taken};

const PATIENCE: Duration = Duration::from_secs(60);
const TARGET: &str = "gw-1";

const ECHO: &str = r#"
[simulator]
[methods."echo"]
"#;

const WINDOW: &str = r#"
[dbus]
bus = "@BUS@"
destination = "com.example.Vehicle"
path = "/com/example/vehicle/window/left"
interface = "com.example.Window1"
[methods."window.set"]
call = "Set"
args = ["$percent"]
params.percent = { type = "integer", minimum = 0, maximum = 100 }
"#;

/// What a call of each method may take, with the request and the response that it is measured with. What there is too much of
/// belongs to somebody who did not look; a little is left to the libraries below.
const BOUNDS: [(&str, &str, &str, Taken); 2] = [
    ("echo", r#"{"percent":40}"#, r#"{"percent":40}"#, Taken { allocations: 47, bytes: 5_800 }),
    ("window.set", r#"{"percent":40}"#, "40", Taken { allocations: 92, bytes: 9_800 }),
];

fn configure(folder: &TempDir, ca: &Ca, broker: &Mosquitto, bus: &Bus) -> ConfigSource {
    let path = folder.path();
    let Identity { ca, certificate, key } = ca.client(TARGET);
    let text = format!(
        "target = \"{TARGET}\"\nclock = \"untrusted\"\nstate_dir = \"{}\"\n\
         [link]\nendpoint = \"localhost:{}\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
         [access]\ndefault = [\"cloud*\"]\n[bus]\naddress = \"{}\"\n",
        path.join("state").display(),
        broker.port(),
        ca.display(),
        certificate.display(),
        key.display(),
        bus.address(),
    );
    fs::write(path.join("nowd.toml"), text).unwrap();
    fs::create_dir(path.join("methods.d")).unwrap();
    fs::write(path.join("methods.d/echo.toml"), ECHO).unwrap();
    fs::write(path.join("methods.d/window.toml"), WINDOW.replace("@BUS@", &bus.address())).unwrap();
    ConfigSource {
        file: path.join("nowd.toml"),
        required: true,
        environment: Vec::new(),
        set: Vec::new(),
        deployment: Deployment::None,
    }
}

/// A cloud side.
async fn cloud(ca: &Ca, broker: &Mosquitto, tasks: &mut JoinSet<()>) -> Invoker {
    let Identity { ca, certificate, key } = ca.client("cloud");
    let mut options = Options::new("cloud", "localhost", broker.port());
    let files = TlsFiles { ca: Some(ca), certificate, key };
    options.tls = Some(Arc::new(Tls::load(&files, DatePolicy::Judge).unwrap()));
    let (invoker, background) = Invoker::new(Config::new(options, Level::new("cloud").unwrap())).unwrap();
    tasks.spawn(background.run(CancellationToken::new()));
    within(PATIENCE, "the cloud side's connection", invoker.connected()).await;
    invoker
}

/// Runs a gateway on this thread until told by `stop`. At each of `marks` it notes what the time since the one before has taken.
fn run_and_count(source: &ConfigSource, marks: &Notify, stop: &CancellationToken) -> Vec<Taken> {
    let files = source.load().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let setup = Setup::new(&files, Vec::new(), WallClock::of_this_machine(ClockTrust::Untrusted)).unwrap();
    let mut running = pin!(Gateway::new(setup).unwrap().run(stop.clone()));
    let mut all = Vec::new();
    let mut runs = true;
    while runs {
        all.push(taken(|| {
            runtime.block_on(async {
                tokio::select! {
                    () = &mut running => runs = false,
                    () = marks.notified() => {}
                }
            });
        }));
    }
    all
}

#[tokio::test]
async fn what_a_warm_call_takes_in_the_whole_gateway() {
    let ca = Ca::new();
    let access = Access::GatewaysByCertificate { cloud: vec!["cloud".into()] };
    let broker = Mosquitto::with(&[Listener { tls: Some(ca.server()), access }]);
    let bus = Bus::start();
    let _vehicle =
        vehicle::serve(&bus.address(), "com.example.Vehicle", Duration::from_millis(1)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = configure(&folder, &ca, &broker, &bus);
    let (marks, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let gateway = std::thread::spawn({
        let (marks, stop) = (Arc::clone(&marks), stop.clone());
        move || run_and_count(&source, &marks, &stop)
    });
    let mut tasks = JoinSet::new();
    let cloud = cloud(&ca, &broker, &mut tasks).await;
    let level = |text: &str| Level::new(text).unwrap();
    let call = async |method: &str, json: &str| {
        let json = RawValue::from_string(json.into()).unwrap();
        let answer =
            cloud.invoke(CallRequest::new(level(TARGET), level(method), json, Duration::from_secs(20))).await;
        (answer.status.as_str().to_owned(), answer.response.get().to_owned())
    };
    for (method, request, response, _) in BOUNDS {
        within(PATIENCE, "the first answer", async {
            while call(method, request).await.0 != "ok" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        for _ in 0..2 * CALLS {
            assert_eq!(call(method, request).await, ("ok".into(), response.into()));
            marks.notify_one();
        }
    }
    stop.cancel();
    let all = tokio::task::spawn_blocking(|| gateway.join().unwrap()).await.unwrap();
    // A mark that came while the one before was still being looked at is one with it: then two calls count as one.
    assert_eq!(all.len(), BOUNDS.len() * 2 * CALLS + 1);
    let found = |at: usize| median(&all[(2 * at + 1) * CALLS..(2 * at + 2) * CALLS]);
    let found: Vec<_> = BOUNDS
        .into_iter()
        .enumerate()
        .map(|(at, (method, _, _, bound))| (method, found(at), bound))
        .collect();
    println!("{found:?}");
    for (method, found, bound) in &found {
        assert!(
            found.allocations <= bound.allocations && found.bytes <= bound.bytes,
            "a call of {method} takes {found:?}, and may take {bound:?}"
        );
    }
}
