//! Whether a gateway is there: asked before anything is published, watched for a while, and asked anew when in doubt.

use super::*;

#[test]
fn presence_decides_before_anything_is_published() {
    type Act = fn(&mut Rig);
    let table: &[(&str, Act, Form, Option<&str>, usize)] = &[
        ("asked", |_| {}, Form::Native, None, 0),
        ("online", |rig| rig.presence("g", true, 1, 1), Form::Native, None, 1),
        ("offline", |rig| rig.presence("g", false, 1, 1), Form::Native, Some("offline"), 0),
        ("never there", Rig::echo, Form::Native, Some("offline"), 0),
        ("compat, asked", |_| {}, Form::Compat, None, 0),
        ("compat, never there", Rig::echo, Form::Compat, None, 1),
        ("compat, offline", |rig| rig.presence("g", false, 1, 1), Form::Compat, Some("offline"), 0),
        (
            "not allowed to know",
            |rig| rig.core.not_subscribed(rig.at(), "nowd/presence/g", "NotAuthorized", &mut rig.desk),
            Form::Native,
            None,
            1,
        ),
        (
            "not allowed to probe",
            |rig| {
                let about = rig.desk.published[0].1;
                rig.core.not_taken(rig.at(), about, "NotAuthorized", &mut rig.desk);
            },
            Form::Native,
            None,
            1,
        ),
    ];
    for (name, act, form, answer, published) in table {
        let mut rig = Rig::connected();
        rig.call("g", 1, 2, *form);
        assert_eq!(rig.desk.subscribed, ["nowd/presence/g"]);
        assert!(matches!(rig.desk.published[..], [(_, About::Probe(_))]), "{name}");
        act(&mut rig);
        assert_eq!(rig.requests().len(), *published, "{name}");
        let answers: Vec<_> = rig.answers().iter().map(|row| row.1).collect();
        assert_eq!(answers, answer.iter().copied().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn who_announces_nothing_is_called_where_that_is_said_and_nobody_else() {
    let named = |core: Core| core.calling(Unannounced::like("line-*"));
    for (target, says, answer) in [
        ("line-1", None, None),
        ("line-1", Some(true), None),
        ("line-1", Some(false), Some("offline")),
        ("other-1", None, Some("offline")),
    ] {
        let mut rig = Rig::new(100);
        rig.core = named(rig.core);
        rig.core.connected(rig.at(), &mut rig.desk);
        rig.call(target, 1, 2, Form::Native);
        assert_eq!(rig.requests().len(), 0, "it is asked first");
        match says {
            Some(online) => rig.presence(target, online, 1, 1),
            None => rig.echo(),
        }
        let answers: Vec<_> = rig.answers().iter().map(|row| row.1).collect();
        assert_eq!(answers, answer.into_iter().collect::<Vec<_>>(), "{target} {says:?}");
        assert_eq!(rig.requests().len(), usize::from(answer.is_none()), "{target} {says:?}");
    }
    // The question whether it is there is answered from what is known, as ever; and silence is no word of what was done.
    let mut rig = Rig::new(100);
    rig.core = named(rig.core);
    rig.core.connected(rig.at(), &mut rig.desk);
    rig.call("line-1", 1, 2, Form::Presence);
    rig.echo();
    assert_eq!((rig.requests().len(), rig.answers()[0].1), (0, "ok"));
    rig.call("line-1", 2, 2, Form::Native);
    rig.pass(2_500_000);
    assert_eq!((rig.answers()[1].1, rig.answers()[1].2), ("no_reply", Outcome::Unknown));
}

#[test]
fn a_stale_will_does_not_count_and_a_new_incarnation_voids_the_clock() {
    let mut rig = Rig::ready();
    rig.call("g", 1, 2, Form::Native);
    rig.reply(1, Status::Ok, Some((1, 50 * SECOND)));
    rig.presence("g", true, 2, 2);
    rig.presence("g", false, 1, 1);
    rig.call("g", 2, 2, Form::Native);
    assert_eq!(rig.requests()[1].not_after, None);
    rig.presence("g", false, 2, 2);
    rig.call("g", 3, 2, Form::Native);
    assert_eq!(rig.answers()[1], (3, "offline", Outcome::NotExecuted, 0));
}

#[test]
fn a_new_connection_asks_anew() {
    let mut rig = Rig::ready();
    rig.core.disconnected();
    rig.call("g", 1, 2, Form::Native);
    rig.core.connected(rig.at(), &mut rig.desk);
    assert_eq!(rig.requests().len(), 0);
    rig.presence("g", false, 1, 1);
    assert_eq!(rig.answers(), [(1, "offline", Outcome::NotExecuted, 0)]);
}

#[test]
fn at_most_forty_presences_are_watched() {
    let mut rig = Rig::connected();
    for n in 0..50 {
        rig.call(&format!("g{n}"), n, 1, Form::Native);
    }
    assert_eq!(rig.desk.subscribed.len(), 40, "nothing is given up that is still asked");
    for n in 0..10 {
        rig.presence(&format!("g{n}"), true, 1, 1);
    }
    assert_eq!(rig.desk.subscribed.len(), 50);
    let gone: Vec<_> = (0..10).map(|n| format!("nowd/presence/g{n}")).collect();
    assert_eq!(rig.desk.unsubscribed, gone);
    for n in 10..50 {
        rig.presence(&format!("g{n}"), true, 1, 1);
    }
    assert_eq!(rig.requests().len(), 50);
}

#[test]
fn several_targets_are_asked_about_at_once() {
    let mut rig = Rig::connected();
    rig.desk.subscribing = true;
    for n in 0..20 {
        rig.call(&format!("g{}", n % 10), n, 1, Form::Native);
    }
    assert_eq!((rig.desk.subscribed.len(), rig.desk.published.len()), (0, 0));
    rig.desk.subscribing = false;
    rig.pass(10);
    assert_eq!((rig.desk.subscribed.len(), rig.desk.published.len()), (8, 1));
    rig.echo();
    assert_eq!((rig.desk.subscribed.len(), rig.desk.published.len()), (10, 2));
    assert_eq!(rig.desk.answers.len(), 16);
    rig.echo();
    assert_eq!(rig.desk.answers.len(), 20);
    assert!(rig.answers().iter().all(|(_, status, ..)| *status == "offline"));
}

#[test]
fn what_could_not_be_asked_is_asked_later() {
    let mut rig = Rig::connected();
    rig.desk.full = true;
    rig.call("g", 1, 1, Form::Native);
    rig.desk.full = false;
    rig.pass(5_000);
    rig.echo();
    assert_eq!(rig.answers(), [(1, "offline", Outcome::NotExecuted, 0)]);
}
