//! What a D-Bus service says of itself. Included where `crate::introspect` is the D-Bus plugin's.

use super::sentence;
use crate::introspect::{Description, MAX_XML_LEN};

/// `data` is the document.
pub(crate) fn check(data: &[u8]) {
    let Ok(xml) = std::str::from_utf8(data) else { return };
    match Description::parse(xml) {
        Ok(description) => {
            assert!(xml.len() <= MAX_XML_LEN);
            for (name, interface) in &description.interfaces {
                assert!(name.contains('.') && name.len() <= 255, "{name:?}");
                for member in interface.methods.keys().chain(interface.signals.keys()) {
                    assert!(!member.is_empty() && member.len() <= 255, "{member:?}");
                }
                assert!(interface.properties.values().all(|property| property.readable || property.writable));
            }
        }
        Err(e) => sentence::check(&e),
    }
}
