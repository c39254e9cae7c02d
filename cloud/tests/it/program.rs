//! The program itself.

use nowd_testkit::{Mosquitto, Process, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway::{Gateway, PATIENCE, ok};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nowd-cloud");

pub(crate) fn serve(args: &[&str]) -> Process {
    let args: Vec<&str> = ["serve"].iter().chain(args).copied().collect();
    Process::spawn(PROGRAM, &args, &[])
}

/// Where it listens for HTTP requests.
pub(crate) async fn address(program: &Process) -> String {
    let line = program.wait_for_line(PATIENCE, "listening for HTTP requests").await;
    let port: String =
        line.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    format!("127.0.0.1:{port}")
}

async fn http(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(PATIENCE, "a response", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn it_serves_until_it_is_told_to_stop() {
    let broker = Mosquitto::start();
    let _gateway = Gateway::start(broker.port(), "g", |r, s| vec![ok(r, s)]).await;
    let endpoint = format!("127.0.0.1:{}", broker.port());
    let mut program = serve(&["--listen", "127.0.0.1:0", "--endpoint", &endpoint]);
    let address = address(&program).await;

    let call = "POST /things/g/methods/m?timeout=9000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n";
    let answer = http(&address, &format!("{call}\r\n7")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""response":7"#), "{answer}");
    let answer = http(&address, &format!("{call}Origin: http://evil.example\r\n\r\n7")).await;
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains(r#""outcome":"not_executed""#),
        "{answer}"
    );

    let line = program.wait_for_line(PATIENCE, r#"status="ok""#).await;
    for part in
        [r#"target="g""#, r#"method="m""#, r#"outcome="executed""#, "http=200", "attempts=1", "total_ms="]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    program.wait_for_line(PATIENCE, "a web page of another origin").await;

    program.terminate();
    assert_eq!(program.exit(PATIENCE).await.code(), Some(0), "{:?}", program.lines());
}

#[tokio::test]
async fn a_policy_that_refuses_everybody_is_told_at_the_start_and_each_refusal_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let policy = file.to_str().unwrap();
    let plain = ["--listen", "127.0.0.1:0", "--endpoint", "127.0.0.1:1", "--policy", policy];
    let call = "POST /things/g/methods/m HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 8\r\n\r\n\"secret\"";

    std::fs::write(&file, "").unwrap();
    let program = serve(&[&plain[..], &["--caller", "anna"]].concat());
    program.wait_for_line(PATIENCE, "has no [[allow]] table").await;
    let answer = http(&address(&program).await, call).await;
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("an [[allow]] table that names"),
        "{answer}"
    );
    let line = program.wait_for_line(PATIENCE, r#"status="forbidden""#).await;
    for part in [r#"caller="anna""#, r#"outcome="not_executed""#, "http=403", "attempts=0"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let lines = program.lines().join("\n");
    assert!(!lines.contains("secret") && !lines.contains("without --caller"), "{lines}");

    std::fs::write(&file, "[[allow]]\ncaller = [\"*\"]\ntarget = [\"*\"]\nmethod = [\"*\"]\n").unwrap();
    let program = serve(&plain);
    program.wait_for_line(PATIENCE, "without --caller everybody is refused").await;
    let answer = http(&address(&program).await, call).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("start it with --caller"), "{answer}");
    assert!(!program.lines().join("\n").contains("has no [[allow]] table"));
}

#[tokio::test]
async fn wrong_arguments_end_it_with_code_64_wrong_files_with_78_and_one_clear_sentence() {
    let plain = ["--endpoint", "127.0.0.1:1883"];
    let table: &[(&[&str], &str)] = &[
        (&["--listen", "0.0.0.0:8080"], "no authentication"),
        (&["--listen", "[::]:8080"], "no authentication"),
        (&["--listen", "nonsense"], "--listen"),
        (&["--client", "a/b"], "a topic level holds '/'"),
        (&["--client", "x".repeat(120).leak()], "cannot begin a return address"),
        (&["--ca", "/nonexistent.pem"], "/nonexistent.pem: there is no such file"),
        (&["--cert", "/nonexistent.pem"], "--key"),
        (&["--max-timeout", "0s"], "--max-timeout must be"),
        (&["--max-timeout", "2h"], "--max-timeout must be"),
        (&["--default-timeout", "30s"], "--default-timeout must be"),
        (&["--unheard-of"], "--unheard-of"),
        (&["--caller", ""], "--caller must be"),
        (&["--policy", "/nonexistent.toml"], "error: "),
    ];
    for (args, message) in table {
        let mut program = serve(&[&plain, *args].concat());
        let names_a_file =
            args.get(1).is_some_and(|value| value.starts_with("/nonexistent")) && args[0] != "--cert";
        let code = if names_a_file { 78 } else { 64 };
        assert_eq!(program.exit(PATIENCE).await.code(), Some(code), "{args:?}: {:?}", program.lines());
        program.wait_for_line(PATIENCE, message).await;
    }
    for (endpoint, message) in [
        ("example.com:8883", "is on another machine and needs TLS"),
        ("localhost", "expected HOST:PORT"),
        ("localhost:0", "expected HOST:PORT"),
        ("::1:1883", "expected HOST:PORT"),
    ] {
        let mut program = serve(&["--endpoint", endpoint]);
        assert_eq!(program.exit(PATIENCE).await.code(), Some(64), "{endpoint}: {:?}", program.lines());
        program.wait_for_line(PATIENCE, message).await;
    }
}

#[tokio::test]
async fn an_address_in_use_ends_it_with_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut program = serve(&["--endpoint", "127.0.0.1:1", "--listen", &address]);
    assert_eq!(program.exit(PATIENCE).await.code(), Some(1));
    program.wait_for_line(PATIENCE, "cannot listen on").await;
}
