//! The acceptance run for a real AWS account, as far as it can be tried without one: what it says that it would do, and what
//! it does to stand-ins of the programs that it calls.

use std::fs::{Permissions, create_dir_all, read_to_string, remove_dir_all, set_permissions, write};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Notes how it was called, and answers as the program whose name it has. What `$FAIL` names fails.
const STAND_IN: &str = r#"#!/bin/bash
echo "$(basename "$0") $*" >>"$STAGE/called"
[ -z "$FAIL" ] || [[ "$(basename "$0") $*" != $FAIL ]] || exit 1
case "$(basename "$0") $*" in
    "aws sts get-caller-identity "*) echo 123456789012 ;;
    "aws iot describe-endpoint "*) echo a1-ats.iot.eu-central-1.amazonaws.com ;;
    "aws lambda get-account-settings "*) echo "${CONCURRENCY:-1000}" ;;
    "aws iot create-certificate-from-csr "*) echo "arn:aws:iot:eu-central-1:123456789012:cert/c0ffee" ;;
    "aws cloudformation describe-stacks "*"'Url'"*) echo https://abc.execute-api.eu-central-1.amazonaws.com/Prod/ ;;
    "aws cloudformation describe-stacks "*) echo /aws/lambda/x ;;
    "aws logs "*) echo 0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0 ;;
    "aws configure export-credentials "*)
        printf 'export AWS_ACCESS_KEY_ID=AKID AWS_SECRET_ACCESS_KEY=verysecret AWS_SESSION_TOKEN=alsosecret\n'
        ;;
    "nowd run "*)
        echo 0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0
        /bin/sleep 60 &
        trap 'rm "$STAGE/up"; kill $!; exit 0' TERM
        touch "$STAGE/up"
        wait
        ;;
    # Between two looks at whether the gateway is there; after it was started.
    "sleep 2") /bin/sleep 0.2 ;;
    "sleep 10") for ((i = 0; i < 300; i++)); do [ -e "$STAGE/up" ] && break; /bin/sleep 0.1; done ;;
    "nowd-cloud invoke "*" refuse "* | "nowd-cloud invoke "*" nothing "* | "nowd-cloud invoke "*"-absent "*) exit 3 ;;
    "nowd-cloud invoke "*" hang "*) exit 4 ;;
    "nowd-cloud invoke "*) [ -e "$STAGE/up" ] || exit 3; echo '{"id": "0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0"}' ;;
    "curl "*)
        cat >/dev/null
        case "$*" in
            */nothing/here) printf '"outcome":"not_executed"\n403' ;;
            *timeout=abc | *a..b) printf '"outcome":"not_executed"\n400' ;;
            *--aws-sigv4*) printf '"online":true "echo" "ended" "openapi":"3.1 "result":"ok"\n200' ;;
            *) printf '"outcome":"not_executed"\n403' ;;
        esac
        ;;
esac
"#;

const CLEAN_UP: [&str; 4] = [
    "aws cloudformation delete-stack --stack-name nowd-try",
    "aws cloudformation delete-stack --stack-name nowd-try-gateway",
    "aws iot delete-certificate --certificate-id c0ffee",
    "aws s3 rb s3://nowd-try-123456789012 --force",
];

/// A folder with the stand-ins, and what they note.
struct Stage(PathBuf);

impl Stage {
    fn new() -> Self {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("acceptance-{}-{number}", std::process::id()));
        for folder in ["bin", "release"] {
            create_dir_all(path.join(folder)).unwrap();
        }
        write(path.join("stand-in"), STAND_IN).unwrap();
        set_permissions(path.join("stand-in"), Permissions::from_mode(0o755)).unwrap();
        for name in ["aws", "sam", "cargo", "cargo-lambda", "curl", "openssl", "sleep"] {
            symlink("../stand-in", path.join("bin").join(name)).unwrap();
        }
        for name in ["nowd", "nowd-cloud"] {
            symlink("../stand-in", path.join("release").join(name)).unwrap();
        }
        Self(path)
    }

    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let path = &self.0;
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("acceptance"))
            .args(args)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", path.join("bin").display()))
            .env("TMPDIR", path)
            .env("STAGE", path)
            .env("CARGO_TARGET_DIR", path)
            .env("NOWD_PYTHON_TOOLS", path.join("none"))
            .env("FAIL", "")
            .envs(env.iter().copied())
            .output()
            .unwrap()
    }

    fn called(&self) -> String {
        read_to_string(self.0.join("called")).unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(remove_dir_all(&self.0));
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn nothing_is_made_without_a_yes() {
    let stage = Stage::new();
    for (args, sentence) in [
        (&[][..], "say --yes"),
        (&["--keep"], "say --yes"),
        (&["--yes", "--name", "Not A Name"], "--name must be"),
        (&["--yes", "--idle", "soon"], "--idle must be"),
        (&["--yes", "--unheard-of"], "unknown word"),
    ] {
        let output = stage.run(args, &[]);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(sentence), "{args:?}: {}", text(&output));
    }
    let output = stage.run(&["--yes"], &[("PATH", "/usr/bin:/bin")]);
    assert!(output.status.code() != Some(0) && text(&output).contains("missing"), "{}", text(&output));
    assert_eq!(stage.called(), "");
}

#[test]
fn a_dry_run_shows_every_command_and_runs_none() {
    let stage = Stage::new();
    let output = stage.run(&["--dry-run", "--name", "nowd-try"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(stage.called(), "");
    let real = Stage::new();
    let done = real.run(&["--yes", "--name", "nowd-try"], &[]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    // The real run's programs, each with its first words, stand in the dry one.
    for line in real.called().lines().filter(|line| !line.starts_with("sleep")) {
        let words: Vec<&str> = line.split(' ').take(2).collect();
        assert!(text(&output).contains(&words.join(" ")), "{line}\n{}", text(&output));
    }
}

#[test]
fn a_run_tries_everything_and_leaves_nothing() {
    let stage = Stage::new();
    let output = stage.run(&["--yes", "--name", "nowd-try"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let called = stage.called();
    for line in CLEAN_UP {
        assert!(called.lines().any(|called| called == line), "{line}\n{called}");
    }
    for part in [
        "Delivery=mqtt",
        "Delivery=direct",
        "--count 50 --rate 100",
        "sleep 600",
        "create-certificate-from-csr",
    ] {
        assert!(called.contains(part), "{part}\n{called}");
    }
    let printed = text(&output);
    assert!(!printed.contains("WRONG") && printed.matches("\nok ").count() >= 25, "{printed}");
    for secret in ["verysecret", "alsosecret"] {
        assert!(!printed.contains(secret) && !called.contains(secret), "{secret}");
    }
}

#[test]
fn whatever_fails_it_is_told_and_cleaned_up() {
    for fail in [
        "sam deploy *",
        "aws iot create-certificate-from-csr *",
        "aws cloudformation deploy *",
        "nowd-cloud *",
        "curl *",
    ] {
        let stage = Stage::new();
        let output = stage.run(&["--yes", "--name", "nowd-try"], &[("FAIL", fail)]);
        assert_eq!(output.status.code(), Some(1), "{fail}: {}", text(&output));
        let called = stage.called();
        let made = |words: &str| called.lines().any(|line| line == words);
        let begun = |words: &str| called.lines().any(|line| line.starts_with(words));
        for (making, line) in [
            ("sam deploy", CLEAN_UP[0]),
            ("aws cloudformation deploy", CLEAN_UP[1]),
            ("aws s3 mb", CLEAN_UP[3]),
        ] {
            assert_eq!(begun(making), made(line), "{fail}: {line}\n{called}");
        }
        assert_eq!(made(CLEAN_UP[2]), !fail.contains("certificate"), "{fail}\n{called}");
    }
}

#[test]
fn what_cannot_be_taken_away_is_named() {
    let stage = Stage::new();
    let output = stage.run(&["--yes", "--name", "nowd-try"], &[("FAIL", "aws s3 rb *")]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("STILL THERE, take it away by hand: bucket nowd-try-123456789012"));
    let output = stage.run(&["--yes", "--name", "nowd-try", "--keep"], &[("CONCURRENCY", "10")]);
    assert!(text(&output).contains("kept: stacks nowd-try and nowd-try-gateway"), "{}", text(&output));
    assert!(text(&output).contains("8 calls at one moment"), "{}", text(&output));
}
