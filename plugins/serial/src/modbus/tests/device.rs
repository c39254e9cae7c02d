//! A device in the hand of a test, byte by byte.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_serial::{SerialPort, SerialStream};

use super::*;

/// The other end of the line, in the hand of the test.
pub(super) struct Device {
    pub(super) master: SerialStream,
    slave: SerialStream,
}

impl Device {
    pub(super) fn new() -> Self {
        let (master, slave) = SerialStream::pair().unwrap();
        Self { master, slave }
    }

    /// The port, with a silence that does not hold up the tests.
    pub(super) fn config(&self) -> PortConfig {
        let path: PathBuf = self.slave.name().unwrap().into();
        let mut config = PortConfig::new(path);
        config.baud = 115_200;
        config.silence = Some(Duration::from_millis(300));
        config
    }

    /// Hears exactly this frame.
    pub(super) async fn expect(&mut self, body: &[u8]) {
        let expected = framed(body);
        let mut heard = vec![0; expected.len()];
        self.master.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, expected);
    }

    pub(super) async fn say(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).await.unwrap();
    }

    /// Nothing was written meanwhile.
    pub(super) fn quiet(&mut self) {
        let mut heard = [0; 64];
        let len = self.master.try_read(&mut heard).unwrap_or(0);
        assert_eq!(len, 0, "{:?}", &heard[..len]);
    }
}

/// A body with its checksum, computed bit by bit as the specification does.
pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let mut crc = 0xFFFF_u16;
    for byte in body {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
        }
    }
    [body, &crc.to_le_bytes()].concat()
}
