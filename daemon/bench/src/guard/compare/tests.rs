//! Every verdict, and the words that come with it.

use super::*;

const BASELINE: &str = r#"
[made]
architecture = "x86_64"
profile = "dist"
compiler = "1.95.0"
libc = "glibc 2.36"
valgrind = "valgrind-3.19.0"
[shares]
instructions = 10.0
allocations = 5.0
[calls."D-Bus method"]
instructions = 200000.0
allocations = 160.0
[calls."simulated method"]
instructions = 100000.0
allocations = 100.0
"#;

fn baseline() -> Baseline {
    Baseline::read(BASELINE).unwrap()
}

/// What a comparison says where the counts of the baseline were changed so.
fn said(change: impl FnOnce(&mut Made, &mut BTreeMap<String, Count>)) -> (Verdict, String) {
    let Baseline { mut made, calls: mut counts, .. } = baseline();
    change(&mut made, &mut counts);
    compare(&baseline(), &made, &counts, Path::new("base.toml"))
}

#[test]
fn what_is_as_it_was_or_within_its_share_is_kept() {
    let (verdict, text) = said(|_, _| {});
    assert_eq!(verdict, Verdict::Kept);
    assert!(text.contains("no count grew") && !text.contains("shrank"), "{text}");
    let (verdict, text) = said(|_, counts| {
        let count = counts.get_mut("D-Bus method").unwrap();
        *count = Count { instructions: 219_000.0, allocations: 167.0 };
    });
    assert_eq!(verdict, Verdict::Kept, "{text}");
}

#[test]
fn what_grew_is_named_with_the_way_to_accept_it() {
    let (verdict, text) = said(|_, counts| counts.get_mut("D-Bus method").unwrap().instructions *= 1.15);
    assert_eq!(verdict, Verdict::Broken);
    for words in ["FAILED: D-Bus method: instructions grew by 15.0 %", "--write-baseline base.toml"] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(text.matches("GREW").count(), 1, "{text}");
    assert!(!text.contains("another"), "nothing else is the reason:\n{text}");
    let (verdict, text) = said(|_, counts| counts.get_mut("simulated method").unwrap().allocations = 106.0);
    assert_eq!(verdict, Verdict::Broken);
    assert!(text.contains("FAILED: simulated method: allocations grew by 6.0 %"), "{text}");
}

#[test]
fn what_shrank_is_told_and_kept() {
    let (verdict, text) = said(|_, counts| counts.get_mut("D-Bus method").unwrap().allocations = 120.0);
    assert_eq!(verdict, Verdict::Kept);
    assert!(text.contains("shrank by more than the share: D-Bus method: allocations"), "{text}");
    assert!(text.contains("--write-baseline"), "{text}");
}

#[test]
fn one_that_shrank_makes_up_for_none_that_grew() {
    let (verdict, text) = said(|_, counts| {
        counts.get_mut("D-Bus method").unwrap().instructions /= 2.0;
        counts.get_mut("simulated method").unwrap().instructions *= 1.2;
    });
    assert_eq!(verdict, Verdict::Broken, "{text}");
}

#[test]
fn a_row_on_one_side_only_fails() {
    let (verdict, text) = said(|_, counts| counts.retain(|name, _| name != "D-Bus method"));
    assert_eq!(verdict, Verdict::Broken);
    assert!(text.contains("FAILED: D-Bus method: NOT COUNTED"), "{text}");
    let (verdict, text) = said(|_, counts| counts.clear());
    assert_eq!(verdict, Verdict::Broken, "{text}");
    let (verdict, text) = said(|_, counts| {
        let count = counts["D-Bus method"];
        counts.insert("serial method".into(), count);
    });
    assert_eq!(verdict, Verdict::Broken);
    assert!(text.contains("FAILED: serial method: not in the baseline"), "{text}");
}

#[test]
fn another_architecture_is_not_compared_and_another_profile_is_a_mistake() {
    type Change = (&'static str, Verdict, fn(&mut Made));
    let changes: [Change; 2] = [
        ("NOT COMPARED: the program's architecture is aarch64", Verdict::NotCompared, |made| {
            made.architecture = "aarch64".into();
        }),
        (
            "FAILED: the program's profile, which is the name of its folder, is release",
            Verdict::Broken,
            |made| made.profile = "release".into(),
        ),
    ];
    for (says, expected, change) in changes {
        let (verdict, text) = said(|made, counts| {
            change(made);
            counts.clear();
        });
        assert_eq!(verdict, expected, "{text}");
        assert!(text.contains(&format!("{says}, the baseline's")), "{text}");
    }
}

#[test]
fn another_compiler_is_compared_and_told() {
    let (verdict, text) = said(|made, _| made.compiler = "1.96.0".into());
    assert_eq!(verdict, Verdict::Kept);
    assert!(text.contains("another compiler: 1.96.0; the baseline was written with 1.95.0"), "{text}");
    let (verdict, text) = said(|made, counts| {
        made.compiler = "1.96.0".into();
        counts.get_mut("D-Bus method").unwrap().instructions *= 1.2;
    });
    assert_eq!(verdict, Verdict::Broken);
    assert!(text.contains("another compiler may be all of the reason"), "{text}");
}

#[test]
fn a_count_that_is_none_is_not_let_through() {
    let (verdict, text) = said(|_, counts| counts.get_mut("D-Bus method").unwrap().instructions = f64::NAN);
    assert_eq!(verdict, Verdict::Broken, "{text}");
    for (from, to) in [("160.0", "0.0"), ("200000.0", "nan"), ("10.0", "inf"), ("10.0", "-1.0")] {
        Baseline::read(&BASELINE.replace(from, to)).unwrap_err();
    }
    Baseline::read(BASELINE.split("[calls").next().unwrap()).unwrap_err();
    let says = |text: &str| Baseline::read(text).unwrap_err().to_string();
    let zero = says(&BASELINE.replace("160.0", "0.0"));
    assert!(zero.contains(r#"`allocations` in [calls."D-Bus method"] is 0"#), "{zero}");
    let broken = says("[made]\narchitecture = [\n");
    assert!(broken.starts_with("line 2: ") && !broken.contains('\n'), "{broken}");
}

#[test]
fn a_baseline_is_read_as_it_was_written() {
    let baseline = baseline();
    assert_eq!(Baseline::read(&baseline.text()).unwrap(), baseline);
}

#[test]
fn the_committed_baseline_is_one() {
    let baseline = Baseline::read(include_str!("../../../baseline.toml")).unwrap();
    assert_eq!(baseline.text(), include_str!("../../../baseline.toml"), "it is written by the program");
    assert_eq!(baseline.calls.len(), 3);
}
