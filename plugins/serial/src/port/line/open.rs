//! What opening a line needs beside the usual: the RS-485 transceiver. Reads and writes nothing.

use std::io;

use serial2::rs4xx::{Rs485Config, TransceiverMode};

use super::reason::of_io;
use crate::port::config::{PortConfig, Rs485};

/// Lets the kernel switch the transceiver; the setting stays with the device, which is to be opened before this is closed.
pub(super) fn switch_transceiver(config: &PortConfig, rs485: Rs485) -> io::Result<serial2::SerialPort> {
    let port = serial2::SerialPort::open(&config.device, serial2::KeepSettings)
        .map_err(|e| of_io(&config.device, &e))?;
    let mut mode = Rs485Config::new();
    mode.set_invert_rts(!rs485.rts_on_send);
    mode.set_delay_before_send(rs485.delay_before);
    mode.set_delay_after_send(rs485.delay_after);
    mode.set_bus_termination(rs485.termination);
    port.set_rs4xx_mode(TransceiverMode::Rs485(mode)).map_err(|e| {
        let message = format!(
            "its driver does not switch an RS-485 transceiver ({e}); leave `rs485` out if the adapter does it by itself"
        );
        io::Error::new(e.kind(), message)
    })?;
    Ok(port)
}
