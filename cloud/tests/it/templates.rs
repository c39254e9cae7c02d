//! The templates: AWS's own linters take them, and what no linter knows of nowd is right too. Nothing outside this machine is
//! asked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nowd_protocol::{Outcome, Status};
use serde_json::Value;

use crate::tools;

/// Settings of the function that the template leaves alone.
const NOT_SET: [&str; 4] = ["NOWD_ALLOW_ANONYMOUS", "NOWD_BASE_PATH", "NOWD_CA", "NOWD_KEEP_ALIVE"];

const ID: &str = "0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0";

/// What the function reads of its environment, by the table in its own words.
fn environment() -> BTreeSet<String> {
    let source = std::fs::read_to_string(file("src/aws/lambda.rs")).unwrap();
    let names = source.lines().filter_map(|line| line.strip_prefix("//! | `NOWD_")?.split_once('`'));
    names.map(|(name, _)| format!("NOWD_{name}")).collect()
}

/// What the router answers, such as `GET /openapi.json`.
fn routes() -> BTreeSet<String> {
    let description = std::fs::read(file("openapi.json")).unwrap();
    let description: Value = serde_json::from_slice(&description).unwrap();
    let paths = at(&description, "/paths").as_object().unwrap().iter();
    paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A program that .ci/setup has installed.
fn tool(name: &str) -> Command {
    let mut command = Command::new(tools::tool(name));
    // Neither settings of whoever runs the tests, nor a word to anybody outside.
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("AWS_DEFAULT_REGION", "eu-central-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("SAM_CLI_TELEMETRY", "0");
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A template with its short forms written out: `!Sub x` is `{"Fn::Sub": "x"}`.
fn template(name: &str) -> Value {
    let program = "import json, sys; from cfnlint.decode import cfn_yaml; print(json.dumps(cfn_yaml.load(sys.argv[1])))";
    let output = done(tool("python").args(["-c", program]).arg(file(name)));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_linters_of_aws_have_nothing_to_say() {
    for name in ["template.yaml", "thing.yaml"] {
        // Informational findings count, too.
        let output = done(tool("cfn-lint").args(["--include-checks", "I", "--template"]).arg(file(name)));
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        done(tool("sam").args(["validate", "--lint", "--template"]).arg(file(name)));
    }
}

/// What a template's policy says, for one choice of `Delivery`.
struct Rights {
    /// (action, resource, topic that a condition asks for)
    allowed: Vec<(String, String, Option<String>)>,
}

impl Rights {
    fn of(document: &Value, delivery: &str) -> Self {
        let mut allowed = Vec::new();
        for statement in list(at(document, "/Statement")) {
            let statement = chosen(statement, delivery);
            assert_eq!(at(statement, "/Effect"), "Allow", "{statement}");
            let topic = statement.pointer("/Condition/StringLike/iot:Topic").map(text);
            for action in list(at(statement, "/Action")) {
                for resource in list(at(statement, "/Resource")) {
                    allowed.push((text(action), text(resource), topic.clone()));
                }
            }
        }
        Self { allowed }
    }

    fn may(&self, action: &str, kind: &str, name: &str, about: Option<&str>) -> bool {
        let resource = format!("arn:aws:iot:eu-central-1:123456789012:{kind}/{name}");
        self.allowed.iter().any(|(allowed, pattern, topic)| {
            allowed == action
                && matches(pattern, &resource)
                && topic.as_deref().is_none_or(|topic| about.is_some_and(|about| matches(topic, about)))
        })
    }

    fn check(&self, table: &[(bool, &str, &str)]) {
        for (expected, action, resource) in table {
            let (kind, name) = resource.split_once('/').unwrap();
            let (name, about) = name.split_once(" about ").map_or((name, None), |(n, a)| (n, Some(a)));
            assert_eq!(self.may(action, kind, name, about), *expected, "{action} on {resource}");
        }
    }
}

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |values| values.iter().collect())
}

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    let part = value.pointer(pointer);
    assert!(part.is_some(), "no {pointer} in {value}");
    part.unwrap()
}

fn chosen<'a>(value: &'a Value, delivery: &str) -> &'a Value {
    if value.get("Fn::If").is_none() {
        return value;
    }
    assert_eq!(at(value, "/Fn::If/0"), "ByMqtt", "{value}");
    at(value, if delivery == "mqtt" { "/Fn::If/1" } else { "/Fn::If/2" })
}

/// A text with the template's parameters as an example has them.
fn text(value: &Value) -> String {
    if let Some(attribute) = value.get("Fn::GetAtt") {
        return attribute.to_string();
    }
    let mut text = value.get("Fn::Sub").unwrap_or(value).as_str().unwrap().to_owned();
    for (name, filled) in [
        ("AWS::Partition", "aws"),
        ("AWS::Region", "eu-central-1"),
        ("AWS::AccountId", "123456789012"),
        ("ClientIDPrefix", "nowd-cloud"),
        ("LambdaIoTClientID", "nowd-cloud"),
        ("TargetPattern", "vehicle-*"),
        ("!iot:Connection.Thing.ThingName", "vehicle-1"),
    ] {
        text = text.replace(&format!("${{{name}}}"), filled);
    }
    assert!(!text.contains("${"), "{text}");
    text
}

/// As a policy has it: `*` stands for any characters, `+` and `#` for themselves.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).filter_map(|from| text.get(from..)).any(|text| matches(rest, text))
        }),
    }
}

fn policy<'a>(template: &'a Value, name: &str) -> &'a Value {
    let policies = list(at(template, "/Resources/IoTLambdaClientRole/Properties/Policies"));
    at(policies.into_iter().find(|policy| at(policy, "/PolicyName") == name).unwrap(), "/PolicyDocument")
}

#[test]
fn the_function_may_do_what_it_does_and_nothing_else() {
    let template = template("template.yaml");
    let document = policy(&template, "gateways");
    let [a, b] = ["nowd-cloud-0123456789ab", "nowd-cloud-ba9876543210-d"];
    let topic = |text: &str| text.replace("ME", a).replace("SIBLING", b).replace("ID", ID);
    let common: Vec<(bool, &str, String)> = [
        (true, "iot:Connect", "client/ME"),
        (true, "iot:Connect", "client/SIBLING"),
        (false, "iot:Connect", "client/nowd-cloud"),
        (false, "iot:Connect", "client/vehicle-1"),
        (true, "iot:Subscribe", "topicfilter/ME/+/+/+/ack"),
        (true, "iot:Subscribe", "topicfilter/nowd/presence/vehicle-1"),
        (false, "iot:Subscribe", "topicfilter/#"),
        (false, "iot:Subscribe", "topicfilter/+/+/+/+/ack"),
        (false, "iot:Subscribe", "topicfilter/nowd/presence/+"),
        (false, "iot:Subscribe", "topicfilter/nowd/presence/boat-1"),
        (false, "iot:Subscribe", "topicfilter/vehicle-1/+/+/+"),
        (true, "iot:Receive", "topic/ME/ID/vehicle-1/window.set/ack"),
        (true, "iot:Receive", "topic/ME/ID/ME/probe/ack"),
        (true, "iot:Receive", "topic/nowd/presence/vehicle-1"),
        (false, "iot:Receive", "topic/vehicle-1/window.set/ME/ID"),
        (true, "iot:Publish", "topic/ME/ID/ME/probe/ack"),
        // A gateway's reply, and its presence, are the gateway's.
        (false, "iot:Publish", "topic/ME/ID/vehicle-1/window.set/ack"),
        (false, "iot:Publish", "topic/nowd/presence/vehicle-1"),
        (false, "iot:RetainPublish", "topic/nowd/presence/vehicle-1"),
        (false, "iot:Publish", "topic/boat-1/window.set/ME/ID"),
        (false, "iot:Publish", "topic/vehicle-1/window.set/somebody/ID"),
        (false, "iot:Publish", "topic/$aws/things/vehicle-1/shadow/update"),
    ]
    .map(|(expected, action, resource)| (expected, action, topic(resource)))
    .into();
    for delivery in ["mqtt", "direct"] {
        let (mqtt, direct) = (delivery == "mqtt", delivery == "direct");
        let mut table = common.clone();
        table.extend(
            [
                (mqtt, "iot:Publish", "topic/vehicle-1/window.set/ME/ID"),
                (direct, "iot:SendDirectMessage", "client/vehicle-1 about vehicle-1/window.set/ME/ID"),
                (false, "iot:SendDirectMessage", "client/boat-1 about vehicle-1/window.set/ME/ID"),
                (false, "iot:SendDirectMessage", "client/vehicle-1 about vehicle-1/window.set/somebody/ID"),
                (false, "iot:SendDirectMessage", "client/vehicle-1 about nowd/presence/vehicle-1"),
                (false, "iot:SendDirectMessage", "client/vehicle-1"),
            ]
            .map(|(expected, action, resource)| (expected, action, topic(resource))),
        );
        let table: Vec<_> = table.iter().map(|(e, a, r)| (*e, *a, r.as_str())).collect();
        let rights = Rights::of(document, delivery);
        rights.check(&table);
        for (action, resource, _) in &rights.allowed {
            let narrow = resource.contains("nowd-cloud-")
                || resource.ends_with("/nowd/presence/vehicle-*")
                || (action == "iot:SendDirectMessage" && resource.ends_with(":client/vehicle-*"));
            assert!(narrow, "{action} on {resource}");
        }
    }
    // Tracing knows no resources; nothing else is for all.
    for name in ["gateways", "log", "trace"] {
        for (action, resource, _) in Rights::of(policy(&template, name), "mqtt").allowed {
            assert_eq!(resource == "*", action.starts_with("xray:"), "{action} on {resource}");
        }
    }
}

#[test]
fn a_gateway_may_act_under_its_own_name_only() {
    let template = template("thing.yaml");
    let document = &template["Resources"]["TestingIoTThingPolicy"]["Properties"]["PolicyDocument"];
    let rights = Rights::of(document, "mqtt");
    let topic = |text: &str| text.replace("ME", "nowd-cloud-0123456789ab").replace("ID", ID);
    let table = [
        (true, "iot:Connect", "client/vehicle-1"),
        (false, "iot:Connect", "client/vehicle-2"),
        (false, "iot:Connect", "client/ME"),
        (true, "iot:Subscribe", "topicfilter/vehicle-1/+/+/+"),
        (true, "iot:Subscribe", "topicfilter/nowd/presence/vehicle-1"),
        (false, "iot:Subscribe", "topicfilter/+/+/+/+"),
        (false, "iot:Subscribe", "topicfilter/#"),
        (false, "iot:Subscribe", "topicfilter/vehicle-2/+/+/+"),
        (true, "iot:Receive", "topic/vehicle-1/window.set/ME/ID"),
        (true, "iot:Receive", "topic/vehicle-1/nowd.probe/vehicle-1/ID"),
        (true, "iot:Receive", "topic/nowd/presence/vehicle-1"),
        (false, "iot:Receive", "topic/vehicle-1/window.set/somebody/ID"),
        (false, "iot:Receive", "topic/vehicle-2/window.set/ME/ID"),
        (true, "iot:Publish", "topic/ME/ID/vehicle-1/window.set/ack"),
        (true, "iot:Publish", "topic/vehicle-1/nowd.probe/vehicle-1/ID"),
        (true, "iot:Publish", "topic/nowd/presence/vehicle-1"),
        (true, "iot:RetainPublish", "topic/nowd/presence/vehicle-1"),
        (false, "iot:Publish", "topic/ME/ID/vehicle-2/window.set/ack"),
        (false, "iot:Publish", "topic/ME/ID/ME/probe/ack"),
        (false, "iot:Publish", "topic/vehicle-2/window.set/ME/ID"),
        (false, "iot:Publish", "topic/nowd/presence/vehicle-2"),
        (false, "iot:RetainPublish", "topic/vehicle-1/window.set/ME/ID"),
        (false, "iot:SendDirectMessage", "client/vehicle-2"),
    ]
    .map(|(expected, action, resource)| (expected, action, topic(resource)));
    let table: Vec<_> = table.iter().map(|(e, a, r)| (*e, *a, r.as_str())).collect();
    rights.check(&table);
    for (action, resource, _) in &rights.allowed {
        assert!(resource.contains("vehicle-1"), "{action} on {resource} is not bound to the thing");
    }
    let connect = list(&document["Statement"]).into_iter().find(|s| s["Action"] == "iot:Connect").unwrap();
    assert_eq!(connect["Condition"]["Bool"]["iot:Connection.Thing.IsAttached"], "true");
}

#[test]
fn the_function_is_told_what_it_reads_and_asked_what_it_answers() {
    let template = template("template.yaml");
    let function = &template["Resources"]["IoTLambdaClientFunction"]["Properties"];
    let names = function["Environment"]["Variables"].as_object().unwrap().keys().cloned();
    assert_eq!(names.chain(NOT_SET.map(str::to_owned)).collect::<BTreeSet<_>>(), environment());

    let events = function["Events"].as_object().unwrap().values().map(|event| {
        let route = &event["Properties"];
        assert_eq!(route["RestApiId"]["Ref"], "Api", "{event}");
        assert!(route["Auth"].is_null(), "{event}: the API's authorisation holds for all");
        format!("{} {}", route["Method"].as_str().unwrap(), route["Path"].as_str().unwrap())
    });
    assert_eq!(events.collect::<BTreeSet<_>>(), routes());
    // A slash more is another path: API Gateway finds the route, and hands the path over with it.
    let url = |name: &str| template["Outputs"][name]["Value"]["Fn::Sub"].as_str().unwrap().to_owned();
    assert_eq!(url("InvokeApi"), url("Url") + "invoke");

    let auth = &template["Resources"]["Api"]["Properties"]["Auth"];
    assert_eq!(
        (auth["DefaultAuthorizer"].as_str(), auth["InvokeRole"].as_str()),
        (Some("AWS_IAM"), Some("NONE"))
    );
    assert!(function["Timeout"].as_u64().unwrap() > 30, "API Gateway waits for 29 s");
}

#[test]
fn what_api_gateway_answers_by_itself_says_what_is_known() {
    let template = template("template.yaml");
    let responses = &template["Resources"]["Api"]["Properties"]["GatewayResponses"];
    for (name, response) in responses.as_object().unwrap() {
        let body = response["ResponseTemplates"]["application/json"].as_str().unwrap();
        let body =
            body.replace("$context.error.messageString", r#""a sentence""#).replace("$context.requestId", ID);
        let body: Value = serde_json::from_str(&body).unwrap();
        let outcome = if name == "DEFAULT_5XX" { "unknown" } else { "not_executed" };
        assert_eq!(body["outcome"], outcome, "{name}");
        let status = Status::parse(body["code"].as_str().unwrap()).expect("a status of the table");
        assert_eq!(status.outcome().map(Outcome::as_str), Some(outcome), "{name}");
        assert_eq!(body["type"], format!("tag:nowd.io,2026:{}", status.as_str()), "{name}");
        assert!(body["title"].is_string() && body["detail"].is_string(), "{name}");
        // As API Gateway documents them, where nobody changes them.
        let code = match name.as_str() {
            "RESOURCE_NOT_FOUND" => 404,
            "REQUEST_TOO_LARGE" => 413,
            "UNSUPPORTED_MEDIA_TYPE" => 415,
            _ => status.http(),
        };
        // All of the 400s together have no code.
        let expected = if name == "DEFAULT_4XX" { Value::Null } else { code.into() };
        assert_eq!(body["status"], expected, "{name}");
        let changed = if name == "DEFAULT_5XX" { "504".into() } else { Value::Null };
        assert_eq!(response["StatusCode"], changed, "{name}");
        let media = &response["ResponseParameters"]["Headers"]["Content-Type"];
        assert_eq!(media, "'application/problem+json'", "{name}");
    }
}

#[test]
fn example_policies_name_routes_that_there_are() {
    let patterns: Vec<String> = routes()
        .into_iter()
        .map(|route| {
            route.replace("{target}", "*").replace("{method}", "*").replace("{id}", "*").replace(' ', "")
        })
        .collect();
    let mut seen = 0;
    for entry in std::fs::read_dir(file("policies")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (action, resource, _) in Rights::of(&document, "mqtt").allowed {
            assert_eq!(action, "execute-api:Invoke", "{}", path.display());
            let route = resource.strip_prefix("arn:aws:execute-api:REGION:ACCOUNT:API/Prod/").unwrap();
            assert!(patterns.iter().any(|pattern| matches(pattern, route)), "{}: {route}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}
