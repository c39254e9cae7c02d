//! Cuts what a device sends into lines, in bounded memory whatever it sends. Reads no port.

/// The longest line, in bytes without its terminator; a longer one is dropped whole.
pub const LONGEST_LINE: usize = 4096;

/// Takes bytes in any chunks and gives whole lines.
#[derive(Debug)]
pub(crate) struct LineReader {
    terminator: Vec<u8>,
    /// The line so far, and of a line that is too long only what may be the start of its terminator.
    buffer: Vec<u8>,
    too_long: bool,
}

impl LineReader {
    pub(crate) fn new(terminator: &[u8]) -> Self {
        Self { terminator: terminator.to_vec(), buffer: Vec::new(), too_long: false }
    }

    /// Forgets a line that has begun.
    pub(crate) fn reset(&mut self) {
        self.buffer.clear();
        self.too_long = false;
    }

    /// Gives each line that ends in `bytes` to `judge`, until it makes something of one; what follows is dropped.
    pub(crate) fn feed<T>(&mut self, bytes: &[u8], judge: &mut impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        for byte in bytes {
            self.buffer.push(*byte);
            if let Some(line) = self.buffer.strip_suffix(self.terminator.as_slice()) {
                let found = if self.too_long { None } else { judge(line) };
                self.reset();
                if found.is_some() {
                    return found;
                }
            } else if self.too_long || self.buffer.len() >= LONGEST_LINE + self.terminator.len() {
                self.too_long = true;
                let keep = self.terminator.len().saturating_sub(1);
                self.buffer.drain(..self.buffer.len().saturating_sub(keep));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(terminator: &[u8], chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut reader = LineReader::new(terminator);
        let mut found = Vec::new();
        for chunk in chunks {
            let none = reader.feed(chunk, &mut |line| {
                found.push(line.to_vec());
                None::<()>
            });
            assert!(none.is_none());
            assert!(reader.buffer.len() < LONGEST_LINE + terminator.len(), "{}", reader.buffer.len());
        }
        found
    }

    /// The same rule, said for the whole at once.
    fn expected(terminator: &[u8], mut rest: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while let Some(at) = rest.windows(terminator.len()).position(|window| window == terminator) {
            if at <= LONGEST_LINE {
                found.push(rest[..at].to_vec());
            }
            rest = &rest[at + terminator.len()..];
        }
        found
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_and_the_next_is_heard() {
        let longest = vec![b'a'; LONGEST_LINE];
        for (first, heard) in [(longest.clone(), true), ([longest.as_slice(), b"a"].concat(), false)] {
            let stream = [first.as_slice(), b"\r\nOK\r\n"].concat();
            let found = lines(b"\r\n", &[&stream]);
            assert_eq!(found.last().unwrap(), b"OK");
            assert_eq!(found.len(), if heard { 2 } else { 1 });
        }
    }

    #[test]
    fn what_follows_the_line_looked_for_is_dropped() {
        let mut reader = LineReader::new(b"\n");
        let found = reader.feed(b"a\nOK\nb\nc", &mut |line| (line == b"OK").then_some(1));
        assert_eq!(found, Some(1));
        assert_eq!(reader.feed(b"\n", &mut |line| Some(line.to_vec())), Some(vec![]));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunks_give_the_same_lines(
            terminator in prop_oneof![Just("\r\n"), Just("\n"), Just("aab"), Just("\r\r\n")],
            pieces in prop::collection::vec(
                prop_oneof![
                    3 => prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), Just(b'b'), any::<u8>()], 0..20),
                    1 => (4000_usize..4200).prop_map(|len| vec![b'a'; len]),
                ],
                0..12,
            ),
            cut in 1_usize..600,
        ) {
            let terminator = terminator.as_bytes();
            let stream = pieces.concat();
            let chunks: Vec<&[u8]> = stream.chunks(cut).collect();
            let whole: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let expected = expected(terminator, &stream);
            prop_assert_eq!(&lines(terminator, &chunks), &expected);
            prop_assert_eq!(&lines(terminator, &whole), &expected);
        }
    }
}
