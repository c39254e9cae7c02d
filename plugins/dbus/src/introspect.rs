//! What an object says of itself: its interfaces and the types of their members. Pure: text in, types out.

use std::collections::BTreeMap;

use zbus::Signature;
use zbus_xml::{Arg, ArgDirection, Node};

/// The longest introspection document that is read, in bytes.
pub(crate) const MAX_XML_LEN: usize = 256 * 1024;

/// The interfaces of one object.
#[derive(Debug, Default)]
pub(crate) struct Description {
    pub(crate) interfaces: BTreeMap<String, Interface>,
}

/// The members of one interface.
#[derive(Debug, Default)]
pub(crate) struct Interface {
    /// What methods take.
    pub(crate) methods: BTreeMap<String, Vec<Signature>>,
    /// What signals carry.
    pub(crate) signals: BTreeMap<String, Vec<Signature>>,
    pub(crate) properties: BTreeMap<String, Property>,
}

/// A property of an interface.
#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) ty: Signature,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// An object's description of itself is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntrospectError {
    /// Too long.
    #[error("its description of itself is longer than {MAX_XML_LEN} bytes")]
    TooLong,
    /// Not introspection data.
    #[error("its description of itself cannot be read")]
    Malformed(#[source] zbus_xml::Error),
}

impl Description {
    /// Reads an introspection document.
    pub(crate) fn parse(xml: &str) -> Result<Self, IntrospectError> {
        if xml.len() > MAX_XML_LEN {
            return Err(IntrospectError::TooLong);
        }
        let node = Node::try_from(xml).map_err(IntrospectError::Malformed)?;
        let mut description = Self::default();
        for found in node.interfaces() {
            let interface = description.interfaces.entry(found.name().as_str().to_owned()).or_default();
            for method in found.methods() {
                let inputs = method.args().iter().filter(|arg| arg.direction() != Some(ArgDirection::Out));
                let inputs = inputs.map(type_of).collect();
                interface.methods.insert(method.name().as_str().to_owned(), inputs);
            }
            for signal in found.signals() {
                let values = signal.args().iter().map(type_of).collect();
                interface.signals.insert(signal.name().as_str().to_owned(), values);
            }
            for property in found.properties() {
                let access = property.access();
                let property_read =
                    Property { ty: property.ty().clone(), readable: access.read(), writable: access.write() };
                interface.properties.insert(property.name().as_str().to_owned(), property_read);
            }
        }
        Ok(description)
    }
}

fn type_of(arg: &Arg<'_>) -> Signature {
    arg.ty().clone()
}

#[cfg(test)]
mod tests;
