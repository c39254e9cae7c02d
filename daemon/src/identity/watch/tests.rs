use nowd_testkit::{Ca, Identity};

use super::*;
use crate::clock::WallReading;
use crate::config::ClockTrust;

const NOW_S: i64 = 2_000_000_000;

fn wall() -> WallClock {
    let now_ms = u64::try_from(NOW_S * 1_000).unwrap();
    WallClock::new(ClockTrust::Trusted, move || WallReading { now_ms, max_error: None })
}

fn source(identity: Identity) -> Source {
    let Identity { ca, certificate, key } = identity;
    Source::Files(TlsFiles { ca: Some(ca), certificate, key })
}

fn certificates(ca: &Ca, left_s: i64) -> Certificates {
    Certificates::load(source(ca.client_valid("gw", 0, NOW_S + left_s)), DatePolicy::Judge, wall()).unwrap()
}

fn renew(certificates: &mut Certificates, ca: &Ca) {
    let source = source(ca.client_valid("gw", 0, 4_000_000_000));
    certificates.looked(look(&source, &DatePolicy::Judge, &Stamp::new()));
}

fn about(due: Option<Duration>, expected_s: u64) {
    let due = due.unwrap();
    let expected = Duration::from_secs(expected_s);
    // As long as this test may have taken.
    assert!(
        due <= expected && due + Duration::from_secs(1) > expected.saturating_sub(Duration::from_secs(20)),
        "{due:?}"
    );
}

#[test]
fn a_quiet_moment_or_the_latest_one() {
    let ca = Ca::new();
    let mut of_years = certificates(&ca, 1_000_000_000);
    assert_eq!(of_years.due(None), None, "nothing was renewed");
    renew(&mut of_years, &ca);
    about(of_years.due(None), 60);
    about(of_years.due(Some(BootInstant::now())), 1);
    assert_eq!(of_years.due(Some(BootInstant::from_micros(0))), Some(Duration::ZERO));

    let mut of_a_minute = certificates(&ca, 60);
    renew(&mut of_a_minute, &ca);
    assert_eq!(of_a_minute.due(None), Some(Duration::ZERO), "before the end of the one in use");
}

#[test]
fn who_is_turned_down_waits_longer_each_time_and_leaves_the_link_to_the_other() {
    let ca = Ca::new();
    let mut certificates = certificates(&ca, 1_000_000_000);
    renew(&mut certificates, &ca);
    assert_eq!(certificates.choose().1, Which::Renewed);
    let refusal = LinkError::ClosedAtConnect;
    for pause in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
        certificates.failed(Which::Renewed, &refusal, "no");
        assert_eq!(certificates.choose().1, Which::InUse);
        about(certificates.due(Some(BootInstant::from_micros(0))), pause);
    }
    // Neither is let in: each has its turn.
    certificates.failed(Which::InUse, &refusal, "no");
    assert_eq!(certificates.choose().1, Which::Renewed);
    // The way to the broker is no fault of a certificate.
    let lost = LinkError::ConnectTimeout { host: "b".into(), port: 1, after: Duration::ZERO };
    certificates.failed(Which::Renewed, &lost, "no");
    assert_eq!(certificates.choose().1, Which::Renewed);
    certificates.accepted(Which::Renewed);
    assert_eq!((certificates.choose().1, certificates.due(None)), (Which::InUse, None));
    assert_eq!(certificates.report().unwrap().not_after_s, 4_000_000_000);
}

#[test]
fn an_ended_one_is_not_fallen_back_to() {
    let ca = Ca::new();
    let mut certificates = certificates(&ca, -1);
    renew(&mut certificates, &ca);
    certificates.failed(Which::Renewed, &LinkError::ClosedAtConnect, "no");
    assert_eq!(certificates.choose().1, Which::Renewed);
}

#[test]
fn files_that_change_back_are_no_renewal() {
    let ca = Ca::new();
    let mut certificates = certificates(&ca, 1_000_000_000);
    renew(&mut certificates, &ca);
    let own = certificates.source.clone();
    assert!(matches!(look(&own, &DatePolicy::Judge, &certificates.in_use.stamp.clone()), Look::Same));
    certificates.looked(look(&own, &DatePolicy::Judge, &Stamp::new()));
    assert!(certificates.renewed.is_none());
}

/// While files are being written nobody is called; `nowd status` has a problem of it when they had their time.
#[test]
fn files_that_cannot_be_used_are_a_problem_after_a_minute() {
    let ca = Ca::new();
    let mut certificates = certificates(&ca, 1_000_000_000);
    let broken = |since| Broken { stamp: Stamp::new(), since, reason: "half a key".into(), is_told: false };
    certificates.broken = Some(broken(BootInstant::now()));
    certificates.looked(Look::Same);
    let report = certificates.report().unwrap();
    assert!(report.unusable.is_none() && report.notes.iter().any(|note| note.contains("half a key")));
    // Since the machine's start.
    certificates.broken = Some(broken(BootInstant::from_micros(0)));
    certificates.looked(Look::Same);
    assert_eq!(certificates.report().unwrap().unusable.as_deref(), Some("half a key"));
    let good = source(ca.client_valid("gw", 0, 4_000_000_000));
    certificates.looked(look(&good, &DatePolicy::Judge, &Stamp::new()));
    assert_eq!(certificates.report().unwrap().unusable, None);
}
