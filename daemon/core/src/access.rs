//! Who may call: patterns with `*` over return address and caller.

/// A text in which `*` stands for any number of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// A pattern. An empty one matches nobody.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Whether `name` is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty() && !name.is_empty();
        }
        // The earliest place for each middle part leaves the most for those after it; the last stands at the end.
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("app-*", "app-7", true),
            ("app-*", "app-", true),
            ("app-*", "xapp-7", false),
            ("app", "app", true),
            ("app", "app7", false),
            ("*", "anyone", true),
            ("", "", false),
            ("", "x", false),
            ("arn:*:role/ops*", "arn:aws:iam::1:role/ops-1", true),
            ("arn:*:role/ops", "arn:aws:iam::1:role/ops-1", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*b", "ab", false),
            ("**", "x", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} over {name}");
        }
    }
}
