//! What the policies, the claim's template and the component's `accessControl` allow: what is used, and no more.

use serde_json::{Value, json};

use super::{root, value};

const POLICIES: [&str; 3] =
    ["aws/claim-policy.json", "aws/core-policy-for-the-link.json", "aws/token-exchange-role-policy.json"];

#[test]
fn the_policies_name_what_they_allow() {
    let many = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    for name in POLICIES {
        for statement in many(&value(name)["Statement"]) {
            assert_eq!(statement["Effect"], "Allow");
            for action in many(&statement["Action"]) {
                let action = action.as_str().unwrap().to_owned();
                assert!(!action.contains('*'), "{name}: {action}");
            }
            for resource in many(&statement["Resource"]) {
                let resource = resource.as_str().unwrap().to_owned();
                // Not everything of a kind: something stands before the first star.
                let path = resource.splitn(6, ':').nth(5).unwrap();
                let named = path.split_once('/').map_or(path, |(_, rest)| rest);
                assert!(!named.starts_with('*'), "{name}: {resource}");
            }
        }
    }
}

/// What the link through Greengrass says and hears is allowed at both places that are asked, and nothing is allowed for nothing.
#[test]
fn the_link_through_greengrass_may_do_what_it_does() {
    let (ack, probe) = ("nowd-cloud-1/window.open/core-1/7/ack", "core-1/nowd.probe/core-1/7");
    let (request, presence) = ("core-1/window.open/nowd-cloud-1/7", "nowd/presence/core-1");
    let texts = |value: &Value| -> Vec<String> {
        let many = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        many.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };

    let services = &value("deployments/link-through-greengrass.json")["accessControl"];
    let policies = services["aws.greengrass.ipc.mqttproxy"].as_object().unwrap();
    let resources = |operation: &str| -> Vec<String> {
        let of =
            policies.values().filter(|policy| texts(&policy["operations"]).contains(&operation.to_owned()));
        of.flat_map(|policy| texts(&policy["resources"])).collect()
    };
    allows(&resources("aws.greengrass#SubscribeToIoTCore"), &["core-1/+/+/+"]);
    allows(&resources("aws.greengrass#PublishToIoTCore"), &[ack, probe, presence]);

    let policy = value("aws/core-policy-for-the-link.json");
    let statements = policy["Statement"].as_array().unwrap();
    let resources = |action: &str, kind: &str| -> Vec<String> {
        let of = statements.iter().filter(|one| texts(&one["Action"]).contains(&action.to_owned()));
        let start = format!("arn:aws:iot:REGION:ACCOUNT:{kind}/");
        let paths = of.flat_map(|one| texts(&one["Resource"]));
        paths.map(|path| path.strip_prefix(&start).unwrap().replace("CORE_THING", "core-1")).collect()
    };
    allows(&resources("iot:Subscribe", "topicfilter"), &["core-1/+/+/+"]);
    allows(&resources("iot:Receive", "topic"), &[request, probe]);
    allows(&resources("iot:Publish", "topic"), &[ack, probe, presence]);
    allows(&resources("iot:RetainPublish", "topic"), &[presence]);
}

/// Each of `topics` by one of `resources`, and each of these for one of them.
fn allows(resources: &[String], topics: &[&str]) {
    for topic in topics {
        assert!(resources.iter().any(|one| covers(one, topic)), "{topic} is not in {resources:?}");
    }
    for one in resources {
        assert!(topics.iter().any(|topic| covers(one, topic)), "{one} is for none of {topics:?}");
    }
}

/// A star stands for any text, and everything else for itself.
fn covers(resource: &str, topic: &str) -> bool {
    let Some((before, after)) = resource.split_once('*') else { return resource == topic };
    let Some(rest) = topic.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|at| covers(after, &rest[at..]))
}

/// One claim for both kinds of gateways: what the guide to provisioning shows is the file.
#[test]
fn the_claim_is_that_of_the_guide() {
    let guide = std::fs::read_to_string(root().join("docs/guides/provisioning.md")).unwrap();
    let block = guide.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(block).unwrap(), value("aws/claim-policy.json"));

    let template = value("aws/provisioning-template.json");
    let thing = &template["Resources"]["thing"]["Properties"]["ThingName"];
    assert_eq!(thing, &json!({ "Fn::Join": ["", [{ "Ref": "CoreThingName" }, "-nowd"]] }));
    let parameters = &value("deployments/gateway.json")["nowd"]["provisioning"]["parameters"];
    for (name, _) in template["Parameters"].as_object().unwrap() {
        let known = name.starts_with("AWS::") || parameters.get(name).is_some();
        assert!(known, "the template asks for {name}, and no gateway says it");
    }
}
