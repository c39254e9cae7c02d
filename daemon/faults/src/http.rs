//! A caller: HTTP/1.1 over keep-alive connections of its own. It repeats nothing by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nowd_protocol::Outcome;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::bed::TARGET;
use crate::clock;
use crate::judge::Answer;

/// How long beyond its deadline a call is waited for: the cloud side promises a quarter of a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest answer, in bytes.
const LONGEST_BODY: usize = 256 * 1024;

/// Makes calls; each uses a connection that is idle, or a new one.
#[derive(Debug)]
pub(crate) struct Http {
    address: SocketAddr,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

/// What came of one call.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// When the answer had been read, or was given up.
    pub(crate) ended: u64,
    /// The answer, unless there was none.
    pub(crate) answer: Option<Answer>,
    /// The latest instant at which the cloud side can have begun to count.
    pub(crate) begun_by: u64,
}

#[derive(Debug, Deserialize)]
struct Body {
    id: String,
    /// The status where it went well; a problem's is HTTP's number.
    status: Value,
    /// The status of a problem.
    code: Option<String>,
    outcome: Outcome,
    timing: Option<Timing>,
}

#[derive(Debug, Deserialize)]
struct Timing {
    total: u64,
}

impl Http {
    pub(crate) fn new(port: u16) -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, port).into(), idle: Mutex::default() }
    }

    /// One call, under this `Idempotency-Key` if there is one.
    pub(crate) async fn call(
        &self,
        method: &str,
        timeout_ms: u64,
        body: &str,
        key: Option<&str>,
    ) -> anyhow::Result<Exchange> {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let mut line = if let Some(line) = idle {
            line
        } else {
            let stream = TcpStream::connect(self.address).await.context("the cloud side is not there")?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        };
        let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        let request = format!(
            "POST /things/{TARGET}/methods/{method}?timeout={timeout_ms} HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/json\r\n{key}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        line.write_all(request.as_bytes()).await.context("the cloud side took no request")?;
        let text = tokio::select! {
            text = response(&mut line) => Some(text?),
            () = tokio::time::sleep(Duration::from_millis(timeout_ms) + PATIENCE) => None,
        };
        let ended = clock::now();
        let Some(text) = text else {
            return Ok(Exchange { ended, answer: None, begun_by: ended });
        };
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(line);
        }
        // An answer without such a body means `unknown`.
        let body: Option<Body> = serde_json::from_str(&text).ok();
        let total = body.as_ref().and_then(|body| body.timing.as_ref()).map(|timing| timing.total);
        let answer = match body {
            Some(body) => {
                let said = body.status.as_str().map(str::to_owned);
                let status = body.code.or(said).unwrap_or_default();
                Answer { id: body.id, status, outcome: body.outcome }
            }
            None => Answer { id: String::new(), status: text, outcome: Outcome::Unknown },
        };
        // Its count was `total` when it answered, and that was before the answer was read.
        let begun_by = total.map_or(ended, |total| ended.saturating_sub(total));
        Ok(Exchange { ended, answer: Some(answer), begun_by })
    }
}

/// The body of the next response.
async fn response(line: &mut BufReader<TcpStream>) -> anyhow::Result<String> {
    let mut length = 0;
    loop {
        let mut header = String::new();
        ensure!(line.read_line(&mut header).await? > 0, "the cloud side hung up");
        let header = header.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().context("the length of an answer")?;
        }
    }
    ensure!(length <= LONGEST_BODY, "an answer has {length} bytes");
    let mut body = vec![0; length];
    line.read_exact(&mut body).await?;
    String::from_utf8(body).context("an answer is not UTF-8")
}
