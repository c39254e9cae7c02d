use serde_json::json;

use super::*;

fn reply(text: &str) -> Match {
    Match::Reply(ReplyPath::parse(text).unwrap())
}

fn wanted(path: Match, values: Vec<Match>) -> Wanted {
    Wanted {
        destination: "com.example.Window1".into(),
        interface: "com.example.Window1".into(),
        signal: "Moved".into(),
        path,
        values,
    }
}

#[test]
fn places_in_a_reply() {
    let value = json!(["/job/1", [10, {"state": "done", "a-b": [true]}]]);
    for (text, expected) in [
        ("$call.reply", Some(value.clone())),
        ("$call.reply[0]", Some(json!("/job/1"))),
        ("$call.reply[1][0]", Some(json!(10))),
        ("$call.reply[1][1].state", Some(json!("done"))),
        ("$call.reply[1][1].a-b[0]", Some(json!(true))),
        ("$call.reply[2]", None),
        ("$call.reply.state", None),
        ("$call.reply[0][0]", None),
    ] {
        let path = ReplyPath::parse(text).unwrap();
        assert_eq!(path.find(&value), expected.as_ref(), "{text}");
        assert_eq!(path.to_string(), text);
    }
    for bad in [
        "$call.replys",
        "$call.reply[",
        "$call.reply[]",
        "$call.reply[-1]",
        "$call.reply[+1]",
        "$call.reply[99999999999999999999999]",
        "$call.reply.",
        "$call.reply.a b",
        "$call.reply[0]x",
        "$call",
    ] {
        assert!(ReplyPath::parse(bad).is_err(), "{bad}");
    }
    assert!(ReplyPath::parse(&format!("$call.reply{}", "[0]".repeat(17))).is_err());
}

#[test]
fn what_fits() {
    for (wanted, value, fits) in [
        (Match::Any, json!(null), true),
        (Match::Equal(json!(1)), json!(1.0), true),
        (Match::Equal(json!(9_007_199_254_740_993_i64)), json!(9_007_199_254_740_992.0), false),
        (Match::Equal(json!("1")), json!(1), false),
        (Match::Array(vec![Match::Any, Match::Equal(json!(2))]), json!([1, 2]), true),
        (Match::Array(vec![Match::Any]), json!([1, 2]), false),
        (
            Match::Object(vec![("State".into(), Match::Equal(json!(100)))]),
            json!({"State": 100, "x": 1}),
            true,
        ),
        (Match::Object(vec![("State".into(), Match::Equal(json!(100)))]), json!({"x": 1}), false),
        (Match::Object(vec![]), json!([]), false),
        (Match::OneOf(vec![Match::Equal(json!(2)), Match::Equal(json!(4))]), json!(4), true),
        (Match::OneOf(vec![Match::Equal(json!(2)), Match::Equal(json!(4))]), json!(1), false),
    ] {
        assert_eq!(wanted.fits(&value), fits, "{wanted:?} {value}");
    }
    assert!(all_fit(&[Match::Any], &[json!(1), json!(2)]));
    assert!(!all_fit(&[Match::Any, Match::Any], &[json!(1)]));
}

#[test]
fn a_reply_settles_what_was_open() {
    let mut open =
        wanted(reply("$call.reply[0]"), vec![Match::Any, Match::Array(vec![reply("$call.reply[1]")])]);
    assert!(open.fits("/anything", &[json!(1), json!(["whatever"])]));
    open.settle(&json!(["/job/1", "x"])).unwrap();
    assert!(open.fits("/job/1", &[json!(1), json!(["x"])]));
    assert!(!open.fits("/job/2", &[json!(1), json!(["x"])]));
    assert!(!open.fits("/job/1", &[json!(1), json!(["y"])]));
    let mut missing = wanted(Match::Any, vec![reply("$call.reply[2]")]);
    assert_eq!(missing.settle(&json!(["/job/1"])).unwrap_err().to_string(), "$call.reply[2]");
}

proptest::proptest! {
    #[test]
    fn any_text_may_be_a_place(text in "(\\$call\\.reply)?([.\\[\\]a-z0-9-]{0,12}|.{0,12})", index in 0_usize..3) {
        if let Ok(path) = ReplyPath::parse(&text) {
            proptest::prop_assert_eq!(ReplyPath::parse(&path.to_string()), Ok(path.clone()));
            drop(path.find(&json!([[index], {"a": index}])).cloned());
        }
    }
}

#[test]
fn what_came_in_its_place_is_told() {
    let mut missed = Missed::default();
    assert_eq!(missed.told("Dosed", "the deadline"), "the signal \"Dosed\" did not come before the deadline");
    let wanted = Wanted {
        destination: "com.example.Doser".into(),
        interface: "com.example.Doser".into(),
        signal: "Dosed".into(),
        path: Match::Equal("/doser".into()),
        values: vec![Match::Equal("done".into())],
    };
    missed.note(1, wanted.why_not("/doser", &shown(&[6.into(), "done".into()])));
    assert_eq!(
        missed.told("Dosed", "the deadline"),
        r#"before the deadline the signal "Dosed" came only with [6,"done"], which `match = ["done"]` does not fit"#
    );
    // However much came.
    missed.note(u64::MAX, wanted.why_not("/doser", &shown(&["x".repeat(100_000).into()])));
    let told = missed.told("Dosed", "the deadline");
    assert!(told.len() < 600, "{}", told.len());
}
