//! What a Modbus device sends while an answer is waited for: the answer found in bytes, and the values in it. Included where
//! `crate::modbus` has the serial plugin's modules of that name.

use std::time::Duration;

use nowd_plugin::map::{MapFile, MapMethod, MapSource};
use nowd_plugin::{BootInstant, Call, Deadline};
use serde::Deserialize;
use serde_json::json;
use tokio_modbus::Request;
use uuid::Uuid;

use crate::modbus::plan::{MethodTable, Plan, Step};
use crate::modbus::value::Order;
use crate::modbus::wire::{Answer, Ear, LONGEST_FRAME, frame};

/// All functions, types and shapes; the first byte of the input chooses one.
const METHODS: [&str; 16] = [
    "read = { coil = 1, count = 11 }",
    "read = { discrete = 0 }",
    "read = { holding = 0x2000, scale = 0.01, offset = -40 }",
    "read = { input = 1, type = 'i32', order = 'CDAB' }",
    "read = { input = 1, type = 'u64', scale = 0.001 }",
    "read = { input = 1, type = 'i64', count = 2 }",
    "read = { holding = 1, type = 'f32', order = 'BADC' }",
    "read = { holding = 1, type = 'f64', scale = 1e-300 }",
    "read = { holding = 1, type = 'text', length = 7, order = 'BA' }",
    "read = { holding = 1, count = 125 }",
    "together = true\nread.a = { holding = 1, bit = 3 }\nread.b = { holding = 1, bit = 4 }\nread.c = { holding = 2 }",
    "write = { holding = 1, value = '$x', scale = 0.01 }",
    "write = { coil = 1, value = true }",
    "write = { coil = 1, value = true, single = false }",
    "write = { holding = 1, bit = 3, value = false }",
    "write = { holding = 1, type = 'f64', value = '$x' }",
];

const UNIT: u8 = 3;

#[derive(Deserialize)]
struct Backend {}

/// The first byte chooses a method, the second whether the line has an echo and how the bytes are cut; the rest is what the
/// device sends.
pub(crate) fn check(data: &[u8]) {
    let [choice, cut, stream @ ..] = data else { return };
    let method = METHODS.get(usize::from(choice & 15)).copied().unwrap_or_default();
    let (echo, chunk) = (cut & 1 == 1, usize::from(cut >> 1) + 1);
    let plan = plan(method);
    let [step] = plan.steps.as_slice() else { unreachable!("one request") };
    let request = request(step);
    let sent = frame(UNIT, &request).unwrap();
    let mut ear = Ear::new(UNIT, &request, &sent, echo);
    let answer = stream.chunks(chunk).find_map(|bytes| ear.feed(bytes));
    // However the bytes are cut.
    let mut whole = Ear::new(UNIT, &request, &sent, echo);
    assert_eq!(whole.feed(stream), answer);
    assert_eq!(answer.is_some(), expected(&sent, echo, stream), "{answer:?}");
    if let Some(answer) = answer {
        check_answer(&plan, step, answer);
    }
}

fn plan(method: &str) -> Plan {
    let text = format!("[modbus]\n[methods.m]\n{method}\n");
    let mut file: MapFile<Backend, MethodTable> =
        MapFile::parse(&MapSource { file: "m.toml".into(), text }).unwrap();
    let method: &mut MapMethod<MethodTable> = file.methods.first_mut().unwrap();
    Plan::parse(method, Order::default(), false).unwrap().0
}

fn request(step: &Step) -> Request<'static> {
    let deadline = Deadline::new(BootInstant::from_micros(42), Duration::from_secs(1));
    let call = Call::new(Uuid::nil(), "m", json!({"x": 12.5}), deadline);
    match step {
        Step::Write(write) => write.request(&call).unwrap(),
        Step::Read(read) => read.request(),
        Step::Wait(_) => unreachable!("a request"),
    }
}

/// Whether an answer is in the stream, said for the whole at once: from left to right, what may begin here is waited for.
fn expected(sent: &[u8], echo: bool, mut stream: &[u8]) -> bool {
    if echo {
        let Some(at) = stream.windows(sent.len()).position(|window| window == sent) else { return false };
        stream = &stream[at + sent.len()..];
    }
    let count = u16::from_be_bytes([sent[4], sent[5]]);
    let (repeated, data) = match sent[1] {
        1 | 2 => (2, count.div_ceil(8)),
        3 | 4 => (2, count * 2),
        22 => (8, 0),
        _ => (6, 0),
    };
    let mut head = sent[..repeated].to_vec();
    if data > 0 {
        head.push(u8::try_from(data).unwrap());
    }
    let len = head.len() + usize::from(data) + 2;
    assert!(len <= LONGEST_FRAME);
    for at in 0..stream.len() {
        let rest = &stream[at..];
        let exception = rest.starts_with(&[UNIT, sent[1] | 0x80]);
        if !exception && !rest.iter().zip(&head).all(|(heard, head)| heard == head) {
            continue;
        }
        let len = if exception { 5 } else { len };
        let Some(frame) = rest.get(..len) else { return false };
        if checksum(&frame[..len - 2]).to_le_bytes() == frame[len - 2..] {
            return true;
        }
    }
    false
}

/// As the specification computes it.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

fn check_answer(plan: &Plan, step: &Step, answer: Answer) {
    let (Ok(answer), Step::Read(read)) = (answer, step) else { return };
    let values = read.values(&answer).expect("the answer fits its request");
    assert_eq!(values.len(), plan.results.len());
    let values = values.into_iter().map(|(_, value)| value).collect();
    let text = plan.results.response(values).to_string();
    assert!(text.len() < 16 * 1024 && !text.contains(char::is_control), "{text}");
}
