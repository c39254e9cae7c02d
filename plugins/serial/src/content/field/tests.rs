use proptest::prelude::*;

use super::*;
use crate::content::value::Values;

fn convert(value: &Value) -> Convert {
    Values::parse(Some(&json!({"x": value}))).unwrap().of("x")
}

#[test]
fn values_and_their_bytes() {
    for (name, value, bytes) in [
        ("u8", json!(255), &[0xff][..]),
        ("i8", json!(-1), &[0xff]),
        ("u16be", json!(0x1234), &[0x12, 0x34]),
        ("u16le", json!(0x1234), &[0x34, 0x12]),
        ("i16le", json!(-2), &[0xfe, 0xff]),
        ("u24be", json!(0x0001_0203), &[1, 2, 3]),
        ("i24le", json!(-1), &[0xff, 0xff, 0xff]),
        ("i32be", json!(i32::MIN), &[0x80, 0, 0, 0]),
        ("u64le", json!(u64::MAX), &[0xff; 8]),
        ("i64be", json!(i64::MIN), &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("f32be", json!(0.1), &[0x3d, 0xcc, 0xcc, 0xcd]),
        ("f32le", json!(-1.0), &[0, 0, 0x80, 0xbf]),
        ("f64be", json!(1.0), &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
        ("bcd2", json!(1234), &[0x12, 0x34]),
        ("bcd2le", json!(1234), &[0x34, 0x12]),
        ("bcd9", json!(999_999_999_999_999_999_u64), &[0x99; 9]),
        ("text4", json!("ab"), b"ab  "),
        ("bytes3", json!("AAEC"), &[0, 1, 2]),
        ("bytes", json!(""), &[]),
    ] {
        let field = Field::parse(name).unwrap();
        assert_eq!(field.to_string(), name);
        assert_eq!(field.encode(&value, Convert::default()).as_deref(), Ok(bytes), "{name}");
        assert_eq!(field.decode(bytes, Convert::default()), Ok(value), "{name}");
    }
    let scaled = convert(&json!({"scale": 0.01}));
    let field = Field::parse("u16be").unwrap();
    assert_eq!(field.encode(&json!(50.005), scaled), Ok(vec![0x13, 0x89]), "rounded to nearest");
    assert_eq!(field.decode(&[0x13, 0x88], scaled), Ok(json!(50.0)));
    let boolean = convert(&json!("boolean"));
    assert_eq!(field.encode(&json!(true), boolean), Ok(vec![0, 1]));
    assert_eq!(field.decode(&[0, 2], boolean), Ok(json!(true)));
    assert_eq!(field.encode(&json!(3.0), Convert::default()), Ok(vec![0, 3]), "a whole number all the same");
}

#[test]
fn what_does_not_fit() {
    for (name, value, expected) in [
        ("u8", json!(256), "256 does not fit u8: 0 to 255"),
        ("u8", json!(-1), "-1 does not fit u8: 0 to 255"),
        ("i16be", json!(40_000), "40000 does not fit i16be: -32768 to 32767"),
        ("u8", json!(1.5), "1.5 is no whole number"),
        ("u8", json!("1"), "the text \"1\" is no number"),
        ("u8", Value::Null, "nothing is no number"),
        ("u64be", json!(1e300), "1e+300 does not fit u64be"),
        ("f32be", json!(1e300), "1"),
        ("bcd1", json!(100), "100 does not fit bcd1: 0 to 99"),
        ("text2", json!("abc"), "has 3 bytes, and the field has 2"),
        ("text2", json!("\r"), "holds characters that are not printable ASCII"),
        ("bytes2", json!("AAEC"), "is base64 of 3 bytes, and the field has 2"),
        ("bytes", json!("?"), "is not base64"),
    ] {
        let message = Field::parse(name).unwrap().encode(&value, Convert::default()).unwrap_err();
        assert!(message.starts_with(expected), "{name}: {message}");
    }
    let scaled = convert(&json!({"scale": 0.01}));
    let message = Field::parse("u16be").unwrap().encode(&json!(700), scaled).unwrap_err();
    assert_eq!(message, "700 does not fit u16be: 0.0 to 655.35");
    for (name, bytes, expected) in [
        ("bcd1", &[0x1a][..], "1A is no BCD number"),
        ("f32be", &[0x7f, 0xc0, 0, 0], "7F C0 00 00 is no finite number"),
        ("text2", b"\x01a", "01 61 is no printable ASCII"),
    ] {
        let message = Field::parse(name).unwrap().decode(bytes, Convert::default()).unwrap_err();
        assert_eq!(message, expected);
    }
}

#[test]
fn types_that_are_none() {
    for (name, expected) in [
        ("u16", "\"u16\" has no byte order; write `u16be` (high byte first) or `u16le`"),
        ("f64", "\"f64\" has no byte order"),
        ("u16eb", "\"u16eb\" is no type of a field; did you mean `u16be`?"),
        ("int", "\"int\" is no type of a field; "),
        ("u12be", "\"u12be\" is no type of a field; did you mean"),
        ("bcd", "\"bcd\" must say how many bytes, 1 to 9, such as `bcd2`"),
        ("text0", "\"text0\" must say how many bytes"),
        ("text", "\"text\" must say how many bytes"),
        ("bytes9999", "\"bytes9999\" must say how many bytes"),
        ("u99999999999999999999999be", "\"u99999999999999999999999be\" is no type"),
        ("", "\"\" is no type of a field"),
        ("\u{e9}8", "\"\u{e9}8\" is no type of a field"),
    ] {
        let message = Field::parse(name).unwrap_err();
        assert!(message.starts_with(expected), "{name}: {message}");
    }
}

#[test]
fn schemas_of_fields() {
    for (name, values, expected) in [
        ("u8", json!({}), json!({"type": "integer", "minimum": 0, "maximum": 255})),
        ("u16be", json!({"scale": 0.01}), json!({"type": "number", "minimum": 0.0, "maximum": 655.35})),
        ("u8", json!({"offset": -40}), json!({"type": "integer", "minimum": -40, "maximum": 215})),
        ("i8", json!({"scale": -1}), json!({"type": "integer", "minimum": -127, "maximum": 128})),
        ("u8", json!({"type": "boolean"}), json!({"type": "boolean"})),
        ("u64be", json!({}), json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})),
        ("bcd1", json!({}), json!({"type": "integer", "minimum": 0, "maximum": 99})),
        ("f32le", json!({}), json!({"type": "number"})),
        ("text4", json!({}), json!({"type": "string", "maxLength": 4})),
    ] {
        assert_eq!(Field::parse(name).unwrap().schema(convert(&values)), expected, "{name}");
    }
}

proptest! {
    #[test]
    fn bytes_there_and_back(which in 0..NAMES.len(), bytes in prop::collection::vec(any::<u8>(), 12)) {
        let field = Field::parse(NAMES[which]).unwrap();
        let bytes = &bytes[..field.len().unwrap_or(7)];
        if let Ok(value) = field.decode(bytes, Convert::default()) {
            let again = field.encode(&value, Convert::default()).unwrap();
            let same = field.decode(&again, Convert::default()).unwrap();
            prop_assert_eq!(&same, &value);
            if !matches!(field, Field::Text(_)) {
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn any_value_is_encoded_or_refused(which in 0..NAMES.len(), number in any::<f64>(), whole in any::<i64>(), text in ".{0,12}") {
        let field = Field::parse(NAMES[which]).unwrap();
        for value in [json!(number), json!(whole), json!(text)] {
            match field.encode(&value, Convert::default()) {
                Ok(bytes) => prop_assert!(field.len().is_none_or(|len| len == bytes.len())),
                Err(message) => prop_assert!(!message.contains(char::is_control)),
            }
        }
    }

    #[test]
    fn any_name_is_a_type_or_a_mistake(name in "[a-z]{0,6}[0-9]{0,4}[a-z]{0,3}") {
        if let Ok(field) = Field::parse(&name) {
            prop_assert_eq!(Field::parse(&field.to_string()), Ok(field));
        }
    }
}
