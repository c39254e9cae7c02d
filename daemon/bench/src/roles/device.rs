//! Devices at serial lines: `SET 5` is answered with `OK 5`, at once.

use std::path::PathBuf;

use anyhow::Context as _;
use nowd_testkit::Pty;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// The longest line that a device reads, in bytes.
const LONGEST_LINE: usize = 64;

/// Says `ready` when there is a device behind each link.
pub(super) async fn run(links: Vec<PathBuf>) -> anyhow::Result<()> {
    let mut devices = JoinSet::new();
    for link in links {
        let pty = Pty::open();
        std::os::unix::fs::symlink(pty.path(), &link).context("a link to a serial port cannot be made")?;
        devices.spawn(device(pty));
    }
    println!("ready");
    while let Some(ended) = devices.join_next().await {
        ended??;
    }
    Ok(())
}

async fn device(mut line: Pty) -> anyhow::Result<()> {
    let (mut read, mut chunk) = (Vec::new(), [0; 256]);
    loop {
        let len = line.read(&mut chunk).await?;
        for &byte in chunk.get(..len).unwrap_or_default() {
            if byte != b'\n' {
                if read.len() < LONGEST_LINE {
                    read.push(byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&std::mem::take(&mut read)).into_owned();
            let answer = match text.trim_end().strip_prefix("SET ") {
                Some(number) => format!("OK {number}\r\n"),
                None => "ERR\r\n".to_owned(),
            };
            line.write_all(answer.as_bytes()).await?;
        }
    }
}
