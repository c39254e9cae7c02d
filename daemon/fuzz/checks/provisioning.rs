//! What the provisioning service answers. Included where `crate::provision::answers` is the daemon's.

use super::sentence;
use crate::provision::answers::{Created, Registered, Rejection, Request, is_certificate_id};

/// `data` is a payload, whichever answer it is taken for.
pub(crate) fn check(data: &[u8]) {
    match Created::parse(data) {
        Ok(created) => {
            assert!(is_certificate_id(&created.id) && !created.id.contains(['/', '.']));
            assert!(!created.token.secret().is_empty() && created.pem.len() <= 64 * 1024);
        }
        Err(e) => sentence::check(&e),
    }
    match Registered::parse(data) {
        Ok(registered) => assert!(!registered.thing_name.as_str().contains(['/', '+', '#', '\0'])),
        Err(e) => sentence::check(&e),
    }
    let rejection = Rejection::parse(data);
    for request in [Request::Certificate, Request::Registration] {
        let sentence = rejection.verdict(request, "fleet").sentence;
        sentence::check(&sentence);
        assert!(sentence.len() < 8 * 1024);
    }
}
