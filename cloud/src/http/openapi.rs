//! The interface as `OpenAPI` 3.1 has it, made of what the code uses: limits, statuses, outcomes and codes stand in one place
//! each, and not here.

use std::collections::BTreeMap;

use nowd_protocol::{Level, MAX_PAYLOAD_LEN, MAX_TOPIC_LEN, Outcome, Status};
use serde_json::json;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Components, ComponentsBuilder, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::server::{Server, ServerBuilder, ServerVariableBuilder};
use utoipa::openapi::{
    Content, ContentBuilder, InfoBuilder, OpenApiBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
};

use super::problem::{Kind, PROBLEM_JSON};
use super::{RouterOptions, body, compat, idempotency};

mod schemas;

/// What a name looks like: no two dots together, not only a dot, no `$` first, and none of the characters that no broker takes,
/// but for those of Unicode that are none, for which not all programs that read patterns have one spelling. Not all of them
/// know how to look ahead, either.
const NAME: &str =
    r"^(\.[^./+#\x00-\x1f\x7f-\x9f]|[^$./+#\x00-\x1f\x7f-\x9f])(\.?[^./+#\x00-\x1f\x7f-\x9f])*\.?$";

/// Without spaces around it, and not a pair of quotation marks with nothing inside.
const KEY: &str = r#"^([!#-~]([ -~]*[!-~])?|"([!#-~]|[ -~]+[!-~])?)$"#;

/// How API Gateway is asked.
const SIGNED: &str = "sigv4";

/// The description, as JSON.
pub(super) fn text(options: &RouterOptions) -> String {
    let mut paths = PathsBuilder::new()
        .path("/openapi.json", get(description()))
        .path("/things/{target}", get(presence(options)))
        .path("/things/{target}/methods", get(methods(options)))
        .path("/things/{target}/methods/{method}", PathItem::new(HttpMethod::Post, call(options)))
        .path("/things/{target}/calls/{id}", get(outcome(options)));
    if options.compat {
        paths = paths.path("/invoke", get(sample()));
    }
    let about = format!(
        "Calls on gateways, now or never. Every answer says in `outcome` what is known of the physical world: {}. An answer \
         without `outcome` means that nothing is known. What is not 2xx is a problem as RFC 9457 has it; its `code` is a \
         status, and one that is newer than this description is to be judged by its `outcome`. In paths a name is \
         percent-encoded once, in upper case, and only where it has to be. Other paths are `{}` ({}), other HTTP methods \
         `{}` ({}, with `Allow`).",
        outcomes().join(", "),
        Kind::NoSuchPath.word(),
        Kind::NoSuchPath.http(),
        Kind::MethodNotAllowed.word(),
        Kind::MethodNotAllowed.http(),
    );
    let description = OpenApiBuilder::new()
        .info(InfoBuilder::new().title("nowd").version(env!("CARGO_PKG_VERSION")).description(Some(about)))
        .servers(Some(servers()))
        // The second is none at all.
        .security(Some([SecurityRequirement::new(SIGNED, [""; 0]), SecurityRequirement::default()]))
        .paths(paths)
        .components(Some(components()))
        .build();
    let mut text = description.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

fn servers() -> [Server; 2] {
    let stage = ServerVariableBuilder::new().default_value("Prod").description(Some("The stage."));
    [
        ServerBuilder::new().url("/").description(Some("`nowd-cloud serve`.")).build(),
        ServerBuilder::new()
            .url("/{stage}")
            .description(Some("The API of AWS API Gateway that `cloud/template.yaml` makes."))
            .parameter("stage", stage)
            .build(),
    ]
}

fn signed() -> SecurityScheme {
    let about = "AWS Signature Version 4 for the service `execute-api`, as API Gateway asks for it. `nowd-cloud serve` asks for \
                 nothing, and reads no such header.";
    let mut header = ApiKeyValue::with_description("Authorization", about);
    header.extensions =
        Some(ExtensionsBuilder::new().add("x-amazon-apigateway-authtype", "awsSigv4").build());
    SecurityScheme::ApiKey(ApiKey::Header(header))
}

fn get(operation: OperationBuilder) -> PathItem {
    PathItem::new(HttpMethod::Get, operation)
}

fn call(options: &RouterOptions) -> OperationBuilder {
    let any = ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue);
    let about = format!(
        "The method's parameters: JSON of at most {MAX_PAYLOAD_LEN} bytes and {} levels, whatever the content type says. \
         None is `null`.",
        body::MAX_DEPTH
    );
    let body = RequestBodyBuilder::new()
        .description(Some(about))
        .required(Some(Required::False))
        .content("application/json", ContentBuilder::new().schema(Some(any)).build())
        .build();
    let key = text_schema().min_length(Some(1)).max_length(Some(idempotency::MAX_LEN)).pattern(Some(KEY));
    let key = parameter("Idempotency-Key", ParameterIn::Header, key).description(Some(
        "The caller's own name for this call: the same request under the same key is the same call.",
    ));
    with_responses(
        operation("call", "Call a method, and get the answer")
            .parameter(name("target", "The gateway"))
            .parameter(name("method", "The method"))
            .parameter(timeout(options))
            .parameter(key)
            .parameter(traceparent())
            .request_body(Some(body)),
        &["Answer"],
        None,
        Status::ALL.iter().copied().map(Kind::Status).chain([Kind::NoSuchPath, Kind::TooLarge]),
    )
}

fn presence(options: &RouterOptions) -> OperationBuilder {
    // No gateway is asked, so these are all.
    let statuses = [
        Status::Ok,
        Status::InvalidRequest,
        Status::Conflict,
        Status::Forbidden,
        Status::Busy,
        Status::Expired,
        Status::Unavailable,
        Status::Offline,
        Status::NoReply,
    ];
    with_responses(
        operation("presence", "Is the gateway connected?")
            .parameter(name("target", "The gateway"))
            .parameter(timeout(options))
            .parameter(traceparent()),
        &["Answer", "Seen"],
        Some("What is known of the gateway"),
        statuses.into_iter().map(Kind::Status).chain([Kind::NoSuchPath]),
    )
}

fn methods(options: &RouterOptions) -> OperationBuilder {
    let after = parameter("after", ParameterIn::Query, text_schema())
        .description(Some("The last name of the page before, for the next page."));
    with_responses(
        operation("methods", "Which methods does the gateway let the caller call?")
            .parameter(name("target", "The gateway"))
            .parameter(timeout(options))
            .parameter(after)
            .parameter(traceparent())
            .description(Some(
                "As the gateway's own `allow` has it. A policy before the gateway is judged at the call, and may refuse what \
                 is on the page.",
            )),
        &["Answer", "Methods"],
        Some("A page of what the gateway lets the caller call, as `response`"),
        every_status(),
    )
}

fn outcome(options: &RouterOptions) -> OperationBuilder {
    let id = text_schema().format(Some(SchemaFormat::Custom("uuid".to_owned())));
    with_responses(
        operation("outcome", "What became of an earlier call?")
            .parameter(name("target", "The gateway"))
            .parameter(
                parameter("id", ParameterIn::Path, id)
                    .required(Required::True)
                    .description(Some("The call, as its answer said it")),
            )
            .parameter(timeout(options))
            .parameter(traceparent()),
        &["Answer", "Known"],
        Some("What is known of the call, as `response`"),
        every_status(),
    )
}

fn every_status() -> impl Iterator<Item = Kind> {
    Status::ALL.iter().copied().map(Kind::Status).chain([Kind::NoSuchPath])
}

fn sample() -> OperationBuilder {
    let seconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1_u64))
        .maximum(Some(compat::MAX_TIMEOUT_S))
        .default(Some(json!(compat::DEFAULT_TIMEOUT_S)));

    let needed =
        |name, schema: RefOr<Schema>| parameter(name, ParameterIn::Query, schema).required(Required::True);
    let mut codes = BTreeMap::<u16, Vec<String>>::new();
    for status in Status::ALL {
        codes
            .entry(compat::code(*status))
            .or_default()
            .push(line(Kind::Status(*status), Kind::Status(*status).title()));
    }
    let operation = operation("sample", "A call in the form of the public AWS sample")
        .parameter(needed("target", reference(&["Name"])))
        .parameter(needed("method", reference(&["Name"])))
        .parameter(needed("request", text_schema().into()))
        .parameter(parameter("timeout", ParameterIn::Query, seconds).description(Some("Whole seconds.")))
        .parameter(traceparent());
    codes.into_iter().fold(operation, |operation, (code, lines)| {
        let mut response = response(&lines, "application/json", reference(&["SampleAnswer"]));
        if code == Status::Forbidden.http() {
            // A web page of another origin never gets as far as the sample's form.
            response = response.content(PROBLEM_JSON, content(reference(&["Problem"])));
        }
        operation.response(code.to_string(), response)
    })
}

fn description() -> OperationBuilder {
    let any = ObjectBuilder::new().schema_type(Type::Object);
    let lines = ["This description.".to_owned()];
    let forbidden = Kind::Status(Status::Forbidden);
    let forbidden = line(forbidden, forbidden.title());
    operation("description", "This interface, as OpenAPI describes it")
        .response("200", response(&lines, "application/json", any.into()))
        .response("403", response(&[forbidden], PROBLEM_JSON, reference(&["Problem"])))
}

fn operation(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).summary(Some(summary))
}

/// Adds a response for each code that these kinds have; what is 2xx has these schemas, all else is a problem. `ok` is what
/// that status says of a question.
fn with_responses(
    operation: OperationBuilder,
    done: &[&str],
    ok: Option<&str>,
    kinds: impl Iterator<Item = Kind>,
) -> OperationBuilder {
    let mut codes = BTreeMap::<u16, Vec<String>>::new();
    for kind in kinds {
        let about = ok.filter(|_| kind == Kind::Status(Status::Ok)).unwrap_or(kind.title());
        codes.entry(kind.http()).or_default().push(line(kind, about));
    }
    codes.into_iter().fold(operation, |operation, (code, lines)| {
        let (media, schema) = match code {
            200..=299 => ("application/json", reference(done)),
            _ => (PROBLEM_JSON, reference(&["Problem"])),
        };
        operation.response(code.to_string(), response(&lines, media, schema))
    })
}

fn response(lines: &[String], media: &str, schema: RefOr<Schema>) -> ResponseBuilder {
    ResponseBuilder::new()
        .description(lines.join("\n"))
        .content(media, content(schema))
        .header_ref("Cache-Control", Ref::new("#/components/headers/Cache-Control"))
        .header_ref("Server-Timing", Ref::new("#/components/headers/Server-Timing"))
}

fn content(schema: RefOr<Schema>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

fn components() -> Components {
    let header = |about| HeaderBuilder::new().schema(Some(text_schema())).description(Some(about)).build();
    schemas::all(ComponentsBuilder::new())
        .schema("Name", name_schema())
        .security_scheme(SIGNED, signed())
        .header("Cache-Control", header("`no-store`, always."))
        .header("Server-Timing", header("Where the time went, in milliseconds, once something was asked."))
        .build()
}

/// A kind, in a line of a list, and what it says here.
fn line(kind: Kind, about: &str) -> String {
    let outcome = kind.status().outcome().map_or("as its method declares it", Outcome::as_str);
    format!("- `{}` ({outcome}): {about}", kind.word())
}

fn outcomes() -> [String; 3] {
    [Outcome::Executed, Outcome::NotExecuted, Outcome::Unknown]
        .map(|outcome| format!("`{}`", outcome.as_str()))
}

/// One schema, or all of several.
fn reference(names: &[&str]) -> RefOr<Schema> {
    match names {
        [one] => Ref::from_schema_name(*one).into(),
        several => {
            let all = utoipa::openapi::schema::AllOfBuilder::new();
            let all = several.iter().fold(all, |all, name| all.item(Ref::from_schema_name(*name)));
            RefOr::T(Schema::AllOf(all.build()))
        }
    }
}

fn name(which: &str, about: &str) -> Parameter {
    parameter(which, ParameterIn::Path, reference(&["Name"]))
        .required(Required::True)
        .description(Some(about))
        .build()
}

fn name_schema() -> ObjectBuilder {
    text_schema().min_length(Some(1)).max_length(Some(Level::MAX_LEN)).pattern(Some(NAME)).description(Some(
        format!(
            "At most {} bytes of UTF-8, and few enough to fit into a topic of {} bytes with the other names of a call. What it \
             may not hold, neither broker nor path could carry: also no noncharacters of Unicode, U+FDD0 to U+FDEF, U+FFFE and \
             U+FFFF.",
            Level::MAX_LEN, MAX_TOPIC_LEN
        ),
    ))
}

fn timeout(options: &RouterOptions) -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1_u64))
        .maximum(Some(u64::try_from(options.max_timeout.as_millis()).unwrap_or(u64::MAX)))
        .default(Some(json!(options.default_timeout.as_millis())));
    let about = "How long the caller waits, in whole milliseconds from the request's arrival. Less if the platform in between \
                 gives up sooner.";
    parameter("timeout", ParameterIn::Query, schema).description(Some(about)).build()
}

fn traceparent() -> Parameter {
    let about = "W3C trace context, handed on to the gateway if it is one.";
    parameter("traceparent", ParameterIn::Header, text_schema()).description(Some(about)).build()
}

fn parameter(name: &str, place: ParameterIn, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    ParameterBuilder::new().name(name).parameter_in(place).required(Required::False).schema(Some(schema))
}

fn text_schema() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
