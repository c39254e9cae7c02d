//! `Idempotency-Key`: a caller's own name for a call, so that repeating the HTTP request does not repeat the call.
//!
//! The key becomes the call's id, within the caller's own space and for one gateway: the same key of another caller, or for
//! another gateway, is another call. The gateway knows an id again, whichever process of the cloud side it comes through.

use axum::http::{HeaderMap, HeaderName};
use nowd_protocol::{Level, Uuid};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key, in bytes.
pub(super) const MAX_LEN: usize = 255;

/// The space of all ids that are made of keys.
const SPACE: Uuid = Uuid::from_u128(0x6e6f_7764_2d69_4564_8d70_6f74_656e_6379);

/// The id that the header asks for, if it is there.
pub(super) fn id(headers: &HeaderMap, caller: Option<&str>, target: &Level) -> Result<Option<Uuid>, String> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong =
        || format!("`Idempotency-Key` must stand once and be 1 to {MAX_LEN} printable ASCII characters");
    let text = value.to_str().map_err(|_| wrong())?.trim();
    // The draft standard writes it as a quoted string; most clients do not.
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if values.next().is_some() || key.is_empty() || key.len() > MAX_LEN || !printable {
        return Err(wrong());
    }
    // The lengths keep the three apart.
    let (caller, target) = (caller.unwrap_or_default(), target.as_str());
    let name = format!("{} {caller} {} {target} {key}", caller.len(), target.len());
    Ok(Some(Uuid::new_v5(&SPACE, name.as_bytes())))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn found(keys: &[&[u8]], caller: Option<&str>) -> Result<Option<Uuid>, String> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(HEADER, HeaderValue::from_bytes(key).unwrap());
        }
        id(&headers, caller, &Level::new("g").unwrap())
    }

    #[test]
    fn keys() {
        assert_eq!(found(&[], None), Ok(None));
        let id = |key: &str, caller| found(&[key.as_bytes()], caller).unwrap().unwrap();
        assert_eq!(id("k", None), id("k", None));
        assert_eq!(id("k", None), id("\"k\"", None));
        assert_ne!(id("k", None), id("l", None));
        assert_ne!(id("k", Some("a")), id("k", Some("b")));
        assert_ne!(id("b k", Some("a")), id("k", Some("a b")));
        // Part of the contract: another version of the cloud side must make the same id of the same key.
        assert_eq!(id("order-7", Some("arn:x")).to_string(), "7b7a9a82-96aa-5210-8fb6-b3eebf141721");
        let long = [b'x'; 256];
        for wrong in [&[b"".as_slice()][..], &[b"a", b"b"], &[b"\xff"], &[&long], &[b"\"\""]] {
            assert!(found(wrong, None).is_err(), "{wrong:?}");
        }
        assert!(found(&[&long[1..]], None).is_ok());
    }
}
