//! A digest of anything that can be written: worlds are alike if their digests are. At 128 bits a mistake is far less
//! likely than one of the machine.

use std::fmt::{self, Write};

/// Of what these arguments would print.
pub(super) fn digest(arguments: fmt::Arguments<'_>) -> u128 {
    let mut state = State { one: 0x243f_6a88_85a3_08d3, two: 0x1319_8a2e_0370_7344 };
    state.write_fmt(arguments).unwrap();
    (u128::from(finish(state.one)) << 64) | u128::from(finish(state.two ^ state.one.rotate_left(31)))
}

struct State {
    one: u64,
    two: u64,
}

impl Write for State {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for chunk in text.as_bytes().chunks(8) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_le_bytes(bytes);
            self.one = (self.one.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.two = (self.two.rotate_left(23) ^ word).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        }
        Ok(())
    }
}

fn finish(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
