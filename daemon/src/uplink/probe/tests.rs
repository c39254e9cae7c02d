use super::*;

fn probes(target: &str, every: u64) -> Probes {
    Probes::new(&target.parse().unwrap(), Duration::from_secs(every), Duration::from_secs(1))
}

#[test]
fn probes_that_are_swallowed_become_rare() {
    for (every, lost, expected) in [(60, 0, 60), (60, 1, 120), (60, 4, 960), (60, 5, 1_200), (60, 99, 1_200)]
    {
        let probes = Probes { lost, ..probes("gw-1", every) };
        assert_eq!(probes.pause(), Duration::from_secs(expected), "{every} s, {lost} lost");
    }
}

#[test]
fn one_that_is_swallowed_after_a_refusal_makes_the_next_rare_too() {
    let mut probes = probes("gw-1", 60);
    probes.give_up(Duration::ZERO);
    assert_eq!(probes.rest(), None);
    probes.swallowed();
    assert_eq!(probes.rest(), Some(Duration::from_secs(120)), "no connection begins with one");
}

#[test]
fn a_target_that_is_too_long_goes_without() {
    for (length, off) in [(103, None), (104, Some(Off::TooLong))] {
        assert_eq!(probes(&"x".repeat(length), 60).off, off, "{length} bytes");
    }
}

#[test]
fn what_came_through_the_subscription_is_told_apart() {
    let mut probes = probes("gw-1", 60);
    for (topic, probe) in [
        ("gw-1/nowd.probe/gw-1/6e1f3c52-8e1a-4c5f-9d51-0d6f0a2f7b11", true),
        ("gw-1/nowd.probes/app/1", false),
        ("gw-1/echo/app/1", false),
        ("gw-11/nowd.probe/gw-11/1", false),
    ] {
        let heard = Loopback::default().heard(topic, &mut probes);
        assert_eq!(heard, probe.then_some(false), "{topic}");
    }
}

#[test]
fn only_a_broker_that_closes_may_mean_no() {
    let lost = |kind: std::io::ErrorKind| LinkError::Lost { source: Some(kind.into()) };
    for (error, closed) in [
        (LinkError::Lost { source: None }, true),
        (lost(std::io::ErrorKind::ConnectionReset), true),
        (lost(std::io::ErrorKind::TimedOut), false),
        (LinkError::Disconnected { reason: Disconnect::NotAuthorised }, true),
        (LinkError::Disconnected { reason: Disconnect::TakenOver }, false),
        (LinkError::Silent { what: "a ping", after: Duration::from_secs(1) }, false),
    ] {
        assert_eq!(closed_by_broker(&error), closed, "{error:?}");
    }
}
