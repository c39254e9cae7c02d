//! What a message on the bus asks of the plugin: the members of the contract, introspection and `Peer`, or the D-Bus error
//! that it gets. Decides nothing about calls.

use zbus::ObjectPath;
use zbus::message::Message;
use zbus::names::{InterfaceName, MemberName};
use zbus::zvariant::DynamicDeserialize;

use super::{INTERFACE, MAX_MESSAGE_LEN, XML};
use crate::bus::lost_its_body;

/// What every object of a well-behaved service has beside its own interface.
const STANDARD: &str = r#"  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="xml_data" type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId">
      <arg name="machine_uuid" type="s" direction="out"/>
    </method>
  </interface>
</node>
"#;

const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const PEER: &str = "org.freedesktop.DBus.Peer";

/// What a method call asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `Describe`.
    Describe,
    /// `Invoke`.
    Invoke(Invocation),
    /// `Cancel`, and the id.
    Cancel(String),
    /// `Health`.
    Health,
    /// An answer that is known already: introspection, the machine's id.
    Text(String),
    /// `Ping`.
    Ping,
    /// Nothing that is here: the error's name, and a sentence.
    Wrong(&'static str, String),
}

/// The arguments of `Invoke`, as they came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) request_json: String,
    pub(super) not_after_us: u64,
}

/// Reads a method call; `object` is the path of the plugin's object.
pub(super) fn read(message: &Message, object: &str) -> Asked {
    // Without a body it has come over a Unix socket.
    if message.data().len() > MAX_MESSAGE_LEN || lost_its_body(message) {
        let text = format!("the message is longer than the {MAX_MESSAGE_LEN} bytes that are read");
        return Asked::Wrong("org.freedesktop.DBus.Error.LimitsExceeded", text);
    }
    let header = message.header();
    let path = header.path().map(ObjectPath::as_str).unwrap_or_default();
    let interface = header.interface().map(InterfaceName::as_str);
    let member = header.member().map(MemberName::as_str).unwrap_or_default();
    let below = children(path, object);
    match (interface, member) {
        // Any object of a process will do.
        (Some(PEER), "Ping") => return arguments(message, "", |()| Asked::Ping),
        (Some(PEER), "GetMachineId") => return arguments(message, "", |()| machine_id()),
        (Some(INTROSPECTABLE) | None, "Introspect") if below.is_some() => {
            return arguments(message, "", |()| Asked::Text(introspection(below.as_deref())));
        }
        (Some(_) | None, _) => {}
    }
    if path != object {
        let text = format!("there is no object {path}; the plugin's object is {object}");
        return Asked::Wrong("org.freedesktop.DBus.Error.UnknownObject", text);
    }
    match (interface, member) {
        (Some(INTERFACE) | None, "Describe") => arguments(message, "", |()| Asked::Describe),
        (Some(INTERFACE) | None, "Health") => arguments(message, "", |()| Asked::Health),
        (Some(INTERFACE) | None, "Cancel") => arguments(message, "s", Asked::Cancel),
        (Some(INTERFACE) | None, "Invoke") => {
            arguments(message, "ssst", |(id, method, request_json, not_after_us)| {
                Asked::Invoke(Invocation { id, method, request_json, not_after_us })
            })
        }
        (Some(INTERFACE | PEER | INTROSPECTABLE) | None, member) => {
            let text = format!("there is no method {member} in {}", interface.unwrap_or(INTERFACE));
            Asked::Wrong("org.freedesktop.DBus.Error.UnknownMethod", text)
        }
        (Some(interface), _) => {
            let text = format!("{object} has no interface {interface}; it has {INTERFACE}");
            Asked::Wrong("org.freedesktop.DBus.Error.UnknownInterface", text)
        }
    }
}

fn arguments<B>(message: &Message, signature: &str, read: impl FnOnce(B) -> Asked) -> Asked
where
    B: for<'d> DynamicDeserialize<'d>,
{
    let body = message.body();
    let found = body.signature().to_string_no_parens();
    let wrong = |why: String| Asked::Wrong("org.freedesktop.DBus.Error.InvalidArgs", why);
    if found != signature {
        return wrong(format!("the arguments have the signature {found:?}, and it must be {signature:?}"));
    }
    match body.deserialize() {
        Ok(arguments) => read(arguments),
        Err(e) => wrong(format!("the arguments cannot be read: {e}")),
    }
}

/// Which objects lie directly below `path`: none below the plugin's own, one on the way to it. `None` is a path that leads
/// nowhere.
fn children(path: &str, object: &str) -> Option<Vec<String>> {
    if path == object {
        return Some(Vec::new());
    }
    let rest =
        if path == "/" { object.strip_prefix('/') } else { object.strip_prefix(path)?.strip_prefix('/') };
    rest?.split('/').next().map(|child| vec![child.to_owned()])
}

fn introspection(children: Option<&[String]>) -> String {
    if let Some([child, ..]) = children {
        return format!("<node>\n  <node name=\"{child}\"/>\n</node>\n");
    }
    let contract = XML.trim_end().strip_suffix("</node>").unwrap_or(XML);
    format!("{contract}{STANDARD}")
}

fn machine_id() -> Asked {
    let files = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
    if let Some(text) = files.iter().find_map(|file| std::fs::read_to_string(file).ok()) {
        return Asked::Text(text.trim().to_owned());
    }
    let text = format!("the machine has no id in {}", files.join(" or "));
    Asked::Wrong("org.freedesktop.DBus.Error.FileNotFound", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_on_the_way() {
        let object = "/com/example/Gate";
        for (path, expected) in [
            ("/", Some(vec!["com".to_owned()])),
            ("/com", Some(vec!["example".to_owned()])),
            ("/com/example", Some(vec!["Gate".to_owned()])),
            (object, Some(vec![])),
            ("/co", None),
            ("/com/example/Gate/x", None),
            ("/com/example/Gat", None),
        ] {
            assert_eq!(children(path, object), expected, "{path}");
        }
    }
}
