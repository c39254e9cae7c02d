//! `nowd check --component-configuration`: what is to be deployed is judged without a core.

use std::fs;

use nowd_testkit::Process;
use serde_json::{Value, json};

use super::core::ECHO;
use crate::bed::PATIENCE;

async fn check(own: &Value, maps: Option<&Value>) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("own.json"), folder.path().join("maps.json"));
    fs::write(&file, own.to_string()).unwrap();
    let mut args = vec!["check".to_owned(), "--state-dir".into(), folder.path().to_str().unwrap().into()];
    args.extend(["--component-configuration".into(), file.to_str().unwrap().into()]);
    if let Some(maps) = maps {
        fs::write(&other, maps.to_string()).unwrap();
        args.extend(["--component-configuration".into(), format!("com.example.Maps={}", other.display())]);
    }
    let mut process = Process::spawn(env!("CARGO_BIN_EXE_nowd"), &args, &[]);
    let code = process.exit(PATIENCE).await.code().unwrap();
    (code, process.lines().join("\n").replace(folder.path().to_str().unwrap(), ""))
}

/// On a core nobody makes a `nowd.toml`.
#[tokio::test]
async fn a_component_that_waits_for_its_first_deployment_is_told_so_also_by_a_relative_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("io.nowd.Gateway")).unwrap();
    let check = async |state_dir: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nowd"));
        command.args(["check", "--state-dir", state_dir]).current_dir(folder.path());
        let mut process = Process::start(command);
        (process.exit(PATIENCE).await.code().unwrap(), process.lines().join("\n"))
    };
    let (code, text) = check("io.nowd.Gateway").await;
    let whole = folder.path().join("io.nowd.Gateway");
    let expected = format!("no deployment was accepted yet in {}", whole.display());
    assert!(code == 78 && text.contains(&expected) && !text.contains("in nowd.toml"), "{code}: {text}");
    // Another folder is one of a service.
    let (code, text) = check("elsewhere").await;
    assert!(
        code == 78 && text.contains("`target` is not set; ") && !text.contains("deployment"),
        "{code}: {text}"
    );
    fs::write(whole.join("greengrass.json"), json!({"component": {"nowd": {"target": "gw"}}}).to_string())
        .unwrap();
    let (code, text) = check("io.nowd.Gateway").await;
    assert!(
        code == 78 && text.contains("`link.endpoint` is not set") && !text.contains("no deployment"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_to_be_deployed() {
    let own = json!({"nowd": {"compat": {"budget": "1s"}}, "maps": ["com.example.Maps"], "methods.d": {"echo.toml": ECHO}});
    let (code, text) = check(&own, None).await;
    assert!(code == 0 && text.contains("ok: 2 methods from 1 maps, 0 drop-ins"), "{text}");
    assert!(
        text.contains("not checked, since the core has it: target, link.endpoint, certificate and key"),
        "{text}"
    );
    assert!(text.contains("note: not checked: the maps of com.example.Maps; give them with"), "{text}");
    let maps = json!({"methods.d": {"more.toml": "[simulator]\n[methods.\"more\"]\n"}});
    let (code, text) = check(&own, Some(&maps)).await;
    assert!(code == 0 && text.contains("ok: 3 methods from 2 maps"), "{text}");

    for (own, maps, expected) in [
        (
            json!({"nowd": {"lnik": {}}}),
            None,
            "component configuration, `nowd`: unknown key `lnik`; did you mean `link`?",
        ),
        (json!([]), None, "/own.json: must be a JSON object"),
        (
            json!({"nowd": {"link": {"endpoint": "mqtts://x:8883"}}}),
            None,
            "`link.endpoint`: must be a host, or host:port",
        ),
        (json!({"nowd": {"link": {"probe": "1h"}}}), None, "`link.probe`: must lie between 1s and 1200s"),
        (json!({"nowd": {"compat": {"budget": "0s"}}}), None, "`compat.budget`: must be longer than 0"),
        (json!({"nowd": {"log": {"level": "loud"}}}), None, "`log.level`: must be"),
        (
            own.clone(),
            Some(json!({"methods.d": {"echo.toml": ""}})),
            "configuration of com.example.Maps: `methods.d/echo.toml` is also in the component configuration",
        ),
        (
            own,
            Some(json!({"methods.d": {"more.toml": ECHO}})),
            "configuration of com.example.Maps, methods.d/more.toml:",
        ),
    ] {
        let (code, text) = check(&own, maps.as_ref()).await;
        assert!(code == 78 && text.contains(expected), "{code}: {text}");
    }
}
