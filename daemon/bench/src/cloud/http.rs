//! A client of the HTTP side: one connection, which is kept.

use std::net::Ipv4Addr;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::calls::Way;
use crate::measure::{Times, now};

/// The longest answer, in bytes.
const LONGEST: usize = 64 * 1024;

pub(super) struct Http {
    line: BufReader<TcpStream>,
    number: u32,
    pub(super) calls: u64,
}

#[derive(Debug, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    response: &'a RawValue,
    status: &'a str,
}

impl Http {
    pub(super) async fn open(port: u16) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.context("the cloud side is not there")?;
        stream.set_nodelay(true)?;
        Ok(Self { line: BufReader::new(stream), number: 0, calls: 0 })
    }

    /// One call after the other.
    pub(super) async fn alone(&mut self, way: &Way, calls: u32) -> anyhow::Result<Times> {
        let mut times = Times::new()?;
        for _ in 0..calls {
            self.number += 1;
            let body = format!(r#"{{"n":{}}}"#, self.number);
            let begun = now();
            let answer = self.post(way, &body).await?;
            times.record(now().saturating_sub(begun));
            self.calls += 1;
            let right = way.response(self.number);
            let good = serde_json::from_str::<Body<'_>>(&answer)
                .is_ok_and(|body| body.status == "ok" && body.response.get() == right);
            ensure!(good, "the cloud side answered {answer}");
        }
        Ok(times)
    }

    /// Requests that the cloud side answers by itself: HTTP and nothing else.
    pub(super) async fn refused(&mut self, requests: u32) -> anyhow::Result<Times> {
        let mut times = Times::new()?;
        for _ in 0..requests {
            let begun = now();
            let answer = self.ask("GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
            times.record(now().saturating_sub(begun));
            ensure!(answer.contains("not_executed"), "the cloud side answered {answer}");
        }
        Ok(times)
    }

    async fn post(&mut self, way: &Way, body: &str) -> anyhow::Result<String> {
        let request = format!(
            "POST /things/{}/methods/{}?timeout=2000 HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            way.target,
            way.method,
            body.len()
        );
        self.ask(&request).await
    }

    async fn ask(&mut self, request: &str) -> anyhow::Result<String> {
        self.line.write_all(request.as_bytes()).await.context("the cloud side took no request")?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            ensure!(self.line.read_line(&mut header).await? > 0, "the cloud side hung up");
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().context("the length of an answer")?;
            }
        }
        ensure!(length <= LONGEST, "an answer has {length} bytes");
        let mut body = vec![0; length];
        self.line.read_exact(&mut body).await?;
        String::from_utf8(body).context("an answer is not UTF-8")
    }
}
