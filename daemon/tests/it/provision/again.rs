//! Runs after others that were cut off, and after something was mended.

use std::fs;
use std::process::Command;

use nowd_testkit::wait_for;

use super::device::{Device, THING};
use super::service::Act;
use crate::bed::PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_mended_is_what_counts() {
    // The parameters.
    let device = Device::new().await;
    device.configure("target = \"gw-0816\"");
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 78 && text.contains("or mend the template or `provisioning.parameters`"), "{text}");
    fs::write(device.folder.path().join("serial-number"), "0816").unwrap();
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 0 && text.contains("done: this gateway is gw-0816"), "{code}: {text}");
    let (first, _) = device.service.registered()[0].clone();
    assert!(text.ends_with(&format!("where they are active: {first}")), "{text}");

    // The template.
    let device = Device::new().await;
    device.configure(&format!("target = \"{THING}\""));
    device.service.acts(Act::Answer, Act::Say(b"{\"thingName\":\"gw-other\"}".to_vec()));
    assert_eq!(device.run(&["provision"]).await.0, 78);
    device.service.acts(Act::Answer, Act::Answer);
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 0 && text.contains("that is not this gateway's name"), "{code}: {text}");
    assert!(text.contains(&format!("done: this gateway is {THING}")), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_was_cut_off_is_taken_up() {
    let device = Device::new().await;
    device.provisioned().await;
    let first = device.certificate().unwrap();
    for again in [&["provision"][..], &["provision", "--renew"]] {
        let before = device.certificate().unwrap();
        device.service.acts(Act::Answer, Act::Silent);
        let asked = device.service.asked().len();
        let mut process = device.start(&["provision", "--renew"]);
        wait_for(PATIENCE, "the registration", || device.service.asked().len() == asked + 2).await;
        process.kill();
        let pending = device.identity("pending.toml");
        // Cut off a moment later, when the service has answered.
        let text = fs::read_to_string(&pending).unwrap();
        assert!(text.contains("stage = \"created\"") && text.contains("renew = true"), "{text}");
        let text = text.replace("\"created\"", &format!("\"registered\"\ntarget = \"{THING}\""));
        fs::write(&pending, &text).unwrap();
        device.service.acts(Act::Answer, Act::Answer);
        let (code, said) = device.run(again).await;
        assert!(code == 0 && said.contains("a renewal was begun and not ended"), "{code}: {said}");
        assert_eq!(device.service.asked().len(), asked + 2, "none is made in vain: {said}");
        let now = device.certificate().unwrap();
        assert!(now != before && text.contains(&now) && !said.contains("made on the way"), "{said}");
        assert!(said.contains(&format!("the certificate of before, {before},")), "{said}");

        // Cut off a moment later still, when it counts, and nothing is taken away.
        let text = text.replace("unused = []", &format!("unused = [\"0a0b\", \"{before}\"]"));
        fs::write(&pending, &text).unwrap();
        let (code, said) = device.run(&["provision"]).await;
        assert!(code == 0 && said.contains("nothing to do"), "{code}: {said}");
        assert!(said.contains("where they are active: 0a0b\n") && !pending.exists(), "{said}");
        let identity = fs::read_to_string(device.identity("identity.toml")).unwrap();
        assert!(identity.contains(&format!("previous = \"{before}\"")), "{identity}");
    }
    assert_ne!(device.certificate().unwrap(), first);
    // One that the broker did not let in has its successor.
    device.service.acts(Act::Answer, Act::Silent);
    let asked = device.service.asked().len();
    let mut process = device.start(&["provision", "--renew"]);
    wait_for(PATIENCE, "the registration", || device.service.asked().len() == asked + 2).await;
    process.kill();
    let pending = device.identity("pending.toml");
    let text = fs::read_to_string(&pending).unwrap();
    let text = text.replace("\"created\"", &format!("\"registered\"\ntarget = \"{THING}\""));
    fs::write(&pending, text.replace("refused = false", "refused = true")).unwrap();
    device.service.acts(Act::Answer, Act::Answer);
    let (code, said) = device.run(&["provision", "--renew"]).await;
    assert!(code == 0 && !said.contains("begun and not ended"), "{code}: {said}");
    assert!(said.contains("made on the way") && device.service.asked().len() == asked + 4, "{said}");
    // Before there is a certificate, a run without --renew takes it up too.
    let before = device.certificate();
    device.service.acts(Act::Silent, Act::Answer);
    let asked = device.service.asked().len();
    let mut process = device.start(&["provision", "--renew"]);
    wait_for(PATIENCE, "the request", || device.service.asked().len() == asked + 1).await;
    process.kill();
    let key = fs::read_to_string(device.identity("pending.key")).unwrap();
    device.service.acts(Act::Answer, Act::Answer);
    let (code, said) = device.run(&["provision"]).await;
    assert!(code == 0 && device.certificate() != before, "{code}: {said}");
    let id = device.certificate().unwrap();
    let pem = fs::read_to_string(device.identity(&format!("{id}.pem"))).unwrap();
    assert!(pem.contains(key.trim()), "the key is reused");
    device.serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_name_in_the_configuration() {
    let device = Device::new().await;
    device.provisioned().await;
    device.configure("target = \"gw-other\"");
    for command in ["check", "run", "provision"] {
        let (code, text) = device.run(&[command]).await;
        let expected = "the identity is that of gw-0815, and `target` in the configuration says gw-other; leave `target` out";
        assert!(code == 78 && text.contains(expected), "{command} {code}: {text}");
    }
    device.configure(&format!("target = \"{THING}\""));
    let (code, text) = device.run(&["provision"]).await;
    assert!(code == 0 && text.contains("nothing to do"), "{code}: {text}");
}

/// Nothing that could block is opened, and no link out of the folder is followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file() {
    let device = Device::new().await;
    device.provisioned().await;
    let identity = device.identity("identity.toml");
    let elsewhere = device.folder.path().join("elsewhere");
    fs::rename(&identity, &elsewhere).unwrap();
    let pipe = |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    pipe(&identity);
    let is_no_file = async |what: &str, command: &str| {
        let (code, text) = device.run(&[command]).await;
        assert!(code == 78 && text.contains("cannot be read"), "{what} {command} {code}: {text}");
    };
    is_no_file("a pipe", "check").await;
    is_no_file("a pipe", "run").await;
    fs::remove_file(&identity).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &identity).unwrap();
    is_no_file("a link", "check").await;
    fs::remove_file(&identity).unwrap();
    let serial = device.folder.path().join("serial-number");
    fs::remove_file(&serial).unwrap();
    pipe(&serial);
    is_no_file("a pipe for a parameter", "provision").await;
}
