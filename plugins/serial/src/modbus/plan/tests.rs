use std::time::Duration;

use nowd_plugin::map::{MapFile, MapSource};
use nowd_plugin::{BootInstant, Call, Deadline};
use proptest::prelude::*;
use serde_json::json;
use tokio_modbus::{Request, Response};
use uuid::Uuid;

use super::*;
use crate::modbus::ModbusTable;

fn plan(text: &str) -> Plan {
    let text = format!("[modbus]\nport = \"p\"\nunit = 1\n[methods.m]\n{text}\n");
    let file: MapFile<ModbusTable, MethodTable> =
        MapFile::parse(&MapSource { file: "m.toml".into(), text }).unwrap();
    Plan::parse(&file.methods[0], Order::default(), false).unwrap_or_else(|e| panic!("{e}")).0
}

/// A device in memory.
struct Device {
    bits: Vec<bool>,
    words: Vec<u16>,
}

impl Device {
    fn answer(&mut self, request: &Request<'_>) -> Response {
        let range =
            |address: u16, count: u16| usize::from(address)..usize::from(address) + usize::from(count);
        match request {
            Request::ReadCoils(at, count) => Response::ReadCoils(self.bits[range(*at, *count)].to_vec()),
            Request::ReadInputRegisters(at, count) => {
                assert!(*count <= 125);
                Response::ReadInputRegisters(self.words[range(*at, *count)].to_vec())
            }
            Request::WriteSingleRegister(at, word) => {
                self.words[usize::from(*at)] = *word;
                Response::WriteSingleRegister(*at, *word)
            }
            Request::WriteMultipleRegisters(at, words) => {
                let count = u16::try_from(words.len()).unwrap();
                assert!(count <= 123);
                self.words[range(*at, count)].copy_from_slice(words);
                Response::WriteMultipleRegisters(*at, count)
            }
            Request::ReadDiscreteInputs(..)
            | Request::WriteSingleCoil(..)
            | Request::WriteMultipleCoils(..)
            | Request::ReadHoldingRegisters(..)
            | Request::ReportServerId
            | Request::MaskWriteRegister(..)
            | Request::ReadWriteMultipleRegisters(..)
            | Request::ReadDeviceIdentification(..)
            | Request::Custom(..) => panic!("{request:?}"),
        }
    }

    /// Does everything; gives the response and how many requests it took.
    fn run(&mut self, plan: &Plan) -> (Value, usize) {
        let deadline = Deadline::new(BootInstant::from_micros(42), Duration::from_secs(1));
        let call = Call::new(Uuid::nil(), "m", json!({}), deadline);
        let mut results = vec![Value::Null; plan.results.len()];
        for step in &plan.steps {
            match step {
                Step::Write(write) => drop(self.answer(&write.request(&call).unwrap())),
                Step::Read(read) => {
                    let answer = self.answer(&read.request());
                    for (index, value) in read.values(&answer).unwrap() {
                        results[index] = value;
                    }
                }
                Step::Wait(_) => {}
            }
        }
        (plan.results.response(results), plan.steps.len())
    }
}

fn any_read() -> impl Strategy<Value = String> {
    // Few addresses, so that they meet, overlap and repeat.
    (0_u16..60, prop::sample::select(vec!["u16", "i32", "f64", "bit", "text", "list", "coil", "coils"]))
        .prop_map(|(at, kind)| match kind {
            "bit" => format!("{{ input = {at}, bit = {} }}", at % 16),
            "text" => format!("{{ input = {at}, type = 'text', length = 5 }}"),
            "list" => format!("{{ input = {at}, count = 70 }}"),
            "coil" => format!("{{ coil = {at} }}"),
            "coils" => format!("{{ coil = {at}, count = 9 }}"),
            kind => format!(
                "{{ input = {at}, type = '{kind}', order = '{}' }}",
                if kind == "u16" { "BA" } else { "CDAB" }
            ),
        })
}

proptest! {
    /// Joined or not: the same values, in the same places, in no more requests.
    #[test]
    fn joined_reads_say_the_same(
        reads in prop::collection::vec(any_read(), 1..10),
        words in prop::collection::vec(any::<u16>(), 200),
        bits in prop::collection::vec(any::<bool>(), 200),
    ) {
        let list = format!("read = [{}]", reads.join(", "));
        let mut device = Device { bits, words };
        let (alone, requests) = device.run(&plan(&list));
        prop_assert_eq!(requests, reads.len());
        // One that touches the first, so that there is something to join.
        let joined = plan(&format!("together = true\nread = [{}, {}]", reads.join(", "), reads[0]));
        let (mut together, fewer) = device.run(&joined);
        let values = together.as_array_mut().unwrap();
        prop_assert_eq!(values.pop().unwrap(), alone[0].clone());
        prop_assert_eq!(together, alone);
        prop_assert!(fewer <= requests);
    }

    /// Joined or not: the same registers afterwards.
    #[test]
    fn joined_writes_do_the_same(words in prop::collection::vec((0_u16..30, any::<u16>()), 1..12)) {
        let writes: Vec<String> = words
            .iter()
            .chain([&(40, 1), &(41, 2)])
            .map(|(at, word)| format!("{{ holding = {at}, value = {word} }}"))
            .collect();
        let list = writes.join(", ");
        let device = || Device { bits: Vec::new(), words: vec![0; 64] };
        let (mut alone, mut together) = (device(), device());
        let (_, requests) = alone.run(&plan(&format!("write = [{list}]")));
        let (_, fewer) = together.run(&plan(&format!("together = true\nwrite = [{list}]")));
        prop_assert_eq!(alone.words, together.words);
        prop_assert!(fewer < requests);
    }
}
