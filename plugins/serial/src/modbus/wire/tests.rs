use proptest::prelude::*;

use super::*;

fn any_request() -> impl Strategy<Value = Request<'static>> {
    let address = any::<u16>();
    prop_oneof![
        (address, 1_u16..=2000).prop_map(|(address, count)| Request::ReadCoils(address, count)),
        (address, 1_u16..=2000).prop_map(|(address, count)| Request::ReadDiscreteInputs(address, count)),
        (address, 1_u16..=125).prop_map(|(address, count)| Request::ReadHoldingRegisters(address, count)),
        (address, 1_u16..=125).prop_map(|(address, count)| Request::ReadInputRegisters(address, count)),
        (address, any::<bool>()).prop_map(|(address, coil)| Request::WriteSingleCoil(address, coil)),
        (address, any::<u16>()).prop_map(|(address, word)| Request::WriteSingleRegister(address, word)),
        (address, prop::collection::vec(any::<bool>(), 1..1968))
            .prop_map(|(address, coils)| Request::WriteMultipleCoils(address, coils.into())),
        (address, prop::collection::vec(any::<u16>(), 1..123))
            .prop_map(|(address, words)| Request::WriteMultipleRegisters(address, words.into())),
        (address, any::<u16>(), any::<u16>())
            .prop_map(|(address, and, or)| Request::MaskWriteRegister(address, and, or)),
    ]
}

/// What a device would answer, data being the bytes that it has to say.
fn answer(sent: &[u8], data: &[u8]) -> Vec<u8> {
    let function = sent[1];
    let count = u16::from_be_bytes([sent[4], sent[5]]);
    let body = match function {
        1 | 2 => bytes(sent, data, count.div_ceil(8)),
        3 | 4 => bytes(sent, data, count * 2),
        22 => sent[..8].to_vec(),
        _ => sent[..6].to_vec(),
    };
    framed(&body)
}

fn bytes(sent: &[u8], data: &[u8], len: u16) -> Vec<u8> {
    let data = data.iter().cycle().take(len.into());
    [sent[0], sent[1], u8::try_from(len).unwrap()].into_iter().chain(data.copied()).collect()
}

fn framed(body: &[u8]) -> Vec<u8> {
    [body, &CHECKSUM.checksum(body).to_le_bytes()].concat()
}

/// Feeds in chunks; gives the answer and how many bytes were taken at most.
fn feed(ear: &mut Ear, stream: &[u8], chunk: usize) -> Option<Answer> {
    stream.chunks(chunk).find_map(|bytes| {
        let answer = ear.feed(bytes);
        assert!(ear.buffer.len() <= LONGEST_FRAME, "{}", ear.buffer.len());
        answer
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// After any noise and frames of others, in any chunks, the answer is found, and it is what the device said.
    #[test]
    fn the_answer_is_found(
        unit in 1_u8..=247,
        request in any_request(),
        data in prop::collection::vec(any::<u8>(), 1..250),
        noise in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        other in 1_u8..=246,
        echo: bool,
        chunk in 1_usize..300,
    ) {
        let sent = frame(unit, &request).unwrap();
        // Noise that looks like the beginning of what is waited for, again and again.
        let count = u16::from_be_bytes([sent[4], sent[5]]).to_be_bytes()[1].wrapping_mul(2);
        let likely = [unit, sent[1], sent[1] | 0x80, sent[2], sent[3], count, 2, 0, 0xFF];
        let mut stream: Vec<u8> = noise.iter().map(|index| *index.get(&likely)).collect();
        if echo {
            stream.extend(&sent);
        }
        let mut others = answer(&sent, &data);
        others[0] = u8::try_from((u16::from(unit) + u16::from(other)) % 248).unwrap();
        let len = others.len();
        stream.extend(framed(&others[..len - 2]));
        let expected = answer(&sent, &data);
        stream.extend(&expected);
        let mut ear = Ear::new(unit, &request, &sent, echo);
        let found = feed(&mut ear, &stream, chunk);
        let Some(Ok(response)) = found else { return Err(TestCaseError::fail(format!("{found:?}"))) };
        match response {
            Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => {
                let packed: Vec<u8> = bits
                    .chunks(8)
                    .map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
                    .collect();
                prop_assert_eq!(&packed, &expected[3..expected.len() - 2]);
            }
            Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words) => {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                prop_assert_eq!(&bytes, &expected[3..expected.len() - 2]);
            }
            Response::WriteSingleCoil(..)
            | Response::WriteMultipleCoils(..)
            | Response::WriteSingleRegister(..)
            | Response::WriteMultipleRegisters(..)
            | Response::ReportServerId(..)
            | Response::MaskWriteRegister(..)
            | Response::ReadWriteMultipleRegisters(_)
            | Response::ReadDeviceIdentification(_)
            | Response::Custom(..) => {}
        }
    }

    /// An exception is told as such, and any single bit error makes it none.
    #[test]
    fn exceptions_and_bit_errors(
        unit in 1_u8..=247,
        request in any_request(),
        code: u8,
        flip in 0_usize..40,
        data in prop::collection::vec(any::<u8>(), 1..250),
    ) {
        let sent = frame(unit, &request).unwrap();
        let mut exception = framed(&[unit, sent[1] | 0x80, code]);
        let heard = Ear::new(unit, &request, &sent, false).feed(&exception);
        prop_assert_eq!(heard, Some(Err(ExceptionCode::new(code))));
        exception[flip / 8] ^= 1 << (flip % 8);
        prop_assert!(Ear::new(unit, &request, &sent, false).feed(&exception).is_none());
        let mut expected = answer(&sent, &data);
        let at = flip * 37 % (expected.len() * 8);
        expected[at / 8] ^= 1 << (at % 8);
        prop_assert!(Ear::new(unit, &request, &sent, false).feed(&expected).is_none());
    }

    /// Bytes that are no answer are never one.
    #[test]
    fn noise_is_no_answer(
        unit in 1_u8..=247,
        request in any_request(),
        noise in prop::collection::vec(any::<u8>(), 0..2000),
        echo: bool,
        chunk in 1_usize..300,
    ) {
        let sent = frame(unit, &request).unwrap();
        let mut ear = Ear::new(unit, &request, &sent, echo);
        prop_assert!(feed(&mut ear, &noise, chunk).is_none());
        prop_assert_eq!(ear.noise + ear.buffer.len(), noise.len());
    }
}

/// Frames of the specification and of manuals.
#[test]
fn known_frames() {
    for (unit, request, expected) in [
        (1, Request::ReadHoldingRegisters(0, 10), "01 03 00 00 00 0A C5 CD"),
        (17, Request::ReadHoldingRegisters(0x6B, 3), "11 03 00 6B 00 03 76 87"),
        (17, Request::WriteSingleCoil(0xAC, true), "11 05 00 AC FF 00 4E 8B"),
        (17, Request::WriteSingleRegister(1, 3), "11 06 00 01 00 03 9A 9B"),
        (
            17,
            Request::WriteMultipleRegisters(1, vec![10, 0x102].into()),
            "11 10 00 01 00 02 04 00 0A 01 02 C6 F0",
        ),
        (17, Request::ReadCoils(0x13, 0x25), "11 01 00 13 00 25 0E 84"),
    ] {
        let hex: Vec<String> =
            frame(unit, &request).unwrap().iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(hex.join(" "), expected);
    }
    assert!(frame(1, &Request::WriteMultipleRegisters(1, vec![0; 124].into())).is_err());
}

/// What `tokio-modbus` alone makes of it, which is why it is shown nothing but the answer. If one of these changes, the
/// rules above can become simpler.
#[test]
fn the_client_alone() {
    let request = Request::ReadHoldingRegisters(0x2000, 1);
    let good = framed(&[3, 3, 2, 4, 0xE2]);
    let alone = |stream: &[u8]| {
        let (mut ours, mut call) = client(3, &request);
        assert!(at_once(&mut call).is_none());
        at_once(ours.write_all(stream)).unwrap().unwrap();
        at_once(call).map(|answer| answer.map_err(|e| e.to_string()))
    };
    assert_eq!(alone(&good), Some(Ok(Ok(Response::ReadHoldingRegisters(vec![0x4E2])))));
    // Noise that looks like a length is waited for; the answer behind it is not seen.
    assert_eq!(alone(&[[3, 3, 0xF0].as_slice(), &good].concat()), None);
    // Much noise, or another unit, and it gives up.
    assert!(alone(&[[0x55; 40].as_slice(), &good].concat()).unwrap().is_err());
    assert!(alone(&[framed(&[4, 3, 2, 0, 1]), good.clone()].concat()).unwrap().is_err());
    // More registers than were asked for.
    let two = alone(&framed(&[3, 3, 4, 0, 1, 0, 2]));
    assert_eq!(two, Some(Ok(Ok(Response::ReadHoldingRegisters(vec![1, 2])))));
}

/// An exception behind the beginning of what would have been longer.
#[test]
fn an_exception_after_half_an_answer() {
    let request = Request::ReadHoldingRegisters(1, 4);
    let sent = frame(3, &request).unwrap();
    let exception = framed(&[3, 0x83, 2]);
    for before in [&[3, 3, 8][..], &[3, 3, 8, 0, 0], &[3, 3, 3, 3, 8], &[3, 0x83]] {
        let mut ear = Ear::new(3, &request, &sent, false);
        let stream = [before, &exception, &[0; 13]].concat();
        assert_eq!(ear.feed(&stream), Some(Err(ExceptionCode::IllegalDataAddress)), "{before:?}");
    }
}
