use proptest::prelude::*;

use super::*;

fn number(kind: Kind, order: &str, scale: f64, offset: f64) -> Number {
    Number { kind, order: Order::parse(order).unwrap(), scale, offset }
}

/// The same number in all four orders, as manuals print it.
#[test]
fn orders() {
    for (order, long, longer) in [
        ("ABCD", [0x1122, 0x3344], [0x1122, 0x3344, 0x5566, 0x7788]),
        ("CDAB", [0x3344, 0x1122], [0x7788, 0x5566, 0x3344, 0x1122]),
        ("BADC", [0x2211, 0x4433], [0x2211, 0x4433, 0x6655, 0x8877]),
        ("DCBA", [0x4433, 0x2211], [0x8877, 0x6655, 0x4433, 0x2211]),
    ] {
        let value = json!(0x1122_3344_u32);
        assert_eq!(number(Kind::U32, order, 1.0, 0.0).encode(&value).unwrap(), long, "{order}");
        assert_eq!(number(Kind::U32, order, 1.0, 0.0).decode(&long), value, "{order}");
        let value = json!(0x1122_3344_5566_7788_u64);
        assert_eq!(number(Kind::U64, order, 1.0, 0.0).encode(&value).unwrap(), longer, "{order}");
        assert_eq!(number(Kind::U64, order, 1.0, 0.0).decode(&longer), value, "{order}");
        assert_eq!(Order::parse(order).unwrap().name(), order);
    }
    assert_eq!(number(Kind::U16, "BA", 1.0, 0.0).encode(&json!(0x1122)).unwrap(), [0x2211]);
    assert_eq!(number(Kind::F32, "ABCD", 1.0, 0.0).encode(&json!(21.5)).unwrap(), [0x41AC, 0]);
    assert_eq!(number(Kind::F32, "CDAB", 1.0, 0.0).decode(&[0xCCCD, 0x3DCC]), json!(0.1));
    assert_eq!(number(Kind::F64, "ABCD", 1.0, 0.0).decode(&[0x3FF8, 0, 0, 0]), json!(1.5));
    assert_eq!(number(Kind::F32, "ABCD", 1.0, 0.0).decode(&[0x7FC0, 0]), Value::Null);
    assert_eq!(number(Kind::F64, "ABCD", 1.0, 0.0).decode(&[0xFFF0, 0, 0, 0]), Value::Null);
}

#[test]
fn scaled_values_are_what_people_would_write() {
    for (kind, scale, offset, raw, value) in [
        (Kind::U16, 0.01, 0.0, 1234, "12.34"),
        (Kind::U16, 0.1, 0.0, 3, "0.3"),
        (Kind::I16, 0.1, 0.0, -1, "-0.1"),
        (Kind::I16, 0.1, 0.0, 0, "0.0"),
        (Kind::U16, 0.1, -40.0, 0, "-40.0"),
        (Kind::U16, 0.1, -40.0, 400, "0.0"),
        (Kind::I16, -0.5, 0.25, 1, "-0.25"),
        (Kind::U16, 10.0, 0.0, 7, "70"),
        (Kind::U16, 1.0, 5.0, 7, "12"),
        (Kind::U32, 0.001, 0.0, 4_294_967_295, "4294967.295"),
        (Kind::U16, 1e-7, 0.0, 3, "3e-7"),
    ] {
        let number = number(kind, "ABCD", scale, offset);
        let value: Value = serde_json::from_str(value).unwrap();
        assert_eq!(number.value(raw), value);
        let words = number.encode(&value).unwrap();
        assert_eq!(number.decode(&words), value);
    }
}

#[test]
fn written_to_the_nearest() {
    let hertz = number(Kind::U16, "ABCD", 0.01, 0.0);
    for (value, raw) in
        [(json!(0.014), 1), (json!(0.016), 2), (json!(50), 5000), (json!(0.29), 29), (json!(655.35), 65535)]
    {
        assert_eq!(hertz.encode(&value).unwrap(), [raw], "{value}");
    }
    assert_eq!(number(Kind::I16, "ABCD", 1.0, 0.0).encode(&json!(-2.0)).unwrap(), [0xFFFE]);
}

#[test]
fn what_does_not_fit_is_refused() {
    for (kind, scale, value, expected) in [
        (Kind::U16, 1.0, json!(65536), "65536 is out of range; a u16 holds 0 to 65535"),
        (Kind::U16, 1.0, json!(-1), "-1 is out of range; a u16 holds 0 to 65535"),
        (Kind::I16, 1.0, json!(1.5), "1.5 is not a whole number, which a i16 without `scale` holds"),
        (Kind::U64, 1.0, json!(-1), "-1 is out of range; a u64 holds 0 to 18446744073709551615"),
        (Kind::I64, 1.0, json!(u64::MAX), "18446744073709551615 is out of range; a i64 holds"),
        (Kind::I32, 1.0, json!(1e300), "1e+300 is out of range; a i32 holds -2147483648 to 2147483647"),
        (
            Kind::U16,
            0.01,
            json!(655.36),
            "655.36 is out of range; a u16 with this `scale` and `offset` holds 0.0 to 655.35",
        ),
        (
            Kind::F32,
            1.0,
            json!(1e39),
            "1e+39 is out of range; a f32 holds -3.4028234663852886e+38 to 3.4028234663852886e+38",
        ),
        (Kind::F64, 1e-300, json!(1e300), "1e+300 is out of range; it does not go into a f64"),
        (Kind::U16, 1.0, json!("x"), "\"x\" is not a number"),
        (Kind::U16, 1.0, Value::Null, "null is not a number"),
    ] {
        let message = number(kind, "ABCD", scale, 0.0).encode(&value).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    let long = number(Kind::U16, "ABCD", 1.0, 0.0).encode(&json!("x".repeat(1000))).unwrap_err().to_string();
    assert!(long.len() < 100, "{long}");
}

#[test]
fn schemas() {
    for (kind, scale, offset, expected) in [
        (Kind::U16, 0.01, 0.0, json!({"type": "number", "minimum": 0.0, "maximum": 655.35})),
        (Kind::I16, -0.1, 0.0, json!({"type": "number", "minimum": -3276.7, "maximum": 3276.8})),
        (Kind::U64, 1.0, 0.0, json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})),
        (Kind::I16, 1.0, 0.0, json!({"type": "integer", "minimum": -32768, "maximum": 32767})),
        (Kind::F64, 1.0, 0.0, json!({"type": "number"})),
    ] {
        assert_eq!(number(kind, "ABCD", scale, offset).schema(), expected);
    }
}

#[test]
fn texts() {
    let text = Text { length: 5, swapped: false };
    assert_eq!(text.encode(&json!("ABC")).unwrap(), [0x4142, 0x4300, 0]);
    assert_eq!(text.decode(&[0x4142, 0x4320, 0x4445]), json!("ABC D"), "the sixth is beyond `length`");
    assert_eq!(text.decode(&[0x4142, 0x2000, 0x4445]), json!("AB"));
    assert_eq!(text.decode(&[0x41FF, 0x0A42, 0]), json!("A\u{FFFD}\u{FFFD}B"));
    let swapped = Text { length: 4, swapped: true };
    assert_eq!(swapped.encode(&json!("ABCD")).unwrap(), [0x4241, 0x4443]);
    assert_eq!(swapped.decode(&[0x4241, 0x4443]), json!("ABCD"));
    for (value, expected) in [
        (json!("ABCDEF"), "the text has 6 characters, more than `length` = 5"),
        (json!("A\n"), "the text holds a character that is not printable ASCII"),
        (json!("\u{e4}"), "the text holds a character that is not printable ASCII"),
        (json!(5), "5 is not a text"),
    ] {
        assert_eq!(text.encode(&value).unwrap_err().to_string(), expected);
    }
}

fn any_number() -> impl Strategy<Value = Number> {
    let scale = prop_oneof![
        4 => Just(1.0),
        4 => prop::sample::select(vec![0.1, 0.01, 0.001, 0.5, 0.02, 10.0, -0.1, 2.5, 1e-6, 0.15]),
        1 => (1_i32..100_000).prop_map(|scale| f64::from(scale) / 1000.0),
    ];
    let offset = prop_oneof![4 => Just(0.0), 1 => prop::sample::select(vec![-40.0, 273.15, 0.5, 1000.0])];
    let kind = prop::sample::select(Kind::NAMES.to_vec());
    let order = prop::sample::select(Order::LONG.to_vec());
    (kind, order, scale, offset)
        .prop_map(|((_, kind), order, scale, offset)| number(kind, order, scale, offset))
}

proptest! {
    /// Whatever registers hold: what is read from them is written as the same again, as far as an `f64` is exact.
    #[test]
    fn read_and_written_again(number in any_number(), words in prop::array::uniform4(any::<u16>())) {
        let words = &words[..number.kind.registers().into()];
        let value = number.decode(words);
        let exact = number.plain() || matches!(number.kind, Kind::U16 | Kind::I16 | Kind::U32 | Kind::I32);
        match number.encode(&value) {
            Ok(again) if exact => prop_assert_eq!(again, words),
            // A float is scaled, and so rounded, twice; a large whole number goes through a float.
            Ok(again) => {
                let (a, b) = (value.as_f64().unwrap(), number.decode(&again).as_f64().unwrap());
                prop_assert!((a - b).abs() <= a.abs() * 1e-6 + number.offset.abs() * 1e-6 + 1e-30, "{} {}", a, b);
            }
            // No number at all, or one at the very edge of what an `f64` tells apart.
            Err(e) => prop_assert!(value.is_null() || !exact, "{}", e),
        }
    }

    /// Whatever is given: it is refused, or read back within half a step.
    #[test]
    fn written_and_read_again(number in any_number(), value in any::<f64>()) {
        let value = json!(value);
        if let Ok(words) = number.encode(&value) {
            prop_assert_eq!(words.len(), usize::from(number.kind.registers()));
            let (a, b) = (value.as_f64().unwrap(), number.decode(&words).as_f64().unwrap());
            let step = match number.kind {
                Kind::F32 | Kind::F64 => 1e-44 * number.scale.abs(),
                Kind::U16 | Kind::I16 | Kind::U32 | Kind::I32 | Kind::U64 | Kind::I64 => number.scale.abs() / 2.0,
            };
            prop_assert!((a - b).abs() <= step * 1.001 + a.abs().max(number.offset.abs()) * 1e-6, "{} {}", a, b);
        }
    }

    /// What the schema allows is never refused, as far as an `f64` is exact.
    #[test]
    fn the_schema_allows_what_fits(number in any_number(), part in 0.0_f64..=1.0) {
        let schema = number.schema();
        if let (Some(minimum), Some(maximum)) = (schema["minimum"].as_f64(), schema["maximum"].as_f64())
            && !matches!(number.kind, Kind::U64 | Kind::I64)
        {
            let value = minimum + (maximum - minimum) * part;
            let value = if number.plain() && number.kind.bounds().is_some() { value.round() } else { value };
            prop_assert!(number.encode(&json!(value)).is_ok(), "{}", value);
        }
    }

    #[test]
    fn any_text(text in "[ -~]{0,12}", length in 1_u16..12, swapped: bool) {
        let kind = Text { length, swapped };
        match kind.encode(&json!(text)) {
            Ok(words) => prop_assert_eq!(kind.decode(&words), json!(text.trim_end_matches(' '))),
            Err(_) => prop_assert!(text.len() > length.into()),
        }
    }
}
