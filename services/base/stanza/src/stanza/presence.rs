//! `<presence/>` (RFC 6121 4).

use crate::condition::{StanzaCondition, StanzaError};
use crate::element::{Element, Node};
use crate::ns::{self, Ns};

use super::Head;

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $wire:literal,)*) => {
        /// What a presence says (RFC 6121 4.7.1).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum PresenceType {
            /// Here; no type on the wire.
            #[default]
            Available,
            $($(#[$doc])* $name,)*
        }

        impl PresenceType {
            /// The value on the wire.
            pub const fn as_str(self) -> Option<&'static str> {
                match self {
                    Self::Available => None,
                    $(Self::$name => Some($wire),)*
                }
            }

            fn from_wire(kind: Option<&str>) -> Option<Self> {
                match kind {
                    None => Some(Self::Available),
                    $(Some($wire) => Some(Self::$name),)*
                    Some(_) => None,
                }
            }
        }
    };
}

types! {
    /// An error in answer to a presence.
    Error = "error",
    /// Asks for the present state.
    Probe = "probe",
    /// Asks to see the other's presence.
    Subscribe = "subscribe",
    /// Allows it.
    Subscribed = "subscribed",
    /// Gone.
    Unavailable = "unavailable",
    /// No longer wants to see it.
    Unsubscribe = "unsubscribe",
    /// Forbids it.
    Unsubscribed = "unsubscribed",
}

/// Availability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Addresses, id and language.
    pub head: Head,
    /// What it says.
    pub type_: PresenceType,
    /// Everything inside, known or not.
    pub payload: Vec<Node>,
}

pub(super) fn read(element: &Element) -> Result<Presence, StanzaCondition> {
    let (head, kind) = Head::read(element)?;
    Ok(Presence {
        head,
        type_: PresenceType::from_wire(kind).ok_or(StanzaCondition::BadRequest)?,
        payload: Vec::new(),
    })
}

impl Presence {
    /// The child elements.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.payload.iter().filter_map(Node::as_element)
    }

    /// The first child with this name and namespace.
    pub fn child(&self, name: &str, ns: &Ns) -> Option<&Element> {
        self.elements().find(|child| child.is(name, ns))
    }

    /// The priority (RFC 6121 4.7.2.3), 0 if none or not a number.
    pub fn priority(&self) -> i8 {
        let given = self.child("priority", &ns::CLIENT).map(Element::text);
        given.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// The error in answer; `None` for an error.
    pub fn error(&self, error: &StanzaError) -> Option<Self> {
        (self.type_ != PresenceType::Error).then(|| Self {
            head: self.head.swapped(),
            type_: PresenceType::Error,
            payload: vec![Node::Element(error.to_element())],
        })
    }

    /// The element, for writing.
    pub fn into_element(self) -> Element {
        let mut element = self.head.into_element("presence", self.type_.as_str());
        element.extend(self.payload);
        element
    }
}
