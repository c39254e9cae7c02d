//! `nowd-cloud invoke`, against `nowd-cloud serve`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use nowd_protocol::{GatewayStamp, Request, Status};
use nowd_testkit::{Mosquitto, Process, wait_for};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use self::front::read_request;
use crate::gateway::{Gateway, PATIENCE, ok, reply};

mod front;
mod signed;

const PROGRAM: &str = env!("CARGO_BIN_EXE_nowd-cloud");

/// How it ended, and all that it said.
struct Ended {
    code: Option<i32>,
    text: String,
}

impl Ended {
    #[track_caller]
    fn check(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "no {part:?} in {}", self.text);
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// `nowd-cloud invoke` in an environment that holds no credentials but these.
async fn invoke_with(env: &[(&str, &str)], args: &[&str]) -> Ended {
    let mut command = Command::new(PROGRAM);
    command.arg("invoke").args(args).env_clear();
    // Nobody is asked for credentials who is not on this machine.
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", "/nonexistent");
    command.envs(env.iter().copied());
    let mut process = Process::start(command);
    let code = process.exit(PATIENCE).await.code();
    Ended { code, text: process.lines().join("\n") }
}

async fn invoke(args: &[&str]) -> Ended {
    invoke_with(&[], args).await
}

/// `nowd-cloud serve` and its URL.
async fn serve(broker: &Mosquitto, more: &[&str]) -> (Process, String) {
    let endpoint = format!("127.0.0.1:{}", broker.port());
    let args = [&["serve", "--listen", "127.0.0.1:0", "--endpoint", &endpoint], more].concat();
    let process = Process::spawn(PROGRAM, &args, &[]);
    let line = process.wait_for_line(PATIENCE, "listening for HTTP requests").await;
    let port: String =
        line.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    (process, format!("http://127.0.0.1:{port}"))
}

/// The request says which status is answered, by its number.
fn by_number(request: &Request, stamp: GatewayStamp) -> Vec<(String, String)> {
    let n: usize = request.request.get().parse().unwrap();
    vec![reply(request, *Status::ALL.get(n).unwrap(), stamp)]
}

fn scratch(name: &str, content: &[u8]) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("invoke-{}-{name}", std::process::id()));
    std::fs::write(&file, content).unwrap();
    file
}

#[tokio::test]
async fn a_call_in_words_and_as_json() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g 1%ä", |r, s| vec![ok(r, s)]).await;
    let (_server, url) = serve(&broker, &["--caller", "tester"]).await;
    let call = [&url, "--no-sign", "--target", "g 1%ä", "--method", "win?&*", "--timeout", "9s"];
    let ended = invoke(&[&call[..], &["--request", r#"{"percent": 40, "by": "a\u001bb"}"#]].concat()).await;
    ended.check(
        0,
        &["ok: executed\n", "\n  percent  40", "\n  by       a\\u{1b}b", "\n  HTTP there and back "],
    );
    ended.check(0, &[" ms, MQTT there and back ", " ms, queue 0.01 ms, plugin 0.02 ms"]);
    let seen = gateway.requests().remove(0);
    assert_eq!((seen.topic.method.as_str(), seen.timeout), ("win?&*", Some(9_000)));
    assert_eq!(seen.caller.as_deref(), Some("tester"));

    let file = scratch("request", b" [1, 2] ");
    let from_file = format!("@{}", file.display());
    let ended = invoke(&[&call[..], &["--json", "--request", &from_file, "--key", "a key"]].concat()).await;
    ended.check(0, &[]);
    let first = ended.json();
    assert_eq!((&first["outcome"], &first["response"]), (&json!("executed"), &json!([1, 2])));
    let again = invoke(&[&call[..], &["--json", "--request", "[1, 2]", "--key", "a key"]].concat()).await;
    assert_eq!(again.json()["id"], first["id"]);
    let other = invoke(&[&call[..], &["--json", "--request", "-1", "--key", "another"]].concat()).await;
    assert_ne!(other.json()["id"], first["id"]);
    drop(std::fs::remove_file(file));
}

#[tokio::test]
async fn parameters_come_from_standard_input() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let (_server, url) = serve(&broker, &[]).await;
    let file = scratch("input", br#"{"from": "stdin"}"#);
    // The shell: `Process` closes the input of what it starts.
    let script = format!(
        "exec '{PROGRAM}' invoke {url} --no-sign --target g --method m --timeout 9s --request - < \"$0\""
    );
    let mut process = Process::spawn("/bin/sh", &[Path::new("-c"), Path::new(&script), &file], &[]);
    assert_eq!(process.exit(PATIENCE).await.code(), Some(0), "{:?}", process.lines());
    assert_eq!(gateway.requests().remove(0).request.get(), r#"{"from": "stdin"}"#);
    drop(std::fs::remove_file(file));
}

#[tokio::test]
async fn the_exit_code_says_what_is_known() {
    let broker = Mosquitto::start();
    let _gateway = Gateway::start(broker.port(), "g", by_number).await;
    let _silent = Gateway::start(broker.port(), "silent", |_, _| Vec::new()).await;
    let (_server, url) = serve(&broker, &[]).await;
    let number = |status| Status::ALL.iter().position(|found| *found == status).unwrap().to_string();
    let call = |target, timeout, request: String| {
        let url = url.clone();
        async move {
            let call = [
                "--no-sign",
                "--target",
                target,
                "--method",
                "m",
                "--timeout",
                timeout,
                "--request",
                &request,
            ];
            invoke(&[&[url.as_str()], &call[..]].concat()).await
        }
    };
    for (status, code, line) in [
        (Status::Ok, 0, "ok: executed"),
        (Status::Sent, 4, "sent: unknown"),
        (Status::Refused, 3, "refused: not executed"),
        (Status::Timeout, 4, "timeout: unknown"),
        (Status::Busy, 3, "busy: not executed"),
        (Status::Forbidden, 3, "forbidden: not executed"),
        (Status::Internal, 4, "internal: unknown"),
    ] {
        let ended = call("g", "9s", number(status)).await;
        ended.check(code, &[line]);
        assert_eq!(code == 4, ended.text.contains("its id: "), "{}", ended.text);
    }
    call("absent", "9s", "1".into()).await.check(3, &["offline: not executed"]);
    let later = format!("GET {url}/things/silent/calls/");
    call("silent", "3s", "1".into()).await.check(4, &["no_reply: unknown", &later]);
    // Above what the server allows.
    call("g", "59m", "1".into()).await.check(3, &["invalid_request: not executed"]);
}

#[tokio::test]
async fn without_a_server_nothing_was_sent_and_without_an_answer_nothing_is_known() {
    let call = ["--no-sign", "--target", "g", "--method", "m", "--timeout", "1ms"];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}");
    // Nobody accepts, and the kernel takes the request: it waits until 5 s past the timeout.
    let mute = invoke(&[&[url.as_str()], &call[..]].concat()).await;
    mute.check(4, &["no_reply: unknown", "no answer came within 5001 ms: the call may have been executed"]);
    let breaking = std::thread::spawn(move || {
        for _ in 0..3 {
            // The first is that of before, which has gone.
            let (mut stream, _) = listener.accept().unwrap();
            drop(read_request(&mut stream));
        }
    });
    let ended = invoke(&[&[url.as_str()], &call[..]].concat()).await;
    ended.check(4, &["no_reply: unknown", "broke", "the call may have been executed"]);
    let ended = invoke(&[&[url.as_str(), "--json"], &call[..]].concat()).await;
    assert_eq!((ended.code, &ended.json()["outcome"]), (Some(4), &json!("unknown")), "{}", ended.text);
    breaking.join().unwrap();
    // A port that is taken, and that nobody listens on.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    for more in [&[][..], &["--json"], &["--count", "9"], &["--count", "2", "--rate", "100"]] {
        let ended = invoke(&[&[url.as_str()], &call[..], more].concat()).await;
        ended.check(69, &[]);
    }
}

#[tokio::test]
async fn wrong_command_lines() {
    let table: &[(&[&str], i32, &str)] = &[
        (&[], 64, "Usage"),
        (&["https://a.example", "--target", "g"], 64, "--method"),
        (&["https://a.example", "--target", "a/b", "--method", "m"], 64, "a topic level holds '/'"),
        (&["https://a.example", "--target", "..", "--method", "m"], 64, "--target cannot be"),
        (&["http://a.example", "--no-sign"], 64, "http:// is for this machine only"),
        (&["https://a.example"], 64, "--region is missing"),
        (&["https://a.example", "--region", "eu central"], 64, "--region \"eu central\" is no AWS region"),
        (&["https://a.example", "--region", "eu-central-1", "--no-sign"], 64, "--no-sign"),
        (&["https://a.example", "--no-sign", "--request", "{"], 64, "is not JSON, such as"),
        (
            &["https://a.example", "--no-sign", "--request", "@/nonexistent"],
            78,
            "/nonexistent cannot be read",
        ),
        (&["https://a.example", "--no-sign", "--request", "@/dev/zero"], 78, "above 131072 bytes"),
        (&["https://a.example", "--no-sign", "--request", "-"], 64, "is not JSON"),
        (&["https://a.example", "--no-sign", "--timeout", "0s"], 64, "--timeout must be within"),
        (&["https://a.example", "--no-sign", "--timeout", "1500us"], 64, "whole milliseconds"),
        (&["https://a.example", "--no-sign", "--timeout", "2h"], 64, "--timeout must be within"),
        (&["https://a.example", "--no-sign", "--key", ""], 64, "--key must be"),
        (&["https://a.example", "--no-sign", "--count", "0"], 64, "--count"),
        (&["https://a.example", "--no-sign", "--count", "10001"], 64, "--count"),
        (&["https://a.example", "--no-sign", "--count", "2", "--rate", "101"], 64, "--rate"),
        (&["https://a.example", "--no-sign", "--rate", "1"], 64, "--count"),
        (&["https://a.example", "--no-sign", "--count", "2", "--key", "x"], 64, "--key"),
        (&["https://a.example", "--no-sign", "--ca", "/nonexistent.pem"], 78, "/nonexistent.pem"),
        (&["https://a.example", "--no-sign", "--ca", "/dev/null"], 78, "/dev/null"),
    ];
    for (args, code, message) in table {
        let named = ["--target", "g", "--method", "m"];
        let args = if args.len() > 1 && args.get(1) != Some(&"--target") {
            [*args, &named].concat()
        } else {
            args.to_vec()
        };
        let args = if *args == ["https://a.example"] { [&args[..], &named].concat() } else { args };
        invoke(&args).await.check(*code, &[message]);
    }
}

#[tokio::test]
async fn many_calls_and_how_long_they_took() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let (_server, url) = serve(&broker, &[]).await;
    let call = [url.as_str(), "--no-sign", "--target", "g", "--method", "m", "--timeout", "9s"];
    let ended = invoke(&[&call[..], &["--count", "20"]].concat()).await;
    ended.check(0, &["20 calls in ", ": 20 executed, 0 not executed, 0 unknown; 0 skipped", "  ok  "]);
    ended.check(
        0,
        &[
            "min      p50      p90      p99      max",
            "whole",
            "total",
            "network",
            "gateway",
            "queue",
            "plugin",
        ],
    );

    let ended = invoke(&[&call[..], &["--count", "30", "--rate", "50", "--json"]].concat()).await;
    let said = ended.json();
    let made = said["calls"].as_u64().unwrap();
    assert_eq!(made + said["skipped"].as_u64().unwrap(), 30, "{said}");
    assert_eq!((ended.code, &said["statuses"]["ok"]), (Some(0), &json!(made)), "{said}");
    let whole = &said["micros"]["whole"];
    assert!(
        whole["min"].as_u64() <= whole["p50"].as_u64() && whole["p50"].as_u64() <= whole["max"].as_u64(),
        "{said}"
    );
    // At 50 a second, 30 calls take at least 580 ms.
    assert!(said["took_ms"].as_u64().unwrap() >= 580, "{said}");
    let mut ids: Vec<_> = gateway.requests().iter().map(|request| request.topic.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(u64::try_from(ids.len()).unwrap(), 20 + made);
}

#[tokio::test]
async fn what_cannot_begin_in_time_is_skipped() {
    let broker = Mosquitto::start();
    let silent = Gateway::start(broker.port(), "silent", |_, _| Vec::new()).await;
    let (_server, url) = serve(&broker, &[]).await;
    let call = [url.as_str(), "--no-sign", "--target", "silent", "--method", "m", "--timeout", "6s"];
    let ended = invoke(&[&call[..], &["--count", "100", "--rate", "50", "--json"]].concat()).await;
    let said = ended.json();
    let (made, skipped) = (said["calls"].as_u64().unwrap(), said["skipped"].as_u64().unwrap());
    assert_eq!((ended.code, made + skipped), (Some(4), 100), "{said}");
    assert!((1..=64).contains(&made), "{said}");
    assert!(!silent.requests().is_empty());
}

#[tokio::test]
async fn an_interrupt_begins_no_more_and_shows_what_there_is() {
    let broker = Mosquitto::start();
    let gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let (_server, url) = serve(&broker, &[]).await;
    for more in [&[][..], &["--rate", "100"]] {
        let call = ["invoke", &url, "--no-sign", "--target", "g", "--method", "m", "--timeout", "9s"];
        let before = gateway.requests().len();
        let args = [&call[..], &["--count", "10000"], more].concat();
        let mut process = Process::spawn(PROGRAM, &args, &[]);
        wait_for(PATIENCE, "some calls", || gateway.requests().len() > before + 2).await;
        let kill = Command::new("/bin/sh").args(["-c", &format!("kill -INT {}", process.id())]).status();
        assert!(kill.unwrap().success());
        assert_eq!(process.exit(PATIENCE).await.code(), Some(0), "{more:?}: {:?}", process.lines());
        process.wait_for_line(PATIENCE, " 0 not executed, 0 unknown; ").await;
    }
}
