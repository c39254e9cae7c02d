use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use zbus::message::Message;

use super::*;
use crate::json::{body_to_json, response};
use crate::types::{SignatureError, parse_signature};

mod corpus;

/// Sends values through a real message, as JSON.
fn round_trip(signature: &str, values: &[Value]) -> Result<Value, String> {
    let given: Vec<Given> = values.iter().cloned().map(Given::from).collect();
    through(signature, &given).map(response)
}

fn through(signature: &str, values: &[Given]) -> Result<Vec<Value>, String> {
    let types = parse_signature(signature).map_err(|e| e.to_string())?;
    assert_eq!(types.len(), values.len(), "{signature}");
    let mut structure = Structure::builder();
    for (index, (value, signature)) in values.iter().zip(&types).enumerate() {
        let place = format!("argument {}", index + 1);
        structure = structure.append_field(to_dbus(value, signature, &place).map_err(|e| e.to_string())?);
    }
    let message =
        Message::method_call("/", "M").build(&structure.build().unwrap()).map_err(|e| e.to_string())?;
    Ok(body_to_json(&message.body()).unwrap())
}

#[test]
fn every_type_there_and_back() {
    for (signature, value) in [
        ("y", json!(255)),
        ("b", json!(true)),
        ("n", json!(-32768)),
        ("q", json!(65535)),
        ("i", json!(i32::MIN)),
        ("u", json!(u32::MAX)),
        ("x", json!(i64::MIN)),
        ("t", json!(u64::MAX)),
        ("d", json!(0.25)),
        ("s", json!("grüße\n")),
        ("o", json!("/com/example/window/left")),
        ("g", json!("a{sv}")),
        ("ay", json!("AAECAw==")),
        ("ay", json!("")),
        ("as", json!(["a", "b"])),
        ("as", json!([])),
        ("aai", json!([[1, 2], [], [3]])),
        ("(sib)", json!(["a", 1, false])),
        ("(s)", json!(["one"])),
        ("((uu)a(ss))", json!([[1, 2], [["a", "b"]]])),
        ("a{sv}", json!({"n": 5, "f": 1.5, "s": "t", "b": true, "l": [1, "x"], "o": {"k": 1}})),
        ("a{is}", json!({"5": "five", "-1": "minus one"})),
        ("a{bs}", json!({"true": "yes"})),
        ("a{oy}", json!({"/a": 1})),
        ("a{sa{sv}}", json!({"iface": {"Prop": 1}})),
        ("v", json!(-1)),
        ("v", json!(u64::MAX)),
        ("v", json!([])),
        ("av", json!([1, "two", [3.5], {"four": false}])),
    ] {
        assert_eq!(round_trip(signature, std::slice::from_ref(&value)), Ok(value), "{signature}");
    }
    let several = [json!(1), json!("AA=="), json!("x")];
    assert_eq!(round_trip("uays", &several), Ok(several.to_vec().into()));
    assert_eq!(response(several.to_vec()), json!([1, "AA==", "x"]));
    assert_eq!(response(vec![json!([1, 2])]), json!([1, 2]));
    assert_eq!(response(vec![]), Value::Null);
}

#[test]
fn other_forms_are_taken() {
    for (signature, value, back) in [
        ("ay", json!([0, 1, 255]), json!("AAH/")),
        ("u", json!(5.0), json!(5)),
        ("d", json!(5), json!(5.0)),
        ("i", json!(-2.0), json!(-2)),
    ] {
        assert_eq!(round_trip(signature, &[value]), Ok(back), "{signature}");
    }
}

fn typed(signature: &str, value: Value) -> Given {
    let signature = crate::types::parse_type(signature).unwrap();
    Given::Typed { signature, value: Box::new(value.into()) }
}

#[test]
fn a_map_says_the_type_of_a_variants_content() {
    let dict = |value: Given| Given::Object(vec![("k".into(), value), ("n".into(), json!(5).into())]);
    for (signature, value, sent, back) in [
        ("v", typed("u", json!(5)), "u", json!(5)),
        ("v", typed("ay", json!("AAE=")), "ay", json!("AAE=")),
        ("v", typed("(us)", json!([1, "x"])), "(us)", json!([1, "x"])),
        ("v", typed("v", json!(5)), "v", json!(5)),
        ("v", json!(5).into(), "x", json!(5)),
        ("a{sv}", dict(typed("y", json!(3))), "", json!({"k": 3, "n": 5})),
        ("v", dict(typed("y", json!(3))), "a{sv}", json!({"k": 3, "n": 5})),
        ("av", Given::Array(vec![typed("q", json!(3))]), "", json!([3])),
        ("u", typed("u", json!(3)), "", json!(3)),
        // What a caller sends is never taken for it.
        ("v", json!({"$type": "u", "value": 5}).into(), "a{sv}", json!({"$type": "u", "value": 5})),
    ] {
        let types = parse_signature(signature).unwrap();
        if let Variant::Variant(content) = to_dbus(&value, &types[0], "v").unwrap()
            && !sent.is_empty()
        {
            assert_eq!(content.value_signature().to_string(), sent, "{value}");
        }
        assert_eq!(through(signature, &[value]), Ok(vec![back]), "{signature}");
    }
    for (signature, value, expected) in [
        ("v", typed("y", json!(256)), "argument 1: expected an integer from 0 to 255 (y), got 256"),
        (
            "u",
            typed("y", json!(1)),
            "argument 1: expected an integer from 0 to 4294967295 (u), got a value of the type \"y\"",
        ),
        (
            "a{sv}",
            dict(typed("y", json!("x"))),
            "argument 1[\"k\"]: expected an integer from 0 to 255 (y), got \"x\"",
        ),
    ] {
        assert_eq!(through(signature, &[value]), Err(expected.into()), "{signature}");
    }
    let value = Given::Json { value: json!([1, "x"]), from: Some("request.list".into()) };
    assert_eq!(
        through("au", &[value]),
        Err("request.list[1]: expected an integer from 0 to 4294967295 (u), got \"x\"".into())
    );
}

#[test]
fn numbers_keep_their_digits() {
    const BEYOND: i64 = 9_007_199_254_740_993;
    for (signature, value) in [
        ("x", json!(BEYOND)),
        ("t", json!(u64::MAX)),
        ("v", json!(BEYOND)),
        ("d", json!(9_007_199_254_740_992_i64)),
        ("d", json!(1e300)),
        ("d", json!(0.1)),
        ("x", json!(9_007_199_254_740_992.0)),
        ("d", json!(i64::MIN)),
    ] {
        let back = round_trip(signature, std::slice::from_ref(&value)).unwrap();
        assert!(crate::json::same(&back, &value), "{signature}: {value} {back}");
    }
    for (signature, value) in [
        ("d", json!(BEYOND)),
        ("d", json!(u64::MAX)),
        ("x", json!(1e17)),
        ("t", json!(1e17)),
        ("u", json!(1e17)),
    ] {
        assert!(round_trip(signature, std::slice::from_ref(&value)).is_err(), "{signature}: {value}");
    }
}

#[test]
fn one_structure_is_not_its_fields_side_by_side() {
    for (signature, values) in [
        ("uu", vec![json!(1), json!(2)]),
        ("(uu)", vec![json!([1, 2])]),
        ("(u)", vec![json!([1])]),
        ("(u)(u)", vec![json!([1]), json!([2])]),
        ("((u)(u))", vec![json!([[1], [2]])]),
        ("(u)u", vec![json!([1]), json!(2)]),
    ] {
        let given: Vec<Given> = values.iter().cloned().map(Given::from).collect();
        assert_eq!(through(signature, &given), Ok(values), "{signature}");
    }
}

#[test]
fn what_does_not_fit_is_told() {
    for (signature, value, expected) in [
        ("y", json!(256), "argument 1: expected an integer from 0 to 255 (y), got 256"),
        ("y", json!(-1), "argument 1: expected an integer from 0 to 255 (y), got -1"),
        ("n", json!(32768), "argument 1: expected an integer from -32768 to 32767 (n), got 32768"),
        ("q", json!(65536), "argument 1: expected an integer from 0 to 65535 (q), got 65536"),
        (
            "i",
            json!(2_147_483_648_u32),
            "argument 1: expected an integer from -2147483648 to 2147483647 (i), got 2147483648",
        ),
        ("u", json!(-1), "argument 1: expected an integer from 0 to 4294967295 (u), got -1"),
        (
            "x",
            json!(u64::MAX),
            "argument 1: expected an integer from -9223372036854775808 to 9223372036854775807 (x), got 18446744073709551615",
        ),
        ("t", json!(-1), "argument 1: expected an integer from 0 to 18446744073709551615 (t), got -1"),
        ("u", json!(1.5), "argument 1: expected an integer from 0 to 4294967295 (u), got 1.5"),
        (
            "x",
            json!(1e300),
            "argument 1: expected an integer from -9223372036854775808 to 9223372036854775807 (x), got 1e+300",
        ),
        ("u", json!("1"), "argument 1: expected an integer from 0 to 4294967295 (u), got \"1\""),
        (
            "d",
            json!("1"),
            "argument 1: expected a number that 64 bits of floating point hold exactly (d), got \"1\"",
        ),
        ("b", json!(1), "argument 1: expected true or false (b), got 1"),
        ("s", json!(1), "argument 1: expected a text without NUL (s), got 1"),
        ("s", json!("a\0b"), "argument 1: expected a text without NUL (s), got \"a b\""),
        (
            "o",
            json!("window"),
            "argument 1: expected an object path such as \"/com/example\" (o), got \"window\"",
        ),
        ("g", json!("a"), "argument 1: expected a D-Bus signature (g), got \"a\""),
        ("v", Value::Null, "argument 1: expected anything but null (v), got null"),
        ("av", json!([1, null]), "argument 1[1]: expected anything but null (v), got null"),
        ("ay", json!("%"), "argument 1: expected bytes in base64, or an array of numbers (ay), got \"%\""),
        ("as", json!({}), "argument 1: expected an array (as), got an object"),
        ("as", json!(["a", 1]), "argument 1[1]: expected a text without NUL (s), got 1"),
        ("(si)", json!(["a"]), "argument 1: expected an array of 2 values ((si)), got an array of 1"),
        ("a{su}", json!([]), "argument 1: expected an object (a{su}), got an array of 0"),
        (
            "a{su}",
            json!({"k": -1}),
            "argument 1[\"k\"]: expected an integer from 0 to 4294967295 (u), got -1",
        ),
        ("a{us}", json!({"5": "v", "5.0": "w"}), "argument 1: expected keys that differ, got an object"),
        (
            "a{us}",
            json!({"k": "v"}),
            "argument 1[\"k\"] (its key): expected an integer from 0 to 4294967295 (u), got \"k\"",
        ),
    ] {
        assert_eq!(round_trip(signature, &[value]), Err(expected.into()), "{signature}");
    }
    assert_eq!(
        parse_signature("h").unwrap_err().to_string(),
        "\"h\" holds a file descriptor (h), which cannot be sent from JSON"
    );
    assert!(matches!(parse_signature("a{sah}"), Err(SignatureError::FileDescriptor(_))));
    assert!(parse_signature(&"u".repeat(253)).is_ok());
    for text in ["u".repeat(253), format!("({})", "u".repeat(251))] {
        let values: Vec<Value> = vec![json!(1); 253];
        assert!(text.starts_with('(') || round_trip(&text, &values).is_ok());
        assert!(round_trip("g", &[json!(text)]).is_ok());
        assert!(round_trip("v", &[json!(text)]).is_ok());
    }
    assert!(round_trip("g", &[json!("u".repeat(254))]).is_err());
    assert_eq!(parse_signature(&"u".repeat(254)), Err(SignatureError::TooLong));
    for malformed in ["z", "a", "(", "s)", ")(", "()", "a{vs}", "mi"] {
        assert!(matches!(parse_signature(malformed), Err(SignatureError::Malformed(_))), "{malformed}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "k": inner }));
    assert_eq!(round_trip("v", &[deep(14)]), Ok(deep(14)));
    assert!(round_trip("v", &[deep(100)]).unwrap_err().contains("levels of nesting"));
    let arrays = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(round_trip("v", &[arrays(14)]), Ok(arrays(14)));
    assert!(round_trip("v", &[arrays(100)]).is_err());
}

/// Any JSON.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-300_i64..300).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        "/[a-z]{1,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,4}", inner), 0..4).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// The text of any one complete type.
fn any_type() -> impl Strategy<Value = String> {
    let basic = || prop::sample::select(vec!["y", "b", "n", "q", "i", "u", "x", "t", "d", "s", "o", "g"]);
    let leaf = prop_oneof![basic().prop_map(String::from), Just("v".to_owned())];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| format!("a{item}")),
            (basic(), inner.clone()).prop_map(|(key, value)| format!("a{{{key}{value}}}")),
            vec(inner, 1..4).prop_map(|fields| format!("({})", fields.concat())),
        ]
    })
}

/// A type and a value of it, in the form in which results come.
fn typed_values() -> impl Strategy<Value = (String, Value)> {
    fn pair(name: &str, values: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<(String, Value)> {
        let name = name.to_owned();
        values.prop_map(move |value| (name.clone(), value)).boxed()
    }
    let leaf = prop_oneof![
        pair("y", any::<u8>().prop_map(Value::from)),
        pair("b", any::<bool>().prop_map(Value::from)),
        pair("n", any::<i16>().prop_map(Value::from)),
        pair("q", any::<u16>().prop_map(Value::from)),
        pair("i", any::<i32>().prop_map(Value::from)),
        pair("u", any::<u32>().prop_map(Value::from)),
        pair("x", any::<i64>().prop_map(Value::from)),
        pair("t", any::<u64>().prop_map(Value::from)),
        pair("d", (-1e9..1e9).prop_map(Value::from)),
        pair("s", "[^\0]{0,12}".prop_map(Value::from)),
        pair("o", "(/[A-Za-z0-9_]{1,6}){1,3}".prop_map(Value::from)),
        pair("ay", vec(any::<u8>(), 0..16).prop_map(|bytes| BASE64.encode(bytes).into())),
        pair("as", vec("[^\0]{0,6}", 0..4).prop_map(Value::from)),
        pair("v", any::<i64>().prop_map(Value::from)),
        pair("v", "[^\0]{0,6}".prop_map(Value::from)),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(|fields| {
                let (types, values): (Vec<String>, Vec<Value>) = fields.into_iter().unzip();
                (format!("({})", types.concat()), values.into())
            }),
            (inner.clone(), 0_usize..3)
                .prop_filter("bytes have a form of their own", |((name, _), _)| name != "y")
                .prop_map(|((name, value), count)| (format!("a{name}"), vec![value; count].into())),
            (inner.clone(), "[^\0]{0,6}")
                .prop_map(|((name, value), key)| { (format!("a{{s{name}}}"), json!({ key: value })) }),
            (inner, any::<i32>()).prop_map(|((name, value), key)| {
                (format!("a{{i{name}}}"), json!({ key.to_string(): value }))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics(signature in any_type(), value in any_json()) {
        // An error or a value, and what was sent can be read.
        drop(round_trip(&signature, &[value]));
    }

    #[test]
    fn a_variant_takes_whatever_is_not_null(value in any_json()) {
        let text = value.to_string();
        let sent = round_trip("v", std::slice::from_ref(&value));
        if !text.contains("null") && !text.contains("\\u0000") {
            prop_assert_eq!(sent, Ok(value));
        }
    }

    #[test]
    fn what_fits_comes_back((signature, value) in typed_values()) {
        prop_assert_eq!(round_trip(&signature, std::slice::from_ref(&value)), Ok(value), "{}", signature);
    }

    #[test]
    fn what_fits_fits_in_a_variant_of_its_type((signature, value) in typed_values()) {
        let given = typed(&signature, value.clone());
        prop_assert_eq!(through("v", std::slice::from_ref(&given)), Ok(vec![value]), "{}", given);
    }

    /// What the schema of a type refuses cannot be converted either, and the other way round but for what it cannot say.
    #[test]
    fn schemas_and_conversion_agree(signature in any_type(), value in any_json()) {
        let ty = crate::types::parse_type(&signature).unwrap();
        let properties = serde_json::Map::from_iter([("p".to_owned(), crate::types::schema(&ty))]);
        let params = nowd_plugin::params::Params::new(&properties).unwrap();
        let sent = round_trip(&signature, std::slice::from_ref(&value));
        if params.check(json!({ "p": value })).is_err() {
            prop_assert!(sent.is_err(), "{} takes {}", signature, value);
        }
    }

    #[test]
    fn values_and_types_side_by_side(pairs in vec(typed_values(), 1..5)) {
        let (types, values): (Vec<String>, Vec<Value>) = pairs.into_iter().unzip();
        let given: Vec<Given> = values.iter().cloned().map(Given::from).collect();
        prop_assert_eq!(through(&types.concat(), &given), Ok(values), "{:?}", types);
    }

    #[test]
    fn any_text_may_be_declared_as_a_signature(text in ".{0,40}") {
        drop(parse_signature(&text));
    }
}
