//! The Greengrass component: its recipe and those of the examples keep the public schema and what the nuclei ask beyond it; what is deployed
//! with them is configuration that the daemon takes. No nucleus runs here.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nowd_testkit::{Nucleus, Style};
use serde_json::{Value, json};

use crate::tools;

mod policies;
mod rules;

const NOWD: &str = env!("CARGO_BIN_EXE_nowd");

/// The shipped component, and the examples.
const GATEWAY: &str = "recipe.json";
const RECIPES: [&str; 3] = [GATEWAY, "examples/maps/recipe.json", "examples/gate/recipe.json"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn file(name: &str) -> PathBuf {
    root().join("greengrass-recipe").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

fn value(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap()
}

/// As the Greengrass Development Kit does it, which compares without case.
fn lower(value: &Value) -> Value {
    match value {
        Value::Object(of) => of.iter().map(|(key, value)| (key.to_lowercase(), lower(value))).collect(),
        Value::Array(of) => of.iter().map(lower).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn against_the_schema(recipe: &Value) -> Vec<String> {
    let schema = serde_json::from_str(include_str!("recipe/recipe_schema.json")).unwrap();
    let schema = jsonschema::draft7::new(&schema).unwrap();
    schema.iter_errors(&lower(recipe)).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[test]
fn the_recipes_keep_the_schema_and_the_rules_of_both_nuclei() {
    for name in RECIPES {
        assert_eq!(against_the_schema(&value(name)), Vec::<String>::new(), "{name}");
        assert_eq!(rules::broken(&text(name)), Vec::<String>::new(), "{name}");
    }
}

/// A recipe with one thing changed: a JSON pointer, what comes there, and a part of what is said. Null takes it away.
#[test]
fn each_rule_catches_a_recipe_that_breaks_it() {
    let run = "/Manifests/0/Lifecycle/run";
    let artifact = "/Manifests/0/Artifacts/0";
    let configuration = "/ComponentConfiguration/DefaultConfiguration";
    let script = |words: &str| json!({ "Script": words });
    let many: Value =
        (0..65).map(|number| (format!("key{number}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let deep = (0..8).fold(json!(1), |inner, _| json!({ "key": inner }));
    let of_nine: Value = (0..9)
        .map(|number| (format!("key{number}"), json!("x".repeat(900))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let cases = [
        // Case: the schema does not look at it.
        ("/manifests", json!([]), "`manifests` is no key"),
        ("/Lifecycle", json!({ "run": "exec true" }), "`Lifecycle` is no key"),
        ("/Manifests/0/Lifecycle", json!({ "Run": script("exec true") }), "`Run` is no key"),
        ("/Manifests/0/Lifecycle", json!({ "startup": script("exec true") }), "`startup` is no key"),
        (run, json!({ "script": "exec true" }), "`script` is no key"),
        (artifact, json!({ "URI": "s3://b/c" }), "`URI` is no key"),
        ("/Manifests/0/Artifacts/0/Permission", json!({ "read": "OWNER" }), "`read` is no key"),
        ("/Manifests/0/Platform", json!({ "architecture": "arm", "runtime": "*" }), "no `os: linux`"),
        ("/Manifests/0/Platform", json!({ "os": "linux", "architecture": "arm" }), "no `runtime: *`"),
        ("/Manifests/0/Platform/Architecture", json!("arm"), "`Architecture` is no key"),
        ("/Manifests", json!([]), "no manifest"),
        ("/Manifests/0/Lifecycle", json!({}), "no step"),
        // Artifacts.
        ("/Manifests/0/Artifacts/0/Permission", Value::Null, "not for its owner only"),
        ("/Manifests/0/Artifacts/0/Permission/Read", json!("ALL"), "not for its owner only"),
        ("/Manifests/0/Artifacts/0/Permission/Execute", json!("ALL"), "not for its owner only"),
        ("/Manifests/0/Artifacts/0/Permission/Execute", Value::Null, "nobody may run it"),
        ("/Manifests/0/Artifacts", json!([]), "is no artifact"),
        // The script.
        ("/Manifests/0/Lifecycle/run/Timeout", json!(60), "has a Timeout"),
        ("/Manifests/0/Lifecycle/run/RequiresPrivilege", json!(true), "runs as root"),
        (run, script("cd / && exec true"), "not one exec"),
        (run, script("exec true; exec false"), "not one exec"),
        (run, script("exec sh -c $HOME"), "not one exec"),
        (run, script("exec echo ${HOME}"), "braces"),
        (run, script("exec echo {configuration:/nowd}"), "braces"),
        (run, json!({ "Script": "exec true", "Setenv": { "A": "{dep:artifacts:path}" } }), "braces"),
        (run, script(&format!("exec echo {{{}}}", "a".repeat(257))), "256 bytes stand between braces"),
        // Sizes.
        ("/ComponentDescription", json!("x".repeat(1_600)), "bytes, and 2048 fit"),
        ("/ComponentDescription", json!("100 %"), "more than text"),
        ("/ComponentPublisher", json!("x".repeat(8_000)), "bytes, and 8196 are taken"),
        (configuration, json!({ "methods.d": { "a.toml": "\n".repeat(600) } }), "bytes, and 1024 are taken"),
        (configuration, of_nine, "more than 6000 bytes"),
        (configuration, many, "more than 64 keys"),
        (configuration, deep, "deeper than 7 keys"),
        // What does not belong there.
        (configuration, json!({ "nowd": { "link": { "password": "x" } } }), "looks like a secret"),
        (configuration, json!({ "key": "-----BEGIN PRIVATE KEY-----" }), "looks like a secret"),
        (
            "/ComponentDependencies",
            json!({ "com.example.Maps": { "VersionRequirement": ">=1.0.0" } }),
            "is HARD",
        ),
    ];
    for (pointer, new, said) in cases {
        let mut recipe = value(GATEWAY);
        set(&mut recipe, pointer, new);
        let wrong = rules::broken(&serde_json::to_string_pretty(&recipe).unwrap());
        assert!(
            wrong.iter().any(|sentence| sentence.contains(said)),
            "{pointer}: {said:?} is not in {wrong:#?}"
        );
    }
    let wrong = rules::broken("RecipeFormatVersion: 2020-01-25");
    assert!(wrong[0].contains("no JSON"), "{wrong:?}");
}

fn set(recipe: &mut Value, pointer: &str, new: Value) {
    if let Some(there) = recipe.pointer_mut(pointer).filter(|_| !new.is_null()) {
        *there = new;
        return;
    }
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = recipe.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
    if new.is_null() {
        assert!(parent.remove(key).is_some(), "{pointer} is not there");
    } else {
        parent.insert(key.into(), new);
    }
}

#[test]
fn the_schema_catches_what_it_is_for() {
    for (pointer, new) in [
        ("/ComponentName", json!("{COMPONENT_NAME}")),
        ("/RecipeFormatVersion", json!("2024-01-01")),
        ("/Manifests/0/Lifecycle/run", json!({ "Timeout": 1 })),
        ("/Manifests/0/Artifacts/0/Permission/Execute", json!("EVERYBODY")),
        ("/Manifests/0/Artifacts/0/Uri", Value::Null),
    ] {
        let mut recipe = value(GATEWAY);
        set(&mut recipe, pointer, new);
        assert_ne!(against_the_schema(&recipe), Vec::<String>::new(), "{pointer}");
    }
}

#[test]
fn the_gateway_is_of_this_version_and_for_every_architecture() {
    let (recipe, gdk) = (value(GATEWAY), value("gdk-config.json"));
    assert_eq!(recipe["ComponentVersion"], env!("CARGO_PKG_VERSION"));
    let component = &gdk["component"][recipe["ComponentName"].as_str().unwrap()];
    assert_eq!(component["version"], recipe["ComponentVersion"]);
    assert_eq!(component["build"]["build_system"], "custom");
    let command = component["build"]["custom_build_command"][0].as_str().unwrap();
    assert!(file(command).is_file(), "{command}");
    let of_each: Vec<&str> = recipe["Manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|manifest| manifest["Platform"]["architecture"].as_str().unwrap())
        .collect();
    assert_eq!(of_each, ["aarch64", "arm", "amd64"]);
}

/// `nowd check` with what would be deployed, kept in the state folder as the daemon keeps it.
fn check(component: &Value, components: &Value) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let deployed = json!({
        "nucleus": { "thing_name": "core-1", "endpoint": "127.0.0.1:1" },
        "component": component,
        "components": components,
    });
    std::fs::write(folder.path().join("greengrass.json"), deployed.to_string()).unwrap();
    // What the core's image brings.
    let more = ["--set", "link.tls=false"];
    let claim = component["nowd"].get("provisioning").is_some();
    Command::new(NOWD)
        .args(["check", "--state-dir"])
        .arg(folder.path())
        .args(if claim { &[][..] } else { &more })
        .env_clear()
        .env("AWS_IOT_THING_NAME", "core-1")
        // Without --config it would take a nowd.toml that lies there.
        .current_dir(folder.path())
        .output()
        .unwrap()
}

fn ok(output: &Output) -> String {
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{output:?}\n{stdout}{stderr}");
    stdout
}

#[test]
fn the_default_configuration_and_the_examples_are_taken() {
    let configuration = |name| value(name)["ComponentConfiguration"]["DefaultConfiguration"].clone();
    ok(&check(&configuration(GATEWAY), &json!({})));

    let with_maps = json!({ "maps": ["com.example.Maps", "com.example.Gate"] });
    let components = json!({
        "com.example.Maps": configuration("examples/maps/recipe.json"),
        "com.example.Gate": configuration("examples/gate/recipe.json"),
    });
    let said = ok(&check(&with_maps, &components));
    assert!(said.contains("target core-1-nowd") && said.contains("1 maps, 1 drop-ins"), "{said}");
}

#[test]
fn what_the_guide_deploys_is_taken_as_far_as_files_are_there() {
    let component = value("deployments/gateway.json");
    let maps = value("examples/maps/recipe.json")["ComponentConfiguration"]["DefaultConfiguration"].clone();
    let output = check(&component, &json!({ "com.example.Maps": maps }));
    // The identity is what a new core waits for; everything else is right.
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("link.certificate") || said.contains("identity"), "{said}");
}

#[test]
fn the_component_is_laid_out_as_the_tools_of_greengrass_want_it() {
    let folder = tempfile::tempdir().unwrap();
    // A folder that holds other things keeps them.
    let other = folder.path().join("local/bin");
    std::fs::create_dir_all(&other).unwrap();
    let output = Command::new(root().join(".ci/greengrass"))
        .arg("--program")
        .arg(NOWD)
        .arg("--into")
        .arg(folder.path())
        .output()
        .unwrap();
    ok(&output);
    assert!(other.is_dir());
    let version = env!("CARGO_PKG_VERSION");
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    };
    let program = folder.path().join(format!("artifacts/io.nowd.Gateway/{version}/nowd-{arch}"));
    ok(&Command::new(program).arg("--version").output().unwrap());
    for recipe in ["recipes/recipe.json".to_owned(), format!("local/io.nowd.Gateway-{version}.json")] {
        let recipe = std::fs::read_to_string(folder.path().join(recipe)).unwrap();
        assert_eq!(recipe, text(GATEWAY));
    }
}

/// What `maps-recipe` prints.
fn maps_recipe(files: &[&str]) -> Output {
    Command::new(file("maps-recipe"))
        .args(["com.example.Maps", "1.0.0"])
        .args(files.iter().map(|name| root().join(name)))
        .output()
        .unwrap()
}

#[test]
fn maps_become_a_component() {
    let example = ok(&maps_recipe(&["greengrass-recipe/examples/maps/methods.d/bus.toml"]));
    assert_eq!(
        example,
        text("examples/maps/recipe.json"),
        "the example is not what maps-recipe makes of its maps"
    );

    // Too long for one value: in pieces, whose lines are those of the file.
    let name = "plugins/maps/modbus-drive.toml";
    let recipe = ok(&maps_recipe(&[name]));
    assert_eq!(rules::broken(&recipe), Vec::<String>::new());
    let recipe: Value = serde_json::from_str(&recipe).unwrap();
    assert_eq!(against_the_schema(&recipe), Vec::<String>::new());
    let configuration = &recipe["ComponentConfiguration"]["DefaultConfiguration"];
    let pieces = configuration["methods.d"]["modbus-drive.toml"].as_object().unwrap();
    let (last, pieces) = pieces.iter().partition::<Vec<_>, _>(|(key, _)| *key == "last");
    assert!(pieces.len() > 1 && pieces.iter().map(|(key, _)| key).is_sorted());
    assert_eq!(last[0].1.as_str(), pieces.last().map(|(key, _)| key.as_str()));
    let joined: Vec<&str> = pieces.iter().map(|(_, piece)| piece.as_str().unwrap()).collect();
    let map = std::fs::read_to_string(root().join(name)).unwrap();
    assert_eq!(joined.concat(), map);
    // Blank lines count, too.
    let folder = tempfile::tempdir().unwrap();
    let blank = folder.path().join("blank.toml");
    std::fs::write(&blank, "\n\n[simulator]\n").unwrap();
    let recipe: Value = serde_json::from_str(&ok(&maps_recipe(&[blank.to_str().unwrap()]))).unwrap();
    let pieces = &recipe["ComponentConfiguration"]["DefaultConfiguration"]["methods.d"]["blank.toml"];
    assert_eq!(pieces, &json!({ "001": "\n\n[simulator]\n", "last": "001" }));

    let all =
        ["usb-relay", "modbus-drive", "systemd1", "login1"].map(|map| format!("plugins/maps/{map}.toml"));
    for (files, said) in [
        (all.each_ref().map(String::as_str).to_vec(), "spread the maps over several components"),
        (vec![name, name], "was given already"),
        (vec!["README.md"], "must end in .toml"),
        (vec![], "which maps?"),
    ] {
        let output = maps_recipe(&files);
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn the_gate_is_the_one_of_the_examples() {
    let recipe = value("examples/gate/recipe.json");
    let files: Vec<&str> = recipe["Manifests"][0]["Artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| artifact["Uri"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    for name in files {
        let own = file("examples/gate").join(name);
        let shipped = root().join("plugins/examples/python").join(name);
        assert!(own.is_file() != shipped.is_file(), "{name} is to be here or in plugins/examples/python");
    }
    // The line that install.sh looks for.
    let policy = root().join("plugins/examples/python/com.example.Gate.conf");
    assert!(std::fs::read_to_string(policy).unwrap().contains("<policy user=\"nowd\">"));
}

/// The `install` step, as the recipe's script says it.
fn install(nucleus: &Nucleus, work: &Path) -> (i32, String) {
    let recipe = value(GATEWAY);
    let script = recipe.pointer("/Manifests/2/Lifecycle/install/Script").and_then(Value::as_str).unwrap();
    let script =
        script.replace("{artifacts:path}/nowd-amd64", NOWD).replace("{work:path}", work.to_str().unwrap());
    let output = Command::new("/bin/sh")
        .args(["-c", &script])
        .current_dir(work)
        .env_clear()
        .envs(nucleus.environment("io.nowd.Gateway"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// What fails a deployment on lite, and on classic where the version changes too; and never a core for long.
#[test]
fn the_step_before_the_gateway_refuses_what_is_wrong_three_times() {
    for style in [Style::Lite, Style::Classic] {
        let nucleus = Nucleus::start(style);
        let work = tempfile::tempdir().unwrap();
        let install = || install(&nucleus, work.path());
        // Nothing is known yet, and everything else may come: an identity, a component of maps.
        nucleus.set_configuration("io.nowd.Gateway", value("deployments/gateway.json"));
        let (code, said) = install();
        assert!(code == 0 && said.starts_with("ok"), "{code}: {said}");

        // A component of maps that is wrong, in pieces.
        let maps = |last: &str| {
            let map = "# a map\n[simulator]";
            json!({ "methods.d": { "first.toml": { "001": map, "002": last } } })
        };
        nucleus.set_configuration("com.example.Maps", maps("[methods.first]\ndealy = \"1s\""));
        for _ in 0..3 {
            let (code, said) = install();
            assert_eq!(code, 78, "{said}");
            assert!(
                said.contains("com.example.Maps, methods.d/first.toml:4:1: unknown key `dealy`"),
                "{said}"
            );
        }
        let (code, said) = install();
        assert!(code == 0 && said.contains("let pass, since it was refused 3 times"), "{code}: {said}");
        // Another mistake is another matter.
        nucleus.merge("io.nowd.Gateway", &json!({ "nowd": { "acces": {} } }));
        let (code, said) = install();
        assert!(code == 78 && said.contains("unknown key `acces`"), "{code}: {said}");

        nucleus.set_configuration("io.nowd.Gateway", value("deployments/gateway.json"));
        nucleus.set_configuration("com.example.Maps", maps("[methods.first]"));
        let (code, said) = install();
        assert!(code == 0 && said.starts_with("ok"), "{code}: {said}");
        assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 0, "what was refused is forgotten");
        // The gateway's own place is not taken from it.
        assert_eq!(nucleus.calls("SubscribeToValidateConfigurationUpdates"), 0);

        // A nucleus that cannot be asked stands in nobody's way.
        nucleus.refuse("GetConfiguration", "UnauthorizedError", "not you");
        assert_eq!(install().0, 0);
        nucleus.stop();
        let (code, said) = install();
        assert!(code == 0 && said.contains("nothing is checked"), "{code}: {said}");
    }
    let alone = Command::new(NOWD).args(["check", "--deployed"]).env_clear().output().unwrap();
    assert_eq!(alone.status.code(), Some(64));
}

#[test]
fn the_guide_shows_the_deployment_that_lies_there() {
    let guide = std::fs::read_to_string(root().join("docs/guides/greengrass.md")).unwrap();
    let block = guide.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(block).unwrap(), value("deployments/gateway.json"));
}

/// As the service's own model has it, which AWS's clients go by.
#[test]
fn the_deployment_of_the_guide_fits_the_service() {
    let component = json!({
        "componentVersion": env!("CARGO_PKG_VERSION"),
        "configurationUpdate": { "merge": text("deployments/gateway.json") },
        "runWith": { "posixUser": "nowd:nowd" },
    });
    let request = json!({
        "targetArn": "arn:aws:iot:eu-central-1:123456789012:thinggroup/gateways-canary",
        "deploymentName": "gateways-canary",
        "components": { "io.nowd.Gateway": component, "com.example.Maps": { "componentVersion": "1.0.0" } },
        "deploymentPolicies": value("deployments/policies.json"),
        "iotJobConfiguration": value("deployments/iot-job.json"),
    });
    let program = "import json, sys, botocore.session, botocore.validate\n\
         service = botocore.session.get_session().get_service_model('greengrassv2')\n\
         shape = service.operation_model('CreateDeployment').input_shape\n\
         print(botocore.validate.ParamValidator().validate(json.loads(sys.argv[1]), shape).generate_report())";
    let mut python = tools::python();
    let output = python.args(["-c", program]).arg(request.to_string()).env_clear().output().unwrap();
    assert_eq!(ok(&output).trim(), "");
    // Lite takes so much of it.
    assert!(request.to_string().len() < 4_000);
}
