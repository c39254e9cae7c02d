use proptest::prelude::*;

use super::file::parse;
use super::*;

const POLICY: &str = r#"
# Operators may do everything with vehicles.
[[allow]]
caller = ["arn:aws:sts::123456789012:assumed-role/operator/*"]
target = ["vehicle-*"]
method = ["*"]

[[allow]]
caller = ["arn:aws:sts::123456789012:assumed-role/*/night-shift", "arn:aws:iam::123456789012:user/ops/*"]
target = ["gate-1", "gate-2"]
method = ["gate.*", "nowd.presence"]
"#;

fn allowed(caller: Option<&str>, target: &str, method: &str) -> bool {
    let access = Access::Policy(parse("policy.toml", POLICY.as_bytes()).unwrap());
    let level = |text: &str| Level::new(text).unwrap();
    access.judge(caller, &level(target), &level(method)).is_ok()
}

#[test]
fn what_is_not_allowed_is_refused() {
    let arn = |rest: &str| format!("arn:aws:sts::123456789012:assumed-role/{rest}");
    for (caller, target, method, expected) in [
        (arn("operator/anna"), "vehicle-1", "window.set", true),
        (arn("operator/anna"), "vehicle-1", "nowd.methods", true),
        (arn("operator/anna"), "vehicle", "window.set", false),
        (arn("operator/anna"), "gate-1", "gate.open", false),
        (arn("operators/anna"), "vehicle-1", "window.set", false),
        (arn("operator"), "vehicle-1", "window.set", false),
        (arn("guard/night-shift"), "gate-1", "gate.open", true),
        (arn("guard/night-shift"), "gate-1", "nowd.presence", true),
        (arn("guard/night-shift"), "gate-1", "nowd.methods", false),
        (arn("guard/night-shift"), "gate-12", "gate.open", false),
        (arn("guard/day-shift"), "gate-1", "gate.open", false),
        ("arn:aws:iam::123456789012:user/ops/a/b".into(), "gate-2", "gate.open", true),
        (String::new(), "gate-2", "gate.open", false),
    ] {
        assert_eq!(allowed(Some(&caller), target, method), expected, "{caller} {target} {method}");
    }
    assert!(!allowed(None, "vehicle-1", "window.set"));
}

#[test]
fn an_empty_policy_allows_nobody() {
    let policy = parse("policy.toml", b"# nothing yet\n").unwrap();
    assert!(policy.is_empty() && !policy.allows("a", "b", "c"));
    assert!(!parse("policy.toml", POLICY.as_bytes()).unwrap().is_empty());
}

#[test]
fn mistakes_name_file_line_and_key() {
    let good = "[[allow]]\ncaller = [\"*\"]\ntarget = [\"*\"]\n";
    let many = format!("{good}method = [{}]", "\"a\",".repeat(1_001));
    let long = format!("{good}method = [\"{}\"]", "a".repeat(2_049));
    let table = [
        ("[[deny]]", "p.toml:1: unknown key `deny`; `[[allow]]` tables are all that a policy has"),
        ("\n\nallow = 1", "p.toml:3: `allow` must be written as `[[allow]]` tables"),
        ("allow = [1]", "p.toml:1: `allow` must be written as `[[allow]]` tables"),
        ("[allow]\ncaller = []", "p.toml:1: `allow` must be written as `[[allow]]` tables"),
        (good, "p.toml:1: `allow` has no `method`; who means all of them writes `method = [\"*\"]`"),
        (
            &format!("{good}methods = [\"*\"]"),
            "p.toml:4: unknown key `methods`; `allow` has `caller`, `target` and `method`",
        ),
        (
            &format!("{good}method = \"*\""),
            "p.toml:4: `method` must be a list of patterns, such as [\"vehicle-*\"]",
        ),
        (
            &format!("{good}method = []"),
            "p.toml:4: `method` is empty, so its table allows nothing; leave the table out",
        ),
        (
            &format!("{good}method = [\n\"a\",\n7]"),
            "p.toml:6: `method` holds something that is no text; patterns are written in quotation marks",
        ),
        (
            &format!("{good}method = [\"\"]"),
            "p.toml:4: a pattern of `method` is 0 bytes long; 1 to 2048 are allowed",
        ),
        (&long, "p.toml:4: a pattern of `method` is 2049 bytes long; 1 to 2048 are allowed"),
        (&many, "p.toml:4: `method` stands for 1001 items; at most 1000 are allowed"),
        (&format!("{good}target = [\"a\"]"), "p.toml:4: duplicate key"),
        ("[[allow]\n", "p.toml:1: "),
    ];
    for (text, expected) in table {
        let error = parse("p.toml", text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}\n{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert_eq!(parse("p.toml", b"#\n\xff").unwrap_err().to_string(), "p.toml:2: the policy is not UTF-8");
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let error = Policy::load(&file).unwrap_err().to_string();
    assert!(error.ends_with("policy.toml: the policy cannot be read"), "{error}");
    std::fs::write(&file, "#".repeat(256 * 1024 + 1)).unwrap();
    let error = Policy::load(&file).unwrap_err().to_string();
    assert!(error.ends_with("policy.toml: the policy is above 262144 bytes"), "{error}");
    std::fs::write(&file, POLICY).unwrap();
    assert_eq!(Policy::load(&file).unwrap().rules.len(), 2);
}

/// By trying everything.
fn reference(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|skipped| reference(rest, &text[skipped..])),
        Some((c, rest)) => text.split_first().is_some_and(|(d, text)| c == d && reference(rest, text)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn patterns_match_as_the_reference_says(pattern in "[ab/*ü]{0,8}", text in "[ab/ü*]{0,10}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(Pattern::new(&pattern).matches(&text), reference(&chars(&pattern), &chars(&text)));
    }

    #[test]
    fn any_file_is_a_policy_or_a_sentence(text in "(\\[\\[allow\\]\\]\n|caller|target|method| = |\\[|\\]|\"[a*]\"|,|\n|[ -~])*") {
        if let Err(error) = parse("p.toml", text.as_bytes()) {
            prop_assert!(error.to_string().starts_with("p.toml:"));
        }
    }
}

#[test]
fn what_would_take_others_for_ever_takes_no_time() {
    let pattern = Pattern::new(&format!("{}b", "a*".repeat(1_000)));
    assert!(!pattern.matches(&"a".repeat(2_048)));
}

#[test]
fn only_the_gateways_that_can_be_reached_are_served() {
    let judge = |targets: &Targets, target: &str| targets.judge(&Level::new(target).unwrap()).is_ok();
    assert!(judge(&Targets::default(), "anything"));
    let some = Targets::like("vehicle-*");
    assert!(judge(&some, "vehicle-1") && !judge(&some, "press-1") && !judge(&some, "a-vehicle-1"));
}
