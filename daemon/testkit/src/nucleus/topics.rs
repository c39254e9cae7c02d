//! Which topics a filter of MQTT matches.

/// Whether a message to `topic` goes to who subscribed to `filter`.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') != filter.starts_with('$') {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (_, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests;
