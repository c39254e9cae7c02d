//! Who the plugin is, and what it says of itself. Calls nothing that moves.

use std::collections::BTreeMap;

use serde_json::Value;
use zbus_xml::{ArgDirection, Node};

use super::bench::Bench;
use super::bus::{Asked, Heard, clip};
use super::report::{Problem, Seen};
use super::sample::Sample;
use crate::service::{Description, INTERFACE, MAX_DESCRIPTION_LEN, XML};

/// A longer sentence on health is none.
const LONGEST_MESSAGE: usize = 1_000;

/// Deeper introspection is not read.
const MOST_NODES: usize = 64;

pub(super) async fn present(bench: &mut Bench<'_>) -> Seen {
    let name = &bench.options.name;
    let user = bench.client.user_id(name).await;
    let process = bench.process_id().await;
    let program = process.and_then(|id| std::fs::read_link(format!("/proc/{id}/exe")).ok());
    let mut seen = format!("{} on {}", bench.owner, bench.bus.called());
    for (what, value) in [
        ("process", process.map(|id| id.to_string())),
        ("user", user.map(|id| id.to_string())),
        ("program", program.map(|path| path.display().to_string())),
    ] {
        if let Some(value) = value {
            seen = format!("{seen}, {what} {value}");
        }
    }
    Seen::ok(seen)
}

pub(super) async fn interface(bench: &mut Bench<'_>) -> Seen {
    let limit = bench.options.answer_within;
    let asked = bench.ask_at("org.freedesktop.DBus.Introspectable", "Introspect", &(), limit).await;
    let note = |came: String| {
        let mut seen = Seen::default();
        seen.add(Problem::note(
            "Introspect()",
            came,
            "a gateway does not ask for it",
            "let people and tools see the interface: most libraries do so by themselves",
        ));
        seen
    };
    let text = match said::<String>(&asked) {
        Ok(text) => text,
        Err(came) => return note(came),
    };
    if text.len() > MAX_DESCRIPTION_LEN || text.matches("<node").count() > MOST_NODES {
        return note(format!("{} bytes, more than are read", text.len()));
    }
    let (Some(found), Some(known)) = (members(&text), members(XML)) else {
        return note("introspection data that cannot be read, or without the interface".into());
    };
    let mut seen = Seen::default();
    for (member, types) in &known {
        let came = match found.get(member) {
            Some(found) if found == types => continue,
            Some(found) => format!("{member} has the signature {found}"),
            None => format!("{member} is not there"),
        };
        let contract = format!("{member} has the signature {types}");
        let mend = format!("take interfaces/{INTERFACE}.xml as it is, and look whether --path is right");
        // A plugin whose description never changes has no use for the signal.
        let breach = found.contains_key(member) || member.starts_with("method");
        seen.add(Problem { breach, ..Problem::breach("Introspect()", came, contract, mend) });
    }
    for member in found.keys().filter(|member| !known.contains_key(*member)) {
        let mend =
            "the interface only grows with the contract: put what is your own into an interface of your own";
        seen.add(Problem::note("Introspect()", format!("{} besides", clip(member, 100)), "", mend));
    }
    if seen.is_ok() { seen.says(format!("{} methods and signals", known.len())) } else { seen }
}

/// The members of the interface, with their types.
fn members(xml: &str) -> Option<BTreeMap<String, String>> {
    let node = Node::try_from(xml).ok()?;
    let interface = node.interfaces().iter().find(|interface| interface.name().as_str() == INTERFACE)?;
    let mut members = BTreeMap::new();
    for method in interface.methods() {
        let types = |out: bool| {
            let args = method.args().iter().filter(|arg| (arg.direction() == Some(ArgDirection::Out)) == out);
            args.map(|arg| arg.ty().to_string()).collect::<String>()
        };
        members
            .insert(format!("method {}", method.name()), format!("{:?} -> {:?}", types(false), types(true)));
    }
    for signal in interface.signals() {
        let types: String = signal.args().iter().map(|arg| arg.ty().to_string()).collect();
        members.insert(format!("signal {}", signal.name()), format!("{types:?}"));
    }
    Some(members)
}

pub(super) async fn describe(bench: &mut Bench<'_>) -> Seen {
    let contract = "Describe gives JSON of the form of a method map: at most 256 KiB, 256 methods and 64 patterns; with any mistake nothing of it counts";
    let asked = bench.ask("Describe").await;
    let breach = |came: String, mend: &str| Seen::failed(Problem::breach("Describe()", came, contract, mend));
    let text = match said::<String>(&asked) {
        Ok(text) => text,
        Err(came) => return breach(came, "answer at once with one text; look whether --path is right"),
    };
    let description = match Description::parse(&text, &bench.options.name) {
        Ok(description) => description,
        Err(e) => return breach(clip(&e.message, 400), "correct the description"),
    };
    let mut seen = Seen::default();
    let again = bench.ask("Describe").await;
    match said::<String>(&again) {
        Ok(again) if same_json(&text, &again) => {}
        Ok(_) => seen.add(Problem::breach(
            "Describe(), a second time",
            "another description",
            "a description that changes is told by the signal Changed; calls are judged by the last one",
            "describe the same until something changes",
        )),
        Err(came) => {
            seen.add(Problem::breach("Describe(), a second time", came, contract, "answer every time"));
        }
    }
    bench.samples =
        description.methods.iter().map(|method| Sample::new(method, &bench.options.calls)).collect();
    let names: Vec<&str> = description.methods.iter().map(|method| method.name.as_str()).collect();
    let shown = clip(&names.join(", "), 120);
    let text_len = text.len();
    let seen =
        seen.says(format!("{} methods ({shown}), {text_len} bytes, after {:.1?}", names.len(), asked.took));
    bench.described = Some((text, description));
    seen
}

/// Whether two texts are the same JSON: keys may come in any order.
pub(super) fn same_json(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == other || read(one).is_some_and(|value| Some(value) == read(other))
}

pub(super) async fn health(bench: &mut Bench<'_>) -> Seen {
    let contract = "Health gives ok, degraded or failed, and one sentence for people";
    let asked = bench.ask("Health").await;
    let (state, message) = match said::<(String, String)>(&asked) {
        Ok(said) => said,
        Err(came) => {
            return Seen::failed(Problem::breach(
                "Health()",
                came,
                contract,
                "answer at once, from what is known",
            ));
        }
    };
    let came = format!("{}: {}", clip(&state, 40), clip(&message, 200));
    match state.as_str() {
        "ok" | "degraded" | "failed" => {}
        _ => return Seen::failed(Problem::breach("Health()", came, contract, "say one of the three words")),
    }
    let mut seen = Seen::default();
    if message.len() > LONGEST_MESSAGE || message.trim_end().contains('\n') {
        let mend = format!("say it in one line of at most {LONGEST_MESSAGE} bytes");
        seen.add(Problem::note("Health()", came.clone(), contract, mend));
    }
    if state != "ok" {
        let mend = "what is tested now may say less than with a plugin that is well";
        seen.add(Problem::note("Health()", came.clone(), "", mend));
    }
    seen.says(came)
}

pub(super) async fn cancel_unknown(bench: &mut Bench<'_>) -> Seen {
    let limit = bench.options.answer_within;
    let mut seen = Seen::default();
    for id in ["6d2a3d54-0000-4000-8000-000000000000", "", "no UUID"] {
        let asked = bench.ask_at(INTERFACE, "Cancel", &id, limit).await;
        if let Err(came) = said::<()>(&asked) {
            seen.add(Problem::breach(
                format!("Cancel({id:?})"),
                came,
                "ids that are not known are ignored, since a call may have ended meanwhile: an empty answer",
                "answer Cancel at once, whatever the id",
            ));
        }
    }
    if seen.is_ok() { seen.says("ignored") } else { seen }
}

/// The answer's values, or what came in their place.
pub(super) fn said<T>(asked: &Asked) -> Result<T, String>
where
    T: serde::de::DeserializeOwned + zbus::zvariant::Type,
{
    match &asked.heard {
        Heard::Return(reply) => {
            let body = reply.body();
            body.deserialize()
                .map_err(|_| format!("an answer of the form {:?}", clip(&body.signature().to_string(), 100)))
        }
        Heard::Error { name, message, .. } => Err(format!("the D-Bus error {name}: {message}")),
        Heard::TooLong(len) => Err(format!("a message of {len} bytes, more than a gateway takes")),
        Heard::Silence(limit) => Err(format!("no answer within {limit:?}")),
        Heard::Broken => Err("the connection to the bus broke".into()),
    }
}
