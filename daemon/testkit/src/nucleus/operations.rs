//! What a component may ask, and what it is told.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::frame::{Frame, frame, huge};
use super::state::{Bridged, LITE_FRAME, Out, State, Subscribed};
use super::{Deferral, Fault, Published, Style, store};

/// What nucleus lite serves, as far as it is served here.
const LITE: &[&str] = &[
    "GetConfiguration",
    "UpdateConfiguration",
    "SubscribeToConfigurationUpdate",
    "PublishToIoTCore",
    "SubscribeToIoTCore",
    "UpdateState",
];

/// No.
struct No(&'static str, String);

fn no<T>(code: &'static str, message: &str) -> Result<T, No> {
    Err(No(code, message.to_owned()))
}

/// Answers one call of the component of `session`.
pub(super) fn answer(state: &mut State, session: u64, call: &Frame) -> Vec<Out> {
    let stream = call.int(":stream-id").unwrap_or(0);
    let flags = call.int(":message-flags").unwrap_or(0);
    if let Some(mistake) = out_of_order(state, session, stream, flags) {
        state.mistakes.push(mistake.clone());
        let said = json!({"message": mistake}).to_string();
        return vec![Out::Bytes(frame(6, 0, 0, &[], said.as_bytes())), Out::Cut];
    }
    if flags & 2 != 0 {
        if let Some(session) = state.sessions.get_mut(&session) {
            session.subscriptions.remove(&stream);
        }
        return Vec::new();
    }
    let operation = call.text("operation").unwrap_or_default();
    let operation = operation.strip_prefix("aws.greengrass#").unwrap_or(operation).to_owned();
    *state.calls.entry(operation.clone()).or_default() += 1;
    let fault = state.faults.get_mut(&operation).and_then(std::collections::VecDeque::pop_front);
    if let Some(Fault::Refused(code)) = fault {
        return vec![Out::Bytes(refusal(stream, code, "made for a test"))];
    }
    let (whole, filter) = reply(state, session, stream, &operation, call);
    if let (Some(Fault::Deaf), Some(session)) = (fault, state.sessions.get_mut(&session)) {
        session.subscriptions.remove(&stream);
    }
    let outs = faulty(fault, whole);
    match (&state.bridge, filter) {
        (Some(bridge), Some(filter)) => {
            drop(bridge.try_send(Bridged::Subscribe(filter, session, outs)));
            Vec::new()
        }
        (None, _) | (_, None) => outs,
    }
}

/// The classic nucleus wants streams numbered from 1, in order and without a gap, and ended only if they are there; so does
/// this one in either style.
fn out_of_order(state: &mut State, session: u64, stream: i32, flags: i32) -> Option<String> {
    let session = state.sessions.get_mut(&session)?;
    let (ends, known) = (flags & 2 != 0, stream <= session.last);
    if ends && known {
        return None;
    }
    if ends || stream != session.last + 1 {
        return Some(format!("stream {stream} after {}, flags {flags}", session.last));
    }
    session.last = stream;
    None
}

/// What the writer is given instead of `whole`.
pub(super) fn faulty(fault: Option<Fault>, mut whole: Vec<u8>) -> Vec<Out> {
    let half = whole.len() / 2;
    match fault {
        None | Some(Fault::Refused(_) | Fault::Deaf) => vec![Out::Bytes(whole)],
        Some(Fault::Silent) => Vec::new(),
        Some(Fault::Garbage) => {
            vec![Out::Bytes(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec())]
        }
        Some(Fault::WrongSum) => {
            if let Some(last) = whole.last_mut() {
                *last ^= 1;
            }
            vec![Out::Bytes(whole)]
        }
        Some(Fault::CutOff) => {
            whole.truncate(half);
            vec![Out::Bytes(whole), Out::Cut]
        }
        Some(Fault::Stuck) => {
            whole.truncate(half);
            vec![Out::Bytes(whole)]
        }
        Some(Fault::Huge) => vec![Out::Bytes(huge())],
        Some(Fault::Close) => vec![Out::Cut],
        Some(Fault::ProtocolError) => {
            vec![Out::Bytes(frame(6, 0, 0, &[], br#"{"message": "made for a test."}"#))]
        }
    }
}

/// The answer, and the filter that the broker has to know before it is given.
fn reply(
    state: &mut State,
    session: u64,
    stream: i32,
    operation: &str,
    call: &Frame,
) -> (Vec<u8>, Option<String>) {
    let lite = state.style == Style::Lite;
    if lite && !LITE.contains(&operation) {
        return (refusal(stream, "ServiceError", ""), None);
    }
    let request = serde_json::from_slice::<Value>(&call.payload).unwrap_or_default();
    let done = match state.refused.get(operation) {
        Some((code, message)) => return (refusal(stream, code, message), None),
        None if !request.is_object() => no("InvalidArgumentsError", "the request is no JSON object"),
        None => perform(state, session, stream, operation, &request),
    };
    let whole = match done {
        Ok(Some(value)) => {
            let model = format!("aws.greengrass#{operation}Response");
            let texts = [(":content-type", "application/json"), ("service-model-type", model.as_str())];
            // The classic nucleus ends the stream of a call that has one answer; lite does not.
            let flags = if lite || operation.starts_with("SubscribeTo") { 0 } else { 2 };
            let whole = frame(0, flags, stream, &texts, value.to_string().as_bytes());
            if lite && whole.len() > LITE_FRAME {
                return (refusal(stream, "ServiceError", ""), None);
            }
            let filter = Some("topicName").filter(|_| operation == "SubscribeToIoTCore");
            return (whole, filter.and_then(|name| text(&request, name)));
        }
        Ok(None) => {
            let said = json!({
                "error": "Unsupported Operation",
                "message": format!("aws.greengrass#{operation} is an unsupported operation."),
            });
            frame(1, 2, stream, &[(":content-type", "application/json")], said.to_string().as_bytes())
        }
        Err(No(code, message)) => refusal(stream, code, &message),
    };
    (whole, None)
}

fn refusal(stream: i32, code: &str, message: &str) -> Vec<u8> {
    let model = format!("aws.greengrass#{code}");
    let texts = [(":content-type", "application/json"), ("service-model-type", model.as_str())];
    let said = json!({"_message": message, "_errorCode": code}).to_string();
    frame(1, 2, stream, &texts, said.as_bytes())
}

/// The answer, or nothing where there is no such operation.
fn perform(
    state: &mut State,
    session: u64,
    stream: i32,
    operation: &str,
    request: &Value,
) -> Result<Option<Value>, No> {
    let own = state.sessions.get(&session).map(|session| session.component.clone()).unwrap_or_default();
    let subscribed = match operation {
        "GetConfiguration" => return get(state, &own, request).map(Some),
        "UpdateConfiguration" => {
            let new = store::at(&path(request), request.get("valueToMerge").cloned().unwrap_or_default());
            state.merge(&own, &new);
            return Ok(Some(json!({})));
        }
        "UpdateState" => {
            let said = text(request, "state").filter(|said| matches!(said.as_str(), "RUNNING" | "ERRORED"));
            let Some(said) = said else { return no("InvalidArgumentsError", "no such state") };
            state.components.entry(own).or_default().states.push(said);
            return Ok(Some(json!({})));
        }
        "SendConfigurationValidityReport" => return report(state, &own, request).map(Some),
        "DeferComponentUpdate" => return defer(state, &own, request).map(Some),
        "PublishToIoTCore" => return publish(state, own, request).map(Some),
        "SubscribeToConfigurationUpdate" => {
            let component = text(request, "componentName").unwrap_or(own);
            let path = path(request);
            let there = state.components.get(&component);
            if there.and_then(|component| store::read(&component.configuration, &path)).is_none() {
                return no("ResourceNotFoundError", "Key not found");
            }
            Subscribed::Configuration { component, path }
        }
        "SubscribeToValidateConfigurationUpdates" => Subscribed::Validation,
        "SubscribeToComponentUpdates" => Subscribed::ComponentUpdates,
        "SubscribeToIoTCore" => {
            let Some(filter) = text(request, "topicName") else {
                return no("InvalidArgumentsError", "topicName is missing");
            };
            if qos(request).is_none() {
                return no("InvalidArgumentsError", "qos is not 0 or 1");
            }
            let is_deaf = state.is_taken_back(&filter);
            if let Some(session) = state.sessions.get_mut(&session) {
                session.filters.push(filter.clone());
            }
            if is_deaf {
                return Ok(Some(json!({})));
            }
            Subscribed::IotCore { filter }
        }
        _ => return Ok(None),
    };
    if let Some(session) = state.sessions.get_mut(&session) {
        session.subscriptions.insert(stream, subscribed);
    }
    Ok(Some(json!({})))
}

fn get(state: &State, own: &str, request: &Value) -> Result<Value, No> {
    let component = text(request, "componentName").unwrap_or_else(|| own.to_owned());
    let there = state.components.get(&component).filter(|component| !component.configuration.is_null());
    match there.and_then(|there| store::read(&there.configuration, &path(request))) {
        Some(value) => Ok(json!({"componentName": component, "value": value})),
        None => no("ResourceNotFoundError", "Key not found"),
    }
}

fn report(state: &mut State, own: &str, request: &Value) -> Result<Value, No> {
    let report = request.get("configurationValidityReport").cloned().unwrap_or_default();
    let deployment = text(&report, "deploymentId").unwrap_or_default();
    let Some((_, waiting)) = take(&mut state.reports, own, &deployment) else {
        return no("InvalidArgumentsError", "Validation request either timed out or was never made");
    };
    let message = text(&report, "message").unwrap_or_default();
    let verdict = match text(&report, "status").as_deref() {
        Some("ACCEPTED") => Ok(()),
        Some("REJECTED") => Err(message),
        _ => return no("InvalidArgumentsError", "no such status"),
    };
    drop(waiting.send(verdict));
    Ok(json!({}))
}

fn defer(state: &mut State, own: &str, request: &Value) -> Result<Value, No> {
    let session = state.sessions.values().filter(|session| session.component == own);
    if !session
        .flat_map(|session| session.subscriptions.values())
        .any(|to| *to == Subscribed::ComponentUpdates)
    {
        return no("InvalidArgumentsError", "Component is not subscribed to component update events");
    }
    let Some(deployment) = text(request, "deploymentId") else {
        return no("InvalidArgumentsError", "deploymentId is missing");
    };
    let millis = match request.get("recheckAfterMs") {
        None | Some(Value::Null) => 0,
        Some(millis) => match millis.as_u64() {
            Some(millis) => millis,
            None => return no("InvalidArgumentsError", "recheckAfterMs is not a number"),
        },
    };
    let Some((deployment, waiting)) = take(&mut state.waiting, own, &deployment) else {
        return no("ServiceError", "Time limit to respond to PreComponentUpdateEvent exceeded");
    };
    let deferral = Deferral {
        component: own.to_owned(),
        deployment,
        recheck_after: std::time::Duration::from_millis(millis),
        message: text(request, "message"),
    };
    state.deferrals.push(deferral.clone());
    drop(waiting.send(deferral));
    Ok(json!({}))
}

/// Who waits for an answer of this component about this deployment, and for no other.
fn take<T>(from: &mut BTreeMap<String, (String, T)>, own: &str, deployment: &str) -> Option<(String, T)> {
    let (known, _) = from.get(own)?;
    if known == deployment { from.remove(own) } else { None }
}

fn publish(state: &mut State, own: String, request: &Value) -> Result<Value, No> {
    let Some(topic) = text(request, "topicName") else {
        return no("InvalidArgumentsError", "topicName is missing");
    };
    let Some(qos) = qos(request) else { return no("InvalidArgumentsError", "qos is not 0 or 1") };
    let decoded = |name: &str| {
        text(request, name).map(|text| data_encoding::BASE64.decode(text.as_bytes())).transpose()
    };
    let (Ok(payload), Ok(correlation_data)) = (decoded("payload"), decoded("correlationData")) else {
        return no("InvalidArgumentsError", "a blob is not base64");
    };
    let lite = state.style == Style::Lite;
    let pairs = request.get("userProperties").and_then(Value::as_array).into_iter().flatten();
    let properties = pairs.filter_map(|pair| Some((text(pair, "key")?, text(pair, "value")?)));
    let mut message = Published {
        component: own,
        topic,
        payload: payload.unwrap_or_default(),
        qos,
        retain: request.get("retain").and_then(Value::as_bool).unwrap_or(false),
        user_properties: properties.collect(),
        expiry: request.get("messageExpiryIntervalSeconds").and_then(Value::as_u64),
        correlation_data,
        response_topic: text(request, "responseTopic"),
        content_type: text(request, "contentType"),
    };
    if message.topic.is_empty() || message.topic.contains(['+', '#', '\0']) {
        return no("InvalidArgumentsError", "no topic to publish to");
    }
    if lite {
        // It knows nothing but topic, payload and QoS.
        message = Published {
            component: message.component,
            topic: message.topic,
            payload: message.payload,
            qos,
            ..Published::default()
        };
    }
    if state.bridge.is_some() && !state.online && (lite || qos == 0) {
        // Lite keeps nothing for later, and the classic one nothing with QoS 0.
        return no("ServiceError", "Failed to send mqtt publish");
    }
    state.published.push(message.clone());
    if let Some(bridge) = &state.bridge {
        drop(bridge.try_send(Bridged::Publish(message)));
    } else {
        state.deliver(&message);
    }
    Ok(json!({}))
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn path(request: &Value) -> Vec<String> {
    let keys = request.get("keyPath").and_then(Value::as_array).into_iter().flatten();
    keys.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// It is a text on the wire.
fn qos(request: &Value) -> Option<u8> {
    match request.get("qos").and_then(Value::as_str) {
        Some("0") => Some(0),
        Some("1") => Some(1),
        _ => None,
    }
}
