//! Reads a body as a method's parameters. Whatever its content type says, it is JSON: `curl -d` says that it is a form.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody as _};
use nowd_protocol::{MAX_PAYLOAD_LEN, RawValue};

use super::problem::{Kind, Refusal};

/// How deep a body may be nested. What reads it further on stops at 128 levels (JSON) or 64 (D-Bus), and would say so less
/// plainly.
pub(super) const MAX_DEPTH: usize = 64;

/// The body as the method's parameters; `null` where there is none.
pub(super) async fn parameters(body: Body) -> Result<Box<RawValue>, Refusal> {
    let bytes = collect(body).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "the body is not UTF-8".to_owned())?;
    if text.trim_ascii().is_empty() {
        return Ok(RawValue::NULL.to_owned());
    }
    if depth(text) > MAX_DEPTH {
        return Err(format!("the body is nested deeper than {MAX_DEPTH} levels").into());
    }
    // A RawValue may hold numbers that nobody can read; what a gateway would stumble over is refused here.
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        return Err(format!("the body is not JSON: {error}").into());
    }
    serde_json::from_str(text).map_err(|error| format!("the body is not JSON: {error}").into())
}

/// All of the body, if that is not too much. Nothing is read of a body that says so itself.
async fn collect(mut body: Body) -> Result<Vec<u8>, Refusal> {
    let too_large =
        || Refusal { kind: Kind::TooLarge, message: format!("the body is above {MAX_PAYLOAD_LEN} bytes") };
    if usize::try_from(body.size_hint().lower()).map_or(true, |length| length > MAX_PAYLOAD_LEN) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| "the body was cut off".to_owned())?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MAX_PAYLOAD_LEN {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// How deep a text is nested, should it be JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths() {
        for (text, expected) in [
            ("1", 0),
            ("[]", 1),
            ("[{\"a\":[]},[]]", 3),
            (r#""[[[""#, 0),
            (r#"["\"[[", "\\", [1]]"#, 2),
            ("]]][", 1),
        ] {
            assert_eq!(depth(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn as_deep_as_that_and_no_deeper() {
        for (levels, taken) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false), (100, false)] {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            assert_eq!(parameters(Body::from(text)).await.is_ok(), taken, "{levels}");
        }
    }
}
