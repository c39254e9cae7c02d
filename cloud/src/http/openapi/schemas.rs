//! The bodies of answers.

use utoipa::openapi::schema::{
    ArrayBuilder, ComponentsBuilder, ObjectBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};

use super::{Outcome, text_schema};

pub(super) fn all(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .schema("Answer", answer())
        .schema("Problem", problem())
        .schema("SampleAnswer", sample_answer())
        .schema("Seen", seen())
        .schema("Methods", methods())
        .schema("Known", known())
        .schema("Ending", ending())
        .schema("Error", error())
        .schema("Timing", timing())
}

fn answer() -> ObjectBuilder {
    facts(ObjectBuilder::new())
        .property(
            "status",
            text("How it ended: `ok`, `sent`, or a word that is newer than this description."),
        )
        .required("status")
        .property("response", any("What the method gave back; `null` where it gave nothing."))
        .required("response")
}

fn problem() -> ObjectBuilder {
    let code = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(400_u16)).maximum(Some(599_u16));
    facts(ObjectBuilder::new())
        .description(Some("A problem as RFC 9457 has it, and what is known of the physical world."))
        .property(
            "type",
            text("The kind of problem: `tag:nowd.io,2026:` and the `code`.").format(Some(uri_reference())),
        )
        .property("title", text("The kind of problem, in words."))
        .property("status", code.description(Some("The HTTP status code.")))
        .property("detail", text("What happened this time, in a sentence for people."))
        .property("instance", text("Where to ask what became of the call.").format(Some(uri_reference())))
        .property("code", text("The kind of problem, for programs: a status, or a word of HTTP's own."))
        .property("response", any("What the method gave back all the same, else `null`."))
        .required("type")
        .required("title")
        .required("status")
        .required("code")
        .required("response")
}

fn sample_answer() -> ObjectBuilder {
    facts(ObjectBuilder::new())
        .description(Some("The public sample's answer, and what is known of the physical world."))
        .property("result", text("`ok`, `timeout`, or the status."))
        .property("elapsed", text("Milliseconds.").pattern(Some("^[0-9]+$")))
        .property("status", text("How it ended."))
        .property("response", any("What the device gave back, if it went well."))
        .required("result")
        .required("elapsed")
        .required("status")
}

/// What all answers say.
fn facts(object: ObjectBuilder) -> ObjectBuilder {
    object
        .property("id", uuid("The call, as the gateway logs it, too."))
        .property("outcome", world())
        .property("error", Ref::from_schema_name("Error"))
        .property("timing", Ref::from_schema_name("Timing"))
        .required("id")
        .required("outcome")
}

fn world() -> ObjectBuilder {
    let outcomes = [Outcome::Executed, Outcome::NotExecuted, Outcome::Unknown].map(Outcome::as_str);
    text("What is known of the physical world. `not_executed`: it may be tried again.")
        .enum_values(Some(outcomes))
}

fn seen() -> ObjectBuilder {
    let response = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("online", flag("Whether it is connected now."))
        .property(
            "announced",
            flag("Whether it has said anything of itself that the broker keeps; if so, the rest is there."),
        )
        .property("session", uuid("Its connection."))
        .property("incarnation", uuid("Its process."))
        .property("since", micros("When it said so, by its own clock."))
        .property("version", text("Its version."))
        .property(
            "methods",
            text("A digest of the methods on offer: another one means that it is worth asking which."),
        )
        .required("online")
        .required("announced");
    ObjectBuilder::new().schema_type(Type::Object).property("response", response)
}

/// What `nowd.methods` answers.
fn methods() -> ObjectBuilder {
    let object = || ObjectBuilder::new().schema_type(Type::Object);
    let entry = object()
        .property("name", text("Its name."))
        .property("description", text("One sentence for people; may be empty."))
        .property(
            "params",
            any("The JSON Schema of its parameters; `null`: it takes anything. Absent where it is too large to be told."),
        )
        .property("timeout_ms", count("Its usual budget. Milliseconds."))
        .property("max_timeout_ms", count("The largest budget that a call may have. Milliseconds."))
        .property("idempotent", flag("Whether running it twice is as good as once."))
        .property("stop", flag("Whether it overtakes and clears its lane."))
        .property("poll_ms", count("How often the gateway itself reads it; absent where it does not. Milliseconds."))
        .required("name")
        .required("description")
        .required("timeout_ms")
        .required("max_timeout_ms")
        .required("idempotent")
        .required("stop");
    let page = object()
        .property(
            "methods",
            ArrayBuilder::new().items(entry).description(Some("In the order of their names.")),
        )
        .property(
            "more",
            flag("Whether there are others after them: ask again with the last name as `after`."),
        )
        .required("methods")
        .required("more");
    object().property("response", page)
}

/// What `nowd.outcome` answers.
fn known() -> ObjectBuilder {
    let object = || ObjectBuilder::new().schema_type(Type::Object);
    let report = object()
        .property(
            "state",
            text(
                "Where the call stands: `waiting`, `running`, `ended`, `not_known`, or a word that is newer than this \
                 description. `not_known` does not mean that nothing happened.",
            ),
        )
        .property("answer", Ref::from_schema_name("Ending"))
        .property("late", Ref::from_schema_name("Ending"))
        .required("state");
    object().property("response", report)
}

fn ending() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(
            "How a call ended: as `answer`, how it was answered, absent while it has not been; as `late`, what was heard after \
             the deadline, when the answer had been given.",
        ))
        .property("status", text("How it ended: a status, or a word that is newer than this description."))
        .property("outcome", world())
        .property("error", Ref::from_schema_name("Error"))
        .property("response", any("What the method gave back, while it is kept."))
        .required("status")
        .required("outcome")
}

fn error() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("code", text("For programs: the status, or more exactly what it was."))
        .property("message", text("For people."))
        .required("code")
        .required("message")
}

fn timing() -> ObjectBuilder {
    let gateway = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("queue", micros("From receipt to the start of the work."))
        .property("plugin", micros("The work."))
        .property("total", micros("From receipt to the reply."))
        .required("queue")
        .required("plugin")
        .required("total");
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("total", micros("From the request's arrival to its answer."))
        .property("network", micros("The round trip without the gateway's share."))
        .property("gateway", gateway.description(Some("The gateway's share.")))
        .required("total")
}

fn text(about: &str) -> ObjectBuilder {
    text_schema().description(Some(about))
}

fn any(about: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(about)).into()
}

fn uuid(about: &str) -> ObjectBuilder {
    text(about).format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

fn flag(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(about))
}

fn micros(about: &str) -> ObjectBuilder {
    count(&format!("{about} Microseconds."))
}

/// A number that is never below 0.
fn count(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0_u64)).description(Some(about))
}

fn uri_reference() -> SchemaFormat {
    SchemaFormat::Custom("uri-reference".to_owned())
}
