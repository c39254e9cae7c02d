//! What the nuclei do with a recipe beyond the public schema: nucleus lite reads it by exact case and into small buffers, the classic one
//! has defaults that hurt. docs/decisions/0039 says where each is from.

use std::fmt::Write as _;

use serde_json::Value;

/// Nucleus lite: the recipe, a generated unit, the text between braces, a value, in bytes; the keys of an object, and how deep they go.
const LARGEST_RECIPE: usize = 8_196;
const LARGEST_UNIT: usize = 2_048;
const LONGEST_VARIABLE: usize = 256;
const LARGEST_VALUE: usize = 1_024;
/// Read in one message of 10,000 bytes, into 9,000 bytes with what each value costs beside itself.
const LARGEST_CONFIGURATION: usize = 6_000;
const MOST_KEYS: usize = 64;
/// Ten with `services`, the component and `configuration`.
const DEEPEST: usize = 7;

/// What both nuclei put in place of a variable; `{configuration:..}` is not among them, since it has limits of its own.
const VARIABLES: [&str; 4] = ["{artifacts:path}", "{work:path}", "{kernel:rootPath}", "{iot:thingName}"];

/// Everything that is wrong with a recipe, one sentence each.
pub(super) fn broken(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LARGEST_RECIPE {
        wrong.push(format!("the recipe has {} bytes, and {LARGEST_RECIPE} are taken", text.len()));
    }
    match serde_json::from_str::<Value>(text) {
        Err(e) => wrong.push(format!("the recipe is no JSON: {e}")),
        Ok(recipe) => look(&recipe, &mut wrong),
    }
    wrong
}

fn look(recipe: &Value, wrong: &mut Vec<String>) {
    keys(recipe, "the recipe", &TOP, wrong);
    if let Some(description) = recipe["ComponentDescription"].as_str() {
        // Written into the unit as it is.
        if description.contains(['\n', '%', '\\']) {
            wrong.push("ComponentDescription holds what systemd reads as more than text".into());
        }
    }
    for (name, dependency) in object(&recipe["ComponentDependencies"]) {
        keys(
            dependency,
            &format!("the dependency on {name}"),
            &["VersionRequirement", "DependencyType"],
            wrong,
        );
        if dependency["DependencyType"] != "SOFT" {
            wrong.push(format!("the dependency on {name} is HARD: when that one ends, lite stops this one"));
        }
    }
    let configuration = &recipe["ComponentConfiguration"];
    keys(configuration, "ComponentConfiguration", &["DefaultConfiguration"], wrong);
    if configuration.to_string().len() > LARGEST_CONFIGURATION {
        wrong.push(format!("the configuration has more than {LARGEST_CONFIGURATION} bytes"));
    }
    values(&configuration["DefaultConfiguration"], "configuration", 1, wrong);
    let manifests = recipe["Manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    if manifests.is_empty() {
        wrong.push("there is no manifest".into());
    }
    for manifest in manifests {
        let name = manifest["Name"].as_str().unwrap_or("a manifest");
        look_at_manifest(manifest, name, wrong);
        for phase in ["install", "run"] {
            let size = unit(recipe, at(manifest, &["Lifecycle", phase]), phase).len();
            if !at(manifest, &["Lifecycle", phase]).is_null() && size > LARGEST_UNIT {
                wrong.push(format!("{name}: the unit for {phase} has {size} bytes, and {LARGEST_UNIT} fit"));
            }
        }
    }
}

const TOP: [&str; 9] = [
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentType",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentConfiguration",
    "ComponentDependencies",
    "Manifests",
];

fn look_at_manifest(manifest: &Value, name: &str, wrong: &mut Vec<String>) {
    keys(manifest, name, &["Name", "Platform", "Lifecycle", "Artifacts"], wrong);
    keys(&manifest["Platform"], &format!("{name}: Platform"), &["os", "architecture", "runtime"], wrong);
    for (key, value) in [("os", "linux"), ("runtime", "*")] {
        if at(manifest, &["Platform", key]) != value {
            wrong.push(format!("{name}: Platform says no `{key}: {value}`"));
        }
    }
    // Others are ignored or mean something else on one of the two.
    keys(&manifest["Lifecycle"], &format!("{name}: Lifecycle"), &["install", "run"], wrong);
    let steps = object(&manifest["Lifecycle"]);
    if steps.is_empty() {
        wrong.push(format!("{name}: there is no step, and lite takes no component without one"));
    }
    for artifact in manifest["Artifacts"].as_array().into_iter().flatten() {
        keys(artifact, &format!("{name}: an artifact"), &["Uri", "Permission"], wrong);
        let permission = &artifact["Permission"];
        keys(permission, &format!("{name}: Permission"), &["Read", "Execute"], wrong);
        if permission["Read"] != "OWNER"
            || permission.get("Execute").is_some_and(|execute| execute != "OWNER")
        {
            wrong.push(format!("{name}: {} is not for its owner only", artifact["Uri"]));
        }
    }
    for (phase, step) in steps {
        look_at_step(manifest, phase, step, &format!("{name}: {phase}"), wrong);
    }
}

fn look_at_step(manifest: &Value, phase: &str, step: &Value, place: &str, wrong: &mut Vec<String>) {
    keys(step, place, &["Script", "Setenv", "RequiresPrivilege", "Timeout"], wrong);
    if phase == "run" && step.get("Timeout").is_some() {
        wrong.push(format!("{place}: it has a Timeout, after which the classic nucleus kills it"));
    }
    if phase == "run" && step.get("RequiresPrivilege").is_some() {
        wrong.push(format!("{place}: it runs as root"));
    }
    let script = step["Script"].as_str().unwrap_or_default();
    if !script.starts_with("exec ") || script.contains(['\n', ';', '&', '|', '`', '$']) {
        wrong.push(format!("{place}: its script is not one exec, so that signals go to a shell: {script}"));
    }
    for text in std::iter::once(script)
        .chain(object(&step["Setenv"]).into_iter().filter_map(|(_, value)| value.as_str()))
    {
        let rest = VARIABLES.iter().fold(text.to_owned(), |text, variable| text.replace(variable, ""));
        if rest.contains(['{', '}']) {
            wrong.push(format!("{place}: it has braces that are no variable of both nuclei: {text}"));
        }
        if rest.split('{').skip(1).any(|inside| inside.split('}').next().unwrap().len() > LONGEST_VARIABLE) {
            wrong.push(format!("{place}: more than {LONGEST_VARIABLE} bytes stand between braces"));
        }
    }
    let named = script.split_whitespace().filter_map(|word| word.strip_prefix("{artifacts:path}/"));
    let program = script.strip_prefix("exec {artifacts:path}/").and_then(|rest| rest.split(' ').next());
    for file in named {
        let artifacts = manifest["Artifacts"].as_array().into_iter().flatten();
        let mut of_name = artifacts.filter(|artifact| {
            artifact["Uri"].as_str().is_some_and(|uri| uri.rsplit('/').next() == Some(file))
        });
        match of_name.next() {
            None => wrong.push(format!("{place}: {file} is no artifact")),
            Some(artifact)
                if program == Some(file) && at(artifact, &["Permission", "Execute"]) != "OWNER" =>
            {
                wrong.push(format!("{place}: {file} has no `Execute: OWNER`, and nobody may run it"));
            }
            Some(_) => {}
        }
    }
}

/// Each value by itself, and how many there are.
fn values(value: &Value, at: &str, depth: usize, wrong: &mut Vec<String>) {
    if depth > DEEPEST {
        wrong.push(format!("{at} is deeper than {DEEPEST} keys"));
    }
    match value {
        Value::Object(of) => {
            if of.len() > MOST_KEYS {
                wrong.push(format!("{at} has more than {MOST_KEYS} keys"));
            }
            for (key, value) in of {
                let secret = ["password", "secret", "token", "privatekey"];
                let plain = key.to_lowercase().replace(['_', '-'], "");
                if secret.iter().any(|word| plain.contains(word)) {
                    wrong.push(format!("{at}/{key} looks like a secret, and every component may read it"));
                }
                values(value, &format!("{at}/{key}"), depth + 1, wrong);
            }
        }
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            let text = leaf.to_string();
            if text.len() > LARGEST_VALUE {
                wrong.push(format!("{at} has {} bytes, and {LARGEST_VALUE} are taken", text.len()));
            }
            if ["-----BEGIN", "AKIA", "ASIA"].iter().any(|sign| text.contains(sign)) {
                wrong.push(format!("{at} looks like a secret, and every component may read it"));
            }
        }
    }
}

fn keys(of: &Value, at: &str, known: &[&str], wrong: &mut Vec<String>) {
    for (key, _) in object(of) {
        if !known.contains(&key.as_str()) {
            wrong.push(format!("{at}: `{key}` is no key that both nuclei know; {known:?} are, in this case"));
        }
    }
}

fn at<'a>(of: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(of, |of, key| of.get(key).unwrap_or(&Value::Null))
}

fn object(of: &Value) -> Vec<(&String, &Value)> {
    of.as_object().into_iter().flatten().collect()
}

/// The unit that nucleus lite makes of a step, where it is usually installed, with a user of the longest name.
fn unit(recipe: &Value, step: &Value, phase: &str) -> String {
    let [name, version] =
        ["ComponentName", "ComponentVersion"].map(|key| recipe[key].as_str().unwrap_or_default());
    let user = "u".repeat(32);
    let root = "/var/lib/greengrass";
    let mut unit = String::from("[Unit]\nStartLimitInterval=3600\nStartLimitBurst=3\n");
    writeln!(unit, "Description={}", recipe["ComponentDescription"].as_str().unwrap_or_default()).unwrap();
    unit.push_str(
        "PartOf=greengrass-lite.target\nWants=ggl.core.ggipcd.service\nAfter=ggl.core.ggipcd.service\n",
    );
    for (dependency, _) in object(&recipe["ComponentDependencies"]) {
        writeln!(unit, "BindsTo=ggl.{dependency}.service").unwrap();
    }
    unit.push_str("\n[Service]\nRestart=on-failure\nRestartSec=1\n");
    writeln!(unit, "WorkingDirectory={root}/work/{name}").unwrap();
    let socket = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT";
    writeln!(unit, "Environment=\"{socket}={root}/gg-ipc.socket\"").unwrap();
    unit.push_str("Type=oneshot\nRemainAfterExit=true\n");
    writeln!(unit, "ExecStart=/usr/local/bin/recipe-runner -n {name} -v {version} -p {phase}").unwrap();
    writeln!(unit, "SyslogIdentifier={name}\nTimeoutSec={}", step["Timeout"].as_u64().unwrap_or(120))
        .unwrap();
    writeln!(unit, "User={user}\nGroup={user}\n\n[Install]\nWantedBy=greengrass-lite.target").unwrap();
    unit
}
