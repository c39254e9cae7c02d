//! Processors that do not fall asleep between two calls. One that sleeps deeply is woken in some microseconds on a machine, and in some tens
//! on a virtual one, whose host it has to ask for it; how long that takes changes from minute to minute, for floor and gateway alike.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

/// The kernel's own interface (PM QoS): whoever has it open says how many microseconds it may take to wake a processor.
const FILE: &str = "/dev/cpu_dma_latency";

/// What is told of it in a section.
pub(crate) const KEPT: &str = "processors kept awake (1: yes)";

/// Held as long as they shall stay awake.
#[derive(Debug)]
pub(crate) struct Awake(Option<File>);

impl Awake {
    /// Asks for it, and says so where it cannot be had: without root.
    pub(crate) fn held() -> Self {
        let opened = OpenOptions::new().write(true).open(FILE).and_then(|mut file| {
            file.write_all(&0_i32.to_ne_bytes())?;
            Ok(file)
        });
        if let Err(error) = &opened {
            eprintln!("the processors may fall asleep between calls: {FILE}: {error}");
        }
        Self(opened.ok())
    }

    /// 1 if they are kept awake, else 0.
    pub(crate) const fn told(&self) -> f64 {
        if self.0.is_some() { 1.0 } else { 0.0 }
    }
}
