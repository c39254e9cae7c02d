//! Calls that are written down before they start.

use super::*;

fn journaling() -> Settings {
    let mut settings = settings();
    settings.journal = true;
    offer(&mut settings).methods.get_mut("wide").unwrap().idempotent = true;
    settings
}

impl Bench {
    fn journaled(&mut self, ms: u64, id: u128, kept: bool) -> Vec<String> {
        let key = self.keys[&id];
        self.handle(ms, Event::Journaled { key, kept })
    }

    /// The gateway starts again, with the journal as it is.
    fn restarted(self) -> Self {
        let settings = Settings { incarnation: Uuid::from_u128(0x2222), ..journaling() };
        Self { core: Core::new(settings, self.journal.clone()), ..self }
    }
}

/// A first attempt to the gateway after its restart.
fn fresh(id: u128, name: &str, until: u64) -> Request {
    let at = at(until).as_micros();
    Request { not_after: Some(NotAfter { incarnation: Uuid::from_u128(0x2222), at }), ..request(id, name, 0) }
}

#[test]
fn a_call_starts_when_the_journal_has_it() {
    let mut bench = Bench::with(journaling());
    assert_eq!(bench.send(0, request(1, "set", 1_000)), ["journal 1 started"]);
    assert_eq!(bench.send(1, request(2, "set", 1_000)), [""; 0], "the lane is taken");
    assert_eq!(bench.journaled(5, 1, true), ["start 1 set"]);
    assert_eq!(bench.journaled(6, 1, true), [""; 0]);
    assert_eq!(bench.end(10, 1, ok()), ["reply 1 ok", "journal 1 ok", "journal 2 started"]);
    assert_eq!(bench.send(10, request(3, "wide", 1_000)), ["start 3 wide"], "idempotent");
    assert_eq!(bench.end(11, 3, ok()), ["reply 3 ok"]);
}

#[test]
fn a_journal_that_cannot_be_written_starts_nothing() {
    let mut bench = Bench::with(journaling());
    bench.send(0, request(1, "set", 1_000));
    assert_eq!(bench.journaled(5, 1, false), ["reply 1 unavailable", "journal 1 not started"]);
    assert_eq!(bench.send(6, request(2, "set", 1_000)), ["journal 2 started"], "the lane is free");
}

#[test]
fn a_slow_journal_makes_nothing_late() {
    let mut bench = Bench::with(journaling());
    bench.send(0, request(1, "set", 100));
    assert_eq!(bench.journaled(100, 1, true), ["reply 1 expired", "journal 1 not started"]);
    assert_eq!(bench.core.calls(), 0);
    bench.send(200, request(2, "set", 1_000));
    let locked = Event::Lockout(Some("x".into()));
    assert_eq!(bench.handle(201, locked), ["reply 2 locked", "journal 2 not started"]);
    assert_eq!(bench.journaled(202, 2, true), [""; 0]);
    bench.handle(203, Event::Lockout(None));
    bench.send(204, request(3, "set", 1_000));
    assert_eq!(bench.handle(205, Event::Stop), ["reply 3 unavailable", "journal 3 not started"]);
}

#[test]
fn what_an_earlier_incarnation_started_is_not_started_again() {
    let mut bench = Bench::with(journaling());
    for id in [1, 2] {
        bench.send(0, request(id, "set", 1_000));
        bench.journaled(1, id, true);
        if id == 1 {
            bench.end(2, 1, ok());
        }
    }
    let mut bench = bench.restarted();
    assert_eq!(bench.send(10, fresh(1, "set", 2_000)), ["reply 1 ok", "record 1 Repeated ok"]);
    assert_eq!(bench.send(10, fresh(2, "set", 2_000)), ["reply 2 timeout", "record 2 Repeated timeout"]);
    assert_eq!(bench.send(10, request(2, "set", 2_000)), ["reply 2 timeout", "record 2 Repeated timeout"]);
    let other = Request { request: RawValue::from_string("2".into()).unwrap(), ..fresh(1, "set", 2_000) };
    assert_eq!(bench.send(10, other), ["reply 1 conflict"]);
    assert_eq!(bench.send(10, fresh(3, "set", 2_000)), ["journal 3 started"]);
}

#[test]
fn what_was_not_started_may_be_after_a_restart() {
    let mut bench = Bench::with(journaling());
    bench.send(0, request(1, "set", 1_000));
    bench.journaled(5, 1, false);
    let mut bench = bench.restarted();
    assert_eq!(bench.send(10, fresh(1, "set", 2_000)), ["journal 1 started"]);
}

#[test]
fn the_journal_outlasts_the_memory() {
    let mut bench = Bench::with(journaling());
    bench.send(0, request(1, "set", 1_000));
    bench.journaled(1, 1, true);
    bench.end(2, 1, ok());
    let later = Request { attempt: 2, ..request(1, "set", 100_000) };
    assert_eq!(bench.send(99_000, later), ["reply 1 ok", "record 1 Repeated ok"]);
}

#[test]
fn the_oldest_are_forgotten() {
    let mut settings = journaling();
    settings.limits.journaled = 2;
    let mut bench = Bench::with(settings.clone());
    for id in 1..=3 {
        bench.send(0, request(id, "set", 1_000));
        bench.journaled(1, id, true);
        bench.end(2, id, ok());
    }
    settings.incarnation = Uuid::from_u128(0x2222);
    let mut bench = Bench::with(Settings { ..settings });
    for line in [1_u128, 2, 3]
        .map(|id| JournalLine::Started { id: Uuid::from_u128(id), mark: Mark::of(&request(id, "set", 0)) })
    {
        bench.core.journal.read(line);
    }
    assert_eq!(bench.send(10, fresh(3, "set", 2_000)), ["reply 3 timeout", "record 3 Repeated timeout"]);
    assert_eq!(bench.send(10, fresh(2, "set", 2_000)), ["reply 2 timeout", "record 2 Repeated timeout"]);
    assert_eq!(bench.send(10, fresh(1, "set", 2_000)), ["journal 1 started"]);
}

#[test]
fn a_stop_clears_what_is_being_written_and_waits_for_no_disk() {
    let mut bench = Bench::with(journaling());
    bench.send(0, request(1, "set", 1_000));
    let found = bench.send(1, request(2, "stop", 1_000));
    assert_eq!(found, ["reply 1 busy", "journal 1 not started", "start 2 stop"]);
    assert_eq!(bench.journaled(2, 1, true), [""; 0]);
}

#[test]
fn what_was_not_started_takes_no_place() {
    let mut settings = journaling();
    settings.limits.journaled = 2;
    let started =
        |id: u128| JournalLine::Started { id: Uuid::from_u128(id), mark: Mark::of(&request(id, "set", 0)) };
    let not_started = JournalLine::NotStarted { id: Uuid::from_u128(2) };
    let mut bench = Bench::with(settings.clone());
    bench.core = Core::new(settings.clone(), [started(1), started(2), not_started, started(3)]);
    assert_eq!(bench.send(0, request(1, "set", 1_000)), ["reply 1 timeout", "record 1 Repeated timeout"]);
    bench.core = Core::new(settings, [started(1), started(2), not_started, started(3), started(4)]);
    assert_eq!(bench.send(0, request(3, "set", 1_000)), ["reply 3 timeout", "record 3 Repeated timeout"]);
    assert_eq!(bench.send(0, request(1, "set", 1_000)), ["journal 1 started"]);
}

#[test]
fn the_journal_says_what_it_does_not_keep() {
    let started =
        |id: u128| JournalLine::Started { id: Uuid::from_u128(id), mark: Mark::of(&request(id, "set", 0)) };
    let ended = |id: u128, status, outcome| JournalLine::Ended { id: Uuid::from_u128(id), status, outcome };
    let lines = [
        started(1),
        started(2),
        started(3),
        ended(2, Status::Ok, Outcome::Executed),
        ended(3, Status::Failed, Outcome::Unknown),
    ];
    let mut core: Core<u8> = Core::new(journaling(), lines);
    for (id, code) in [(1, "timeout"), (2, "response_forgotten"), (3, "failed")] {
        let message = Received::Request(request(id, "set", 1_000));
        let actions = core.handle(at(0), Event::Received { message, receipt: receipt(), params: Ok(0) });
        let Action::Reply(reply) = &actions[0] else { panic!("{actions:?}") };
        assert_eq!(reply.error.as_ref().unwrap().code, code);
    }
}

/// A journal that an earlier version wrote is read by this one.
#[test]
fn a_mark_stays_what_it_was() {
    let uuid = |text| Uuid::parse_str(text).unwrap();
    let plain = Mark::of(&request(1, "set", 0));
    assert_eq!(plain.content, uuid("9c0fa8bd-9a13-5870-8ff6-222a24d5c84a"));
    assert_eq!(plain.asker, uuid("2905b0d8-dbba-56e3-ba5c-6fde35c3935d"));
    let asserted = Mark::of(&Request { caller: Some("ann".into()), ..request(1, "set", 0) });
    assert_eq!(asserted.content, uuid("2ecfc460-3393-57a7-8d40-9c2dc7801a95"));
    assert_eq!(asserted.asker, uuid("c9d4e513-0efa-59c0-a08d-60b663070ff4"));
}
