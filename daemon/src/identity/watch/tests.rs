use nowd_link::{Disconnect, Refusal};
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

fn is_renewed(certificates: &Certificates) -> bool {
    matches!(certificates.choose().1, Which::Renewed(_))
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
    let which = certificates.choose().1;
    assert!(matches!(which, Which::Renewed(_)));
    let refusal = LinkError::ClosedAtConnect;
    for pause in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
        certificates.failed(&which, &refusal, "no");
        assert!(!is_renewed(&certificates));
        about(certificates.due(Some(BootInstant::from_micros(0))), pause);
        // Each attempt waits for a quiet moment.
        about(certificates.due(None), pause + 60);
    }
    // Neither is let in: each has its turn.
    certificates.failed(&Which::InUse, &refusal, "no");
    assert!(is_renewed(&certificates));
    // The way to the broker is no fault of a certificate.
    let lost = LinkError::ConnectTimeout { host: "b".into(), port: 1, after: Duration::ZERO };
    certificates.failed(&which, &lost, "no");
    assert!(is_renewed(&certificates));
    certificates.accepted(&which);
    assert!(!is_renewed(&certificates) && certificates.due(None).is_none());
    assert_eq!(certificates.report().unwrap().not_after_s, 4_000_000_000);
}

/// Clocks jump: who judges an end is the broker.
#[test]
fn one_that_has_ended_has_its_turn_too() {
    let ca = Ca::new();
    let mut certificates = certificates(&ca, -1);
    renew(&mut certificates, &ca);
    let which = certificates.choose().1;
    certificates.failed(&which, &LinkError::ClosedAtConnect, "no");
    assert!(!is_renewed(&certificates));
    certificates.failed(&Which::InUse, &LinkError::ClosedAtConnect, "no");
    assert!(is_renewed(&certificates));
}

#[test]
fn what_counts_is_what_the_connection_was_made_with() {
    let ca = Ca::new();
    let mut certificates = certificates(&ca, 1_000_000_000);
    renew(&mut certificates, &ca);
    let first = certificates.choose().1;
    // Renewed again before the broker has said anything of the first.
    let second = source(ca.client_valid("gw", 0, 4_100_000_000));
    certificates.looked(look(&second, &DatePolicy::Judge, &Stamp::new()));
    certificates.failed(&first, &LinkError::ClosedAtConnect, "no");
    assert_eq!(certificates.report().unwrap().refused, None, "of the second nobody has said anything");
    certificates.accepted(&first);
    assert_eq!(certificates.report().unwrap().not_after_s, 4_000_000_000);
    let (tls, second) = certificates.choose();
    assert_eq!(tls.certificate().unwrap().not_after, 4_100_000_000);
    certificates.accepted(&second);
    assert_eq!(certificates.report().unwrap().not_after_s, 4_100_000_000);
    assert!(!is_renewed(&certificates));

    // Files that have changed back while a connection was made are what is to be used next.
    renew(&mut certificates, &ca);
    let third = certificates.choose().1;
    certificates.renewed = None;
    certificates.accepted(&third);
    assert_eq!(certificates.report().unwrap().not_after_s, 4_000_000_000);
    assert_eq!(certificates.choose().0.certificate().unwrap().not_after, 4_100_000_000);
}

/// A broker that is busy, or a line that breaks, is no word against a certificate; the other one has its turn all the same.
#[test]
fn only_a_refusal_is_told_as_one() {
    let ca = Ca::new();
    for (e, is_told) in [
        (LinkError::Lost { source: None }, false),
        (LinkError::Silent { what: "a ping", after: Duration::ZERO }, false),
        (LinkError::Refused { refusal: Refusal::Busy }, false),
        (LinkError::Disconnected { reason: Disconnect::Busy }, false),
        (LinkError::Closed, false),
        (LinkError::TooLarge { size: 2, max: 1 }, false),
        (LinkError::Refused { refusal: Refusal::NotAuthorised }, true),
        (LinkError::CertificateRejected { alert: "CertificateUnknown".into() }, true),
        (LinkError::ClosedAtConnect, true),
    ] {
        let mut certificates = certificates(&ca, 1_000_000_000);
        renew(&mut certificates, &ca);
        let which = certificates.choose().1;
        certificates.failed(&which, &e, "no");
        assert_eq!(certificates.report().unwrap().refused.is_some(), is_told, "{e}");
        assert!(!is_renewed(&certificates), "{e}");
    }
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
