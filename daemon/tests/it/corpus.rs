//! The seeds of the fuzz targets, and everything that they ever found, as far as they need no more than public API. See
//! `docs/FUZZING.md`.

#[path = "../../fuzz/checks/answer.rs"]
mod answer;
#[path = "../../fuzz/checks/certificate.rs"]
mod certificate;
#[path = "../../fuzz/checks/config.rs"]
mod config;
#[path = "../../fuzz/checks/deployment.rs"]
mod deployment;
#[path = "../../fuzz/checks/description.rs"]
mod description;
#[path = "../../fuzz/checks/drop_in.rs"]
mod drop_in;
#[path = "../../fuzz/checks/ipc.rs"]
mod ipc;
#[path = "../../fuzz/checks/maps.rs"]
mod maps;
#[path = "../../fuzz/checks/methods.rs"]
mod methods;
#[path = "../../fuzz/checks/outcome.rs"]
mod outcome;
#[path = "../../fuzz/checks/params.rs"]
mod params;
#[path = "../../fuzz/checks/presence.rs"]
mod presence;
#[path = "../../fuzz/checks/replay.rs"]
mod replay;
#[path = "../../fuzz/checks/reply.rs"]
mod reply;
#[path = "../../fuzz/checks/request.rs"]
mod request;
#[path = "../../fuzz/checks/sentence.rs"]
mod sentence;
#[path = "../../fuzz/checks/template.rs"]
mod template;
#[path = "../../fuzz/checks/topic.rs"]
mod topic;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");

#[test]
fn the_wire() {
    replay::replay(CORPUS, "request", request::check);
    replay::replay(CORPUS, "topic", topic::check);
    replay::replay(CORPUS, "reply", reply::check);
    replay::replay(CORPUS, "presence", presence::check);
    replay::replay(CORPUS, "outcome", outcome::check);
    replay::replay(CORPUS, "methods", methods::check);
}

#[test]
fn the_nucleus() {
    replay::replay(CORPUS, "ipc", ipc::check);
}

#[test]
fn configuration_and_maps() {
    replay::replay(CORPUS, "config", config::check);
    replay::replay(CORPUS, "deployment", deployment::check);
    replay::replay(CORPUS, "certificate", certificate::check);
    replay::replay(CORPUS, "maps", maps::check);
    replay::replay(CORPUS, "params", params::check);
    replay::replay(CORPUS, "template", template::check);
}

#[test]
fn plugins_of_their_own_processes() {
    replay::replay(CORPUS, "description", description::check);
    replay::replay(CORPUS, "answer", answer::check);
    replay::replay(CORPUS, "drop_in", drop_in::check);
}
