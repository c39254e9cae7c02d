//! What a D-Bus service says of itself. Included where `crate::introspect` and `crate::map` are the D-Bus plugin's.

use super::sentence;
use crate::introspect::{MAX_XML_LEN, Types};
use crate::map::Action;

/// `data` is the document.
pub(crate) fn check(data: &[u8]) {
    let Ok(xml) = std::str::from_utf8(data) else { return };
    match Types::parse(xml, "com.example.Window1") {
        Ok(types) => {
            assert!(xml.len() <= MAX_XML_LEN);
            let call = Action::Call { member: "MoveTo".into(), args: Vec::new() };
            let known = types.of(&call);
            assert!(known.is_none() || xml.contains("MoveTo") || xml.contains('&'), "{known:?}");
            assert_eq!(types.of(&Action::Get { property: "Speed".into() }), Some(Vec::new()));
        }
        Err(e) => sentence::check(&e),
    }
}
