//! The types of an interface's members, as a service tells them. Pure: text in, types out.

use std::collections::HashMap;

use zbus::Signature;
use zbus_xml::{ArgDirection, Node};

use crate::map::Action;

/// The longest introspection document that is read, in bytes.
pub(crate) const MAX_XML_LEN: usize = 256 * 1024;

/// The types that one interface of one object asks for.
#[derive(Debug, Default)]
pub(crate) struct Types {
    methods: HashMap<String, Vec<Signature>>,
    properties: HashMap<String, Signature>,
}

/// A service's description of itself is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntrospectError {
    /// Too long.
    #[error("its description of itself is longer than {MAX_XML_LEN} bytes")]
    TooLong,
    /// Not introspection data.
    #[error("its description of itself cannot be read")]
    Malformed(#[source] zbus_xml::Error),
}

impl Types {
    /// Reads the types of `interface` out of an introspection document; none, if it has no such interface.
    pub(crate) fn parse(xml: &str, interface: &str) -> Result<Self, IntrospectError> {
        if xml.len() > MAX_XML_LEN {
            return Err(IntrospectError::TooLong);
        }
        let node = Node::try_from(xml).map_err(IntrospectError::Malformed)?;
        let mut types = Self::default();
        for found in node.interfaces().iter().filter(|found| found.name().as_str() == interface) {
            for method in found.methods() {
                let inputs = method.args().iter().filter(|arg| arg.direction() != Some(ArgDirection::Out));
                let inputs = inputs.map(|arg| arg.ty().clone()).collect();
                types.methods.insert(method.name().as_str().to_owned(), inputs);
            }
            for property in found.properties() {
                types.properties.insert(property.name().as_str().to_owned(), property.ty().clone());
            }
        }
        Ok(types)
    }

    /// The types of what `action` sends; `None`, if the object has no such member.
    pub(crate) fn of(&self, action: &Action) -> Option<Vec<Signature>> {
        match action {
            Action::Call { member, .. } => self.methods.get(member).cloned(),
            Action::Get { .. } => Some(Vec::new()),
            Action::Set { property, .. } => self.properties.get(property).map(|ty| vec![ty.clone()]),
        }
    }
}
