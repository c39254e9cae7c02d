use super::*;

fn level(name: &str) -> Level {
    Level::new(name).unwrap()
}

fn said(online: bool, session: u128) -> Presence {
    Presence {
        online,
        session: Uuid::from_u128(session),
        incarnation: Uuid::from_u128(9),
        since: 1,
        version: String::new(),
        methods: String::new(),
    }
}

enum Step {
    Online(u128),
    Offline(u128),
    Cleared,
    Echo,
    Refused,
}

#[test]
fn what_a_target_is_known_as() {
    use Standing::{Absent, Hidden, Offline, Online};
    use Step as S;
    let table: &[(&[Step], Look)] = &[
        (&[], Look::Asked),
        (&[S::Echo], Look::Known(Absent)),
        (&[S::Online(1)], Look::Known(Online)),
        (&[S::Online(1), S::Echo], Look::Known(Online)),
        (&[S::Offline(1), S::Echo], Look::Known(Offline)),
        (&[S::Echo, S::Online(1)], Look::Known(Online)),
        (&[S::Online(1), S::Offline(1)], Look::Known(Offline)),
        // The will of an earlier session, published after the new one said hello.
        (&[S::Online(2), S::Offline(1)], Look::Known(Online)),
        (&[S::Online(1), S::Online(2), S::Offline(1)], Look::Known(Online)),
        (&[S::Online(1), S::Online(2), S::Offline(2)], Look::Known(Offline)),
        (&[S::Offline(1), S::Online(2), S::Offline(1)], Look::Known(Online)),
        (&[S::Online(1), S::Cleared], Look::Known(Absent)),
        (&[S::Refused, S::Echo], Look::Known(Hidden)),
        (&[S::Echo, S::Refused], Look::Known(Hidden)),
    ];
    let probe = Uuid::from_u128(7);
    for (n, (steps, expected)) in table.iter().enumerate() {
        let mut watches = Watches::new(4);
        watches.asked(level("g"), probe);
        for step in *steps {
            match step {
                S::Online(session) => drop(watches.heard(&level("g"), &said(true, *session))),
                S::Offline(session) => drop(watches.heard(&level("g"), &said(false, *session))),
                S::Cleared => drop(watches.cleared(&level("g"))),
                S::Echo => assert!(watches.echo(probe)),
                S::Refused => drop(watches.refused(&level("g"))),
            }
        }
        assert_eq!(watches.look(&level("g")), *expected, "row {n}");
    }
}

#[test]
fn others_messages_do_not_count() {
    let mut watches = Watches::new(4);
    watches.asked(level("g"), Uuid::from_u128(7));
    assert!(!watches.heard(&level("h"), &said(true, 1)));
    assert!(!watches.echo(Uuid::from_u128(8)));
    assert_eq!(watches.look(&level("g")), Look::Asked);
    assert_eq!(watches.look(&level("h")), Look::Unknown);
}

#[test]
fn room_is_made_by_the_oldest_that_is_settled() {
    let mut watches = Watches::new(2);
    watches.asked(level("a"), Uuid::from_u128(1));
    watches.asked(level("b"), Uuid::from_u128(2));
    assert!(!watches.has_room_for(&level("x")));
    assert_eq!(watches.make_room(), None, "both still wait for their echo");
    watches.echo(Uuid::from_u128(2));
    assert_eq!(watches.make_room(), Some(level("b")));
    assert!(watches.has_room_for(&level("x")));
    assert_eq!(watches.look(&level("b")), Look::Unknown);
    watches.clear();
    assert_eq!(watches.look(&level("a")), Look::Unknown);
}
