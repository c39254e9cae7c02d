//! A stand-in for the provisioning service, by the documentation of AWS IoT Core: it listens on the documented topics of a real
//! mosquitto, checks what it is asked, signs requests for certificates, and answers, refuses or keeps silent as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use nowd_link::{Connection, DatePolicy, Event, Options, Publish, Qos, Sender, Tls, TlsFiles};
use nowd_protocol::Uuid;
use nowd_testkit::{Access, Ca, Identity, Listener, Mosquitto};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) const CERTIFICATE: &str = "$aws/certificates/create-from-csr/json";
const TEMPLATE: &str = "fleet";

/// What it does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Answer,
    Refuse(i64, &'static str, &'static str),
    Silent,
    Say(Vec<u8>),
}

#[derive(Debug)]
struct State {
    certificate: Act,
    registration: Act,
    /// Tokens that were given out, and for which certificate.
    tokens: BTreeMap<String, String>,
    asked: Vec<String>,
    /// Certificates, and the things that they were registered for.
    registered: Vec<(String, String)>,
    /// What was asked against the documentation.
    wrong: Vec<String>,
}

pub(crate) struct Service {
    pub(crate) broker: Mosquitto,
    pub(crate) ca: Arc<Ca>,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

fn options(broker: &Mosquitto, ca: &Ca, name: &str) -> Options {
    let Identity { ca, certificate, key } = ca.client(name);
    let mut options = Options::new(name, "localhost", broker.port());
    let files = TlsFiles { ca: Some(ca), certificate, key };
    options.tls = Some(Arc::new(Tls::load(&files, DatePolicy::Judge).unwrap()));
    options
}

impl Service {
    pub(crate) async fn start(access: Access) -> Self {
        Self::signing_with(access, None).await
    }

    /// Its certificates are those of another authority, which the broker does not let in: as if they were not active.
    pub(crate) async fn signing_with(access: Access, other: Option<Ca>) -> Self {
        let ca = Arc::new(Ca::new());
        let broker = Mosquitto::with(&[Listener { tls: Some(ca.server()), access }]);
        let mut connection = Connection::open(&options(&broker, &ca, "service")).await.unwrap();
        let sender = connection.sender();
        let registrations = "$aws/provisioning-templates/+/provision/json";
        sender.subscribe(&[CERTIFICATE, registrations], Qos::AtLeastOnce).unwrap();
        while !matches!(connection.next().await.unwrap(), Event::Subscribed { .. }) {}
        let state = Arc::new(Mutex::new(State {
            certificate: Act::Answer,
            registration: Act::Answer,
            tokens: BTreeMap::new(),
            asked: Vec::new(),
            registered: Vec::new(),
            wrong: Vec::new(),
        }));
        let mut tasks = JoinSet::new();
        let (serves, signs) = (Arc::clone(&state), Arc::clone(&ca));
        tasks.spawn(async move {
            while let Ok(event) = connection.next().await {
                let Event::Message(message) = event else { continue };
                message.ack.unwrap().send().unwrap();
                let signer = other.as_ref().unwrap_or(&signs);
                answer(&mut serves.lock().unwrap(), signer, &sender, &message.topic, &message.payload);
            }
        });
        Self { broker, ca, state, _tasks: tasks }
    }

    /// What it does from now on.
    pub(crate) fn acts(&self, certificate: Act, registration: Act) {
        let mut state = self.state.lock().unwrap();
        (state.certificate, state.registration) = (certificate, registration);
    }

    /// The topics of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    pub(crate) fn registered(&self) -> Vec<(String, String)> {
        self.state.lock().unwrap().registered.clone()
    }

    pub(crate) fn tokens(&self) -> Vec<String> {
        self.state.lock().unwrap().tokens.keys().cloned().collect()
    }

    /// Nothing was asked against the documentation.
    pub(crate) fn assert_well_asked(&self) {
        assert_eq!(self.state.lock().unwrap().wrong, Vec::<String>::new());
    }

    pub(crate) fn options(&self, name: &str) -> Options {
        options(&self.broker, &self.ca, name)
    }
}

fn answer(state: &mut State, ca: &Ca, sender: &Sender, topic: &str, payload: &[u8]) {
    state.asked.push(topic.to_owned());
    let is_certificate = topic == CERTIFICATE;
    let act = if is_certificate { state.certificate.clone() } else { state.registration.clone() };
    let (ending, answer) = match act {
        Act::Silent => return,
        Act::Refuse(status, code, message) => ("rejected", refusal(status, code, message)),
        Act::Say(bytes) => return publish(sender, &format!("{topic}/accepted"), bytes),
        Act::Answer => {
            let asked = serde_json::from_slice(payload).unwrap_or(Value::Null);
            let done = if is_certificate {
                certificate(state, ca, &asked)
            } else {
                registration(state, topic, &asked)
            };
            match done {
                Ok(answer) => ("accepted", answer),
                Err((code, why)) => {
                    state.wrong.push(format!("{topic}: {why}"));
                    ("rejected", refusal(400, code, &why))
                }
            }
        }
    };
    publish(sender, &format!("{topic}/{ending}"), answer.to_string().into_bytes());
}

fn refusal(status: i64, code: &str, message: &str) -> Value {
    json!({ "statusCode": status, "errorCode": code, "errorMessage": message })
}

fn publish(sender: &Sender, topic: &str, payload: Vec<u8>) {
    let publish =
        Publish { topic: topic.into(), payload: payload.into(), qos: Qos::AtLeastOnce, ..Publish::default() };
    sender.publish(publish).unwrap();
}

type Answered = Result<Value, (&'static str, String)>;

fn certificate(state: &mut State, ca: &Ca, asked: &Value) -> Answered {
    let Some(request) =
        asked["certificateSigningRequest"].as_str().filter(|_| asked.as_object().unwrap().len() == 1)
    else {
        return Err(("InvalidRequest", "there is `certificateSigningRequest` and nothing else".into()));
    };
    let pem = ca.sign(request).map_err(|why| ("InvalidCertificateSigningRequest", why))?;
    let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let token = format!("token-{}", Uuid::new_v4());
    state.tokens.insert(token.clone(), id.clone());
    Ok(json!({ "certificateOwnershipToken": token, "certificateId": id, "certificatePem": pem }))
}

fn registration(state: &mut State, topic: &str, asked: &Value) -> Answered {
    if topic != format!("$aws/provisioning-templates/{TEMPLATE}/provision/json") {
        return Err(("ResourceNotFound", "no such template".into()));
    }
    let keys: Vec<&str> = asked.as_object().unwrap().keys().map(String::as_str).collect();
    if keys != ["certificateOwnershipToken", "parameters"] {
        return Err(("InvalidRequest", format!("{keys:?}")));
    }
    let Some(id) = asked["certificateOwnershipToken"].as_str().and_then(|token| state.tokens.get(token))
    else {
        return Err(("InvalidCertificateOwnershipToken", "no such token".into()));
    };
    let parameters = asked["parameters"].as_object().unwrap();
    let Some(serial) = parameters.get("SerialNumber").and_then(Value::as_str) else {
        return Err(("InvalidParameters", "`SerialNumber` is missing".into()));
    };
    let thing = format!("gw-{serial}");
    state.registered.push((id.clone(), thing.clone()));
    Ok(json!({ "deviceConfiguration": { "level": "1" }, "thingName": thing }))
}
