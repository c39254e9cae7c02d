//! `nowd.methods`.

use nowd_protocol::MAX_PAGE_LEN;

use super::*;

fn question(json: &str) -> Request {
    Request { request: RawValue::from_string(json.into()).unwrap(), ..request(0x99, "nowd.methods", 90_000) }
}

/// Each method's entry is its name.
fn named() -> Settings {
    let mut settings = settings();
    for (name, method) in &mut offer(&mut settings).methods {
        method.entry = entry(&format!("\"{name}\""));
    }
    settings
}

fn ask(bench: &mut Bench, ms: u64, question: Request) -> String {
    let message = Received::Request(question);
    let actions = bench.core.handle(at(ms), Event::Received { message, receipt: receipt(), params: Ok(0) });
    let mut replies = actions
        .iter()
        .filter_map(|action| if let Action::Reply(reply) = action { Some(reply) } else { None });
    let reply = replies.next().unwrap();
    match &reply.response {
        Some(response) => response.get().to_owned(),
        None => reply.status.as_str().to_owned(),
    }
}

#[test]
fn a_caller_is_told_what_it_may_call() {
    let mut bench = Bench::with(named());
    let all = r#"{"methods":["other","patient","safe","set","stop","wide"],"more":false}"#;
    assert_eq!(ask(&mut bench, 0, question("null")), all, "not those that are internal or for others");
    let ops = Request { caller: Some("arn:aws:role/ops".into()), ..question("null") };
    let more = all.replace(r#""other","#, r#""ops","other","#);
    assert_eq!(ask(&mut bench, 0, ops), more);
    let rest = r#"{"methods":["stop","wide"],"more":false}"#;
    assert_eq!(ask(&mut bench, 0, question(r#"{"after":"set"}"#)), rest);
    assert_eq!(ask(&mut bench, 0, question(r#"{"after":"seu"}"#)), rest, "a name that has gone");
    assert_eq!(ask(&mut bench, 0, question(r#"{"after":"wide"}"#)), r#"{"methods":[],"more":false}"#);
    let mut settings = named();
    offer(&mut settings).access_default = Vec::new();
    let mut bench = Bench::with(settings);
    assert_eq!(ask(&mut bench, 0, question("null")), r#"{"methods":[],"more":false}"#);
}

#[test]
fn a_page_is_bounded_and_leads_to_the_next() {
    let mut settings = settings();
    offer(&mut settings).methods.clear();
    let sizes = [10, MAX_PAGE_LEN - 20, 1_000, MAX_PAGE_LEN, 5, 6];
    for (n, size) in sizes.into_iter().enumerate() {
        let text = format!("\"{n}{}\"", "x".repeat(size - 3));
        offer(&mut settings)
            .methods
            .insert(n.to_string(), settings::Method { entry: entry(&text), ..method("wide") });
    }
    let mut bench = Bench::with(settings);
    let mut page = |after: &str| {
        let text = ask(&mut bench, 0, question(&format!("{{\"after\":\"{after}\"}}")));
        assert!(text.len() < MAX_PAGE_LEN + 100);
        let names: String = text.split('"').filter_map(|part| part.chars().next()).collect();
        (names.replace(|c: char| !c.is_ascii_digit(), ""), text.ends_with(r#""more":true}"#))
    };
    assert_eq!(page(""), ("01".into(), true));
    assert_eq!(page("1"), ("2".into(), true));
    assert_eq!(page("2"), ("3".into(), true), "one that fills a page by itself");
    assert_eq!(page("3"), ("45".into(), false));
}

#[test]
fn a_question_is_judged_like_a_call_and_not_remembered() {
    let mut bench = Bench::with(named());
    assert_eq!(bench.send(0, Request { timeout: None, ..question("null") }), ["reply 99 invalid_request"]);
    assert_eq!(bench.send(0, question("[]")), ["reply 99 invalid_request"]);
    let late = Request { not_after: request(1, "set", 0).not_after, ..question("null") };
    assert_eq!(bench.send(0, late), ["reply 99 expired"]);
    let foreign = NotAfter { incarnation: Uuid::from_u128(2), at: at(100).as_micros() };
    let foreign = Request { not_after: Some(foreign), ..question("null") };
    assert_eq!(bench.send(0, foreign), ["reply 99 resync"]);
    let near = || Request { not_after: request(1, "set", 1_000).not_after, ..question("null") };
    assert_eq!(bench.send(0, near()), ["reply 99 ok"]);
    assert_eq!(bench.core.remembered(), 0);
    bench.handle(0, Event::Lockout(Some("x".into())));
    assert_eq!(bench.send(1, near()), ["reply 99 ok"], "it moves nothing");
}
