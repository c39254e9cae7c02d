//! Fleet provisioning by claim: the real program against a stand-in for the service, cut off at every step and run again.

mod again;
mod device;
mod power;
pub(crate) mod service;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nowd_testkit::{Access, Ca, wait_for};

use crate::bed::PATIENCE;
use device::{Device, THING};
use service::{Act, CERTIFICATE, Service};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_claim_to_a_call() {
    let device = Device::new().await;
    let (code, text) = device.run(&["check"]).await;
    assert!(code == 78 && text.contains("or run `nowd provision`"), "{text}");

    let (code, text) = device.run(&["provision"]).await;
    assert_eq!(code, 0, "{text}");
    let [(id, thing)] = &device.service.registered()[..] else { panic!("{text}") };
    assert_eq!((thing.as_str(), device.certificate().as_ref()), (THING, Some(id)));
    assert!(text.contains(&format!("done: this gateway is {THING} at localhost:")), "{text}");
    device.service.assert_well_asked();
    // Nobody sees a secret.
    let key = fs::read_to_string(device.identity(&format!("{id}.pem"))).unwrap();
    let inside = key.lines().find(|line| key.find(*line) > key.find("BEGIN PRIVATE")).unwrap();
    for secret in device.service.tokens().iter().map(String::as_str).chain([inside]) {
        assert!(!text.contains(secret), "{text}");
    }
    // Nobody else reads one, and nothing is left lying about.
    assert_eq!(mode(&device.identity("")), 0o700);
    let mut names: Vec<String> = fs::read_dir(device.identity(""))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{path:?}");
            path.file_name().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    names.sort();
    let mut expected = vec![format!("{id}.pem"), "identity.toml".into(), "lock".into()];
    expected.sort();
    assert_eq!(names, expected);

    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 0 && text.contains("nothing to do") && text.contains(id), "{text}");
    assert_eq!(device.service.asked().len(), 2, "nobody was asked again");
    let (code, text) = device.run(&["check"]).await;
    assert!(code == 0 && text.contains(&format!("ok: target {THING}")), "{text}");
    assert!(text.contains("note: target, link.endpoint, certificate and key from"), "{text}");
    let gateway = device.serves().await;

    // Another certificate under the gateway that runs: it takes it up by itself.
    let (code, text) = device.run(&["provision", "--renew"]).await;
    assert!(
        code == 0 && text.contains(&format!("the certificate of before, {id}, is still active")),
        "{text}"
    );
    assert_ne!(device.certificate().as_ref(), Some(id));
    gateway.hang_up();
    gateway.wait_for_line(PATIENCE, "the broker has accepted the renewed certificate").await;
    device.answers().await;
    // Without the claim the certificate that there is asks for its successor.
    fs::remove_file(device.service.ca.client("claim").certificate).unwrap();
    let before = device.certificate();
    let (code, text) = device.run(&["provision", "--renew"]).await;
    assert!(code == 0 && device.certificate() != before, "{text}");
    device.answers().await;
    device.service.assert_well_asked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_one_sentence_with_what_to_do() {
    let device = Device::new().await;
    let no = Act::Answer;
    for (certificate, registration, code, expected) in [
        (Act::Refuse(403, "AccessDenied", "Denied."), no.clone(), 77, "the policy of the claim certificate does not allow it"),
        (Act::Refuse(400, "InvalidCertificateSigningRequest", ""), no.clone(), 77, "it does not take this request"),
        (no.clone(), Act::Refuse(403, "AccessDenied", "Hook\ndeclined"), 77, "the pre-provisioning hook of the template \"fleet\" does not let this device in"),
        (no.clone(), Act::Refuse(404, "ResourceNotFoundException", ""), 77, "there is no template \"fleet\""),
        (no.clone(), Act::Refuse(400, "InvalidParameters", "x"), 77, "compare `provisioning.parameters` with what the template"),
        (no.clone(), Act::Say(b"{\"thingName\": \"a/b\"}".to_vec()), 77, "its `thingName` is missing or cannot be a gateway's name"),
        (Act::Say(vec![0xff; 1_000]), no.clone(), 77, "it holds no `certificateOwnershipToken`"),
        (Act::Say(br#"{"certificateOwnershipToken":"t","certificateId":"../../x","certificatePem":"-----BEGIN CERTIFICATE-----"}"#.to_vec()), no.clone(), 77, "its `certificateId` is not"),
        (Act::Say(br#"{"certificateOwnershipToken":"t","certificateId":"x","certificatePem":"-----BEGIN CERTIFICATE-----\nAAAA"}"#.to_vec()), no.clone(), 77, "cannot be used"),
    ] {
        device.service.acts(certificate, registration);
        let (found, text) = device.run(&["provision"]).await;
        assert!(found == code && text.contains(expected), "{found}: {text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("nowd: ")).count(), 1, "{text}");
        let (found, text) = device.run(&["check"]).await;
        assert_eq!(found, 78, "{text}");
    }
    // Asked to wait, it waits, a bounded number of times.
    device.service.acts(Act::Refuse(429, "ThrottlingException", "Rate exceeded"), Act::Answer);
    let asked = device.service.asked().len();
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 69 && text.contains("it is asked too often"), "{code}: {text}");
    assert_eq!(device.service.asked().len() - asked, 5, "{text}");
    // One that could not be registered yet is registered later: no other is asked for meanwhile.
    device.service.acts(Act::Answer, Act::Refuse(500, "InternalFailure", ""));
    let certificates = || device.service.asked().iter().filter(|topic| *topic == CERTIFICATE).count();
    let before = certificates();
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 69 && text.contains("a failure of its own"), "{code}: {text}");
    assert_eq!(certificates() - before, 1, "{text}");
    // Told to, it waits for ever.
    let mut waiting = device.start(&["provision", "--wait"]);
    waiting.wait_for_line(PATIENCE, "trying again").await;
    device.service.acts(Act::Answer, Act::Refuse(400, "InvalidCertificateOwnershipToken", "expired"));
    waiting.wait_for_line(PATIENCE, "ownership token is not good any more").await;
    device.service.acts(Act::Answer, Act::Answer);
    assert_eq!(waiting.exit(PATIENCE).await.code(), Some(0), "{:?}", waiting.lines());
    let used = device.certificate().unwrap();
    // Every certificate that was made and is not used is named.
    let said = waiting.lines().join("\n");
    assert!(said.contains("made on the way and not used") && !said.ends_with(&used), "{said}");
    device.serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_configuration_does_not_fit() {
    let device = Device::new().await;
    device.configure("target = \"gw-other\"");
    let (code, text) = device.run(&["provision"]).await;
    assert!(
        code == 78 && text.contains("the template names this gateway \"gw-0815\", and `target`"),
        "{text}"
    );
    // The certificate that was registered is used when the configuration is mended.
    device.configure("");
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 0 && text.contains("was registered for gw-0815 by an earlier run"), "{text}");
    assert_eq!(device.service.registered().len(), 1);

    for (from, to, code, expected) in [
        ("localhost:", "mqtts://localhost:", 78, "`provisioning.endpoint`: must be a host"),
        ("template = \"fleet\"", "", 78, "`provisioning.template` is not set"),
        ("template = \"fleet\"", "template = \"a/b\"", 78, "`provisioning.template`: must be 1 to 36"),
        ("key = ", "# ", 78, "`provisioning.key` is not set"),
        ("serial-number\"", "nothing\"", 78, "/nothing: cannot be read"),
        ("parameters.Site = \"north\"", "parameters.Site = 7", 78, "expected a text, { file ="),
        ("localhost:", "127.0.0.2:", 69, "127.0.0.2"),
        // Where the daemon will connect is where the new identity is tried.
        ("[link]\n", "[link]\nendpoint = \"127.0.0.1:1\"\n", 69, "127.0.0.1:1 cannot be reached"),
    ] {
        let device = Device::new().await;
        let text = fs::read_to_string(device.config()).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(device.config(), text.replacen(from, to, 1)).unwrap();
        let (found, text) = device.run(&["provision"]).await;
        assert!(found == code && text.contains(expected), "{found}: {text}");
        assert_eq!(device.certificate(), None, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_lets_nobody_ask() {
    let access = Access::GatewaysByCertificate { cloud: vec!["service".into(), "cloud".into()] };
    let device = Device::at(Service::start(access).await);
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 77 && text.contains("let its policy allow iot:Publish there"), "{code}: {text}");

    // A claim that the broker does not know at all.
    let device = Device::new().await;
    let (text, own, elsewhere) =
        (fs::read_to_string(device.config()).unwrap(), device.service.ca.client("claim"), Ca::new());
    let stranger = elsewhere.client("claim");
    let text = text
        .replace(own.certificate.to_str().unwrap(), stranger.certificate.to_str().unwrap())
        .replace(own.key.to_str().unwrap(), stranger.key.to_str().unwrap());
    fs::write(device.config(), text).unwrap();
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 77 && text.contains("the claim certificate was not let in"), "{code}: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_connect_does_not_count() {
    let device = Device::at(Service::signing_with(Access::Everything, Some(Ca::new())).await);
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 77 && text.contains("the broker does not let it connect"), "{code}: {text}");
    assert_eq!((device.certificate(), device.service.registered().len()), (None, 1));
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 77 && text.contains("was registered for gw-0815 by an earlier run"), "{code}: {text}");
    assert_eq!(device.service.registered().len(), 1, "no certificate is made in vain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_at_every_step_and_run_again() {
    let device = Device::new().await;
    // Before the certificate, before the registration.
    for (certificate, registration, requests) in
        [(Act::Silent, Act::Answer, 1), (Act::Answer, Act::Silent, 2)]
    {
        device.service.acts(certificate, registration);
        let asked = device.service.asked().len() + requests;
        let mut process = device.start(&["provision"]);
        wait_for(PATIENCE, "the request", || device.service.asked().len() >= asked).await;
        process.kill();
        assert_eq!(device.run(&["check"]).await.0, 78);
    }
    let key = fs::read(device.identity("pending.key")).unwrap();
    device.service.acts(Act::Answer, Act::Answer);
    // As soon as a file is there, whatever else is not.
    for file in
        ["lock", "pending.key", "pending.new", "pending.toml", ".pem", ".new", "Registered", "identity.new"]
    {
        let folder = device.identity("");
        let is_there = || match file {
            "Registered" => {
                fs::read_to_string(folder.join("pending.toml")).is_ok_and(|text| text.contains("registered"))
            }
            _ => fs::read_dir(&folder)
                .unwrap()
                .flatten()
                .any(|e| e.file_name().to_str().unwrap().ends_with(file)),
        };
        // Some are there for a moment only, which this process may sleep through.
        let mut is_seen = false;
        for _ in 0..100 {
            let mut process = device.start(&["provision"]);
            while !is_seen && process.try_exit().is_none() {
                is_seen = is_there();
            }
            process.kill();
            let expected = if device.certificate().is_some() { 0 } else { 78 };
            let (code, text) = device.run(&["check"]).await;
            assert_eq!(code, expected, "{file}: {text}");
            // From the start again, but for the key, where its making is not what is waited for.
            drop(fs::remove_file(device.identity("identity.toml")));
            drop(fs::remove_file(device.identity("pending.toml")));
            if file == "pending.new" {
                drop(fs::remove_file(device.identity("pending.key")));
            } else if !device.identity("pending.key").exists() {
                fs::write(device.identity("pending.key"), &key).unwrap();
            }
            if is_seen {
                break;
            }
        }
        assert!(is_seen, "{file} was never seen");
    }
    fs::write(device.identity("pending.key"), &key).unwrap();
    // Wherever it is after so many milliseconds.
    let mut ends = [0_u32; 2];
    for round in 0..40_u64 {
        let mut process = device.start(&["provision"]);
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        process.kill();
        let (code, text) = device.run(&["check"]).await;
        let has_identity = device.certificate().is_some();
        assert_eq!(code, if has_identity { 0 } else { 78 }, "{text}");
        ends[usize::from(has_identity)] += 1;
        if has_identity {
            break;
        }
        assert_eq!(fs::read(device.identity("pending.key")).unwrap(), key, "the key is reused");
    }
    println!("killed before and after the identity counted: {ends:?}");
    let (code, text) = device.run(&["provision"]).await;
    assert_eq!(code, 0, "{text}");
    device.service.assert_well_asked();
    device.serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torn_files_are_told_and_mended() {
    let device = Device::new().await;
    device.provisioned().await;
    for name in ["identity.toml", "certificate"] {
        for left in ["nothing", "empty", "half", "zeros"] {
            let id = device.certificate().unwrap();
            let file =
                device.identity(&if name == "certificate" { format!("{id}.pem") } else { name.into() });
            let whole = fs::read(&file).unwrap();
            match left {
                "nothing" => fs::remove_file(&file).unwrap(),
                "empty" => fs::write(&file, "").unwrap(),
                "half" => fs::write(&file, &whole[..whole.len() / 2]).unwrap(),
                _ => fs::write(&file, vec![0; whole.len()]).unwrap(),
            }
            for command in ["check", "run"] {
                let (code, text) = device.run(&[command]).await;
                assert!(
                    code == 78 && text.contains("`nowd provision`"),
                    "{name} {left} {command} {code}: {text}"
                );
                assert_eq!(text.lines().filter(|line| line.starts_with("nowd: ")).count(), 1, "{text}");
            }
            device.provisioned().await;
        }
    }
    device.serves().await;

    // What had only been begun is told and begun again.
    fs::remove_file(device.identity("identity.toml")).unwrap();
    for (name, content) in [("pending.toml", "certificate_id = \"ab"), ("pending.key", "-----BEGIN PRIV")] {
        fs::write(device.identity(name), content).unwrap();
    }
    fs::write(device.identity("identity.new"), "half").unwrap();
    let (code, text) = device.run(&["provision"]).await;
    assert!(
        code == 0
            && text.contains("what was begun is begun anew")
            && text.contains("is damaged: another one"),
        "{text}"
    );
    device.service.assert_well_asked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time_and_by_its_owner() {
    let device = Device::new().await;
    device.service.acts(Act::Silent, Act::Answer);
    let first = device.start(&["provision"]);
    wait_for(PATIENCE, "the request", || device.service.asked() == [CERTIFICATE]).await;
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 74 && text.contains("another `nowd provision` is at work"), "{text}");
    drop(first);
    // The folder of another user: what is made there that user could not read. Only root can give it away.
    if is_root() && std::os::unix::fs::chown(device.folder.path().join("state"), Some(1), Some(1)).is_ok() {
        let (code, text) = device.run(&["provision"]).await;
        assert!(code == 77 && text.contains("run `sudo -u daemon nowd provision`"), "{text}");
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
