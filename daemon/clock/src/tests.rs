use super::*;

#[test]
fn what_is_known_stands_until_it_is_too_little() {
    const SUSPEND: i64 = 5_000_000_000;
    let unknown = i64::MIN;
    for (name, known, brackets, expected) in [
        ("first look", unknown, &[(-40, 40)][..], 40),
        ("first look after suspends", unknown, &[(SUSPEND - 40, SUSPEND + 40)], SUSPEND + 40),
        ("nothing new", 40, &[(-30, 30)], 40),
        ("torn apart, and nothing new", 40, &[(-9_000_000, 9_000_000)], 40),
        ("a suspend between the looks may still be to come", 40, &[(-30, SUSPEND)], 40),
        ("a suspend", 40, &[(SUSPEND - 30, SUSPEND + 30)], SUSPEND + 30),
        ("a suspend, at first torn apart", 40, &[(41, 9_000_000), (SUSPEND, SUSPEND + 30)], SUSPEND + 30),
        ("always torn apart", 40, &[(41, 9_000_000); 8], 9_000_000),
        ("known from a wider bracket", 9_000_000, &[(8_999_970, 8_999_990)], 9_000_000),
    ] {
        let mut brackets = brackets.iter().copied();
        let found = suspended(known, || brackets.next().unwrap());
        assert_eq!(found, expected, "{name}");
        assert!(found >= known, "{name}: it went back");
        assert_eq!(brackets.next(), None, "{name}: looked too seldom");
    }
}

#[test]
fn it_never_goes_back_whichever_thread_reads_it() {
    let latest = std::sync::Mutex::new(BootInstant::now());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    let mut latest = latest.lock().unwrap();
                    let now = BootInstant::now();
                    assert!(now >= *latest, "{latest} and then {now}");
                    *latest = now;
                }
            });
        }
    });
}

/// Slewing is at most a tenth; a clock of another unit or kind would be far off.
#[test]
fn it_runs_about_as_fast_as_the_kernels_clock() {
    // Each steady interval lies within its interval of the kernel's clock, and the other way round.
    let (outer, begin, inner) = (read(ClockId::Boottime), BootInstant::now(), read(ClockId::Boottime));
    std::thread::sleep(Duration::from_millis(200));
    let (inner_end, end, outer_end) = (read(ClockId::Boottime), BootInstant::now(), read(ClockId::Boottime));
    let steady = i64::try_from(end.saturating_since(begin).as_nanos()).unwrap();
    let (least, most) = (inner_end - inner, outer_end - outer);
    assert!(steady > least / 2 && steady < most * 2, "{steady} is not about {least} to {most}");
}

#[test]
fn what_is_handed_out_is_the_kernels_clock() {
    let second = Duration::from_secs(1);
    let before = u64::try_from(read(ClockId::Boottime) / 1_000).unwrap();
    let at = boottime_micros(BootInstant::now().saturating_add(second));
    let after = u64::try_from(read(ClockId::Boottime) / 1_000).unwrap();
    // From a moment ago, a second on; twice that moment for a clock that is slewed just now.
    assert!(
        at + 1 >= before + 1_000_000 - 2 * (after - before) && at <= after + 1_000_000,
        "{before} {at} {after}"
    );
    let passed = boottime_micros(BootInstant::now());
    assert!(passed <= u64::try_from(read(ClockId::Boottime) / 1_000).unwrap());
    // There and back it only becomes earlier, by what the readings take.
    let instant = BootInstant::now().saturating_add(second);
    let (begin, back) = (BootInstant::now(), from_boottime_micros(boottime_micros(instant)));
    let lost = instant.saturating_since(back);
    assert!(lost <= 2 * BootInstant::now().saturating_since(begin) + Duration::from_micros(2), "{lost:?}");
    assert!(
        back <= instant.saturating_add(BootInstant::now().saturating_since(begin) + Duration::from_micros(2))
    );
}
