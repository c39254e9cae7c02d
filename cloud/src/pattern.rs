//! Texts with `*` in them. Matching takes time in proportion to text and pattern, whatever they are.

/// A pattern: `*` stands for any characters, or none; everything else for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// What a text begins with; all of it if there is no `last`.
    first: Box<str>,
    /// What stands in between, in this order.
    middle: Box<[Box<str>]>,
    /// What it ends with, after a `*`.
    last: Option<Box<str>>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        let mut parts = text.split('*');
        let first = parts.next().unwrap_or_default().into();
        let last = parts.next_back().map(Into::into);
        let middle = parts.filter(|part| !part.is_empty()).map(Into::into).collect();
        Self { first, middle, last }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some(last) = &self.last else { return *text == *self.first };
        let rest = text.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&**last));
        let Some(mut rest) = rest else { return false };
        // The leftmost place leaves most for those that follow.
        for part in &self.middle {
            let Some((_, after)) = rest.split_once(&**part) else { return false };
            rest = after;
        }
        true
    }
}
