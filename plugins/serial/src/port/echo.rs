//! What was sent, come back: on a two-wire line some adapters hear themselves. Reads no line.

/// What was sent, and how much of it has come back, first of all and byte for byte.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    sent: Vec<u8>,
    seen: usize,
    /// Something else has come.
    differs: bool,
}

impl Echo {
    /// These bytes have been sent too; nothing was read since the first of them.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        self.sent.extend(bytes);
    }

    /// Whether more of it may come.
    pub(crate) const fn is_open(&self) -> bool {
        !self.differs && self.seen < self.sent.len()
    }

    /// What came so far was nothing of it. All of it may come yet, unless it has.
    pub(crate) fn begin_anew(&mut self) {
        if self.differs || self.is_open() {
            self.seen = 0;
            self.differs = false;
        }
    }

    /// Takes what came; gives how many of its first bytes are the end of what was sent, once all of that has come.
    pub(crate) fn completes(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.is_open() {
            return None;
        }
        let rest = self.sent.get(self.seen..).unwrap_or_default();
        let same = rest.iter().zip(bytes).take_while(|(sent, came)| sent == came).count();
        self.differs = same < rest.len() && same < bytes.len();
        self.seen += same;
        (self.seen == self.sent.len()).then_some(same)
    }

    /// Takes what came and gives what of it is not the echo: nothing while it may become one, all when it does not.
    pub(crate) fn strip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (was_open, held) = (self.is_open(), self.seen);
        let held = self.sent.get(..held).unwrap_or_default().to_vec();
        match self.completes(bytes) {
            Some(same) => bytes.get(same..).unwrap_or_default().to_vec(),
            None if self.is_open() => Vec::new(),
            None if was_open => [held.as_slice(), bytes].concat(),
            None => bytes.to_vec(),
        }
    }

    /// What [`Echo::strip`] still holds back; and why it was no echo, if all should have come by now.
    pub(crate) fn missing(&self) -> Option<(&[u8], &'static str)> {
        if self.differs {
            return Some((&[], "something else came"));
        }
        let held = self.sent.get(..self.seen).unwrap_or_default();
        match (self.is_open(), held.is_empty()) {
            (false, _) => None,
            (true, true) => Some((held, "nothing came")),
            (true, false) => Some((held, "only a part of it came")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn echo(sent: &[u8]) -> Echo {
        let mut echo = Echo::default();
        echo.sent(sent);
        echo
    }

    #[test]
    fn what_was_sent_is_taken_off_and_nothing_else() {
        let mut whole = echo(b"SET\r");
        assert_eq!(whole.missing(), Some((&b""[..], "nothing came")));
        assert_eq!(whole.strip(b"SE"), b"");
        assert_eq!(whole.missing(), Some((&b"SE"[..], "only a part of it came")));
        assert_eq!(whole.strip(b"T\rOK"), b"OK");
        assert_eq!(whole.missing(), None);
        // Only once.
        assert_eq!(whole.strip(b"SET\r"), b"SET\r");

        let mut other = echo(b"SET\r");
        assert_eq!(
            (other.strip(b"S"), other.strip(b"EX"), other.strip(b"SET\r")),
            (vec![], b"SEX".to_vec(), b"SET\r".to_vec())
        );
        assert_eq!(other.missing(), Some((&b""[..], "something else came")));

        let mut nothing_sent = Echo::default();
        assert_eq!((nothing_sent.strip(b"x"), nothing_sent.missing()), (b"x".to_vec(), None));
    }

    proptest! {
        #[test]
        fn in_any_pieces(sent in "[ab]{0,6}", came in "[ab]{0,20}", size in 1_usize..5) {
            let mut echo = echo(sent.as_bytes());
            let mut given: Vec<u8> = came.as_bytes().chunks(size).flat_map(|piece| echo.strip(piece)).collect();
            if let Some((held, _)) = echo.missing() {
                given.extend(held);
            }
            let expected = if sent.is_empty() { &came } else { came.strip_prefix(&sent).unwrap_or(&came) };
            prop_assert_eq!(String::from_utf8(given).unwrap(), expected);
        }
    }
}
