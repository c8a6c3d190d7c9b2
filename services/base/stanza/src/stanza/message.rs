//! `<message/>` (RFC 6121 5).

use crate::condition::{StanzaCondition, StanzaError};
use crate::element::{Element, Node};
use crate::ns::{self, Ns};

use super::Head;

/// What a message is for (RFC 6121 5.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// Part of a conversation of two.
    Chat,
    /// An error in answer to a message.
    Error,
    /// To a room.
    Groupchat,
    /// From a service; no answer is expected. Carries the gateway's server information.
    Headline,
    /// Alone; what an absent or unknown type means.
    #[default]
    Normal,
}

impl MessageType {
    /// The value on the wire; the default is written as nothing.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Chat => Some("chat"),
            Self::Error => Some("error"),
            Self::Groupchat => Some("groupchat"),
            Self::Headline => Some("headline"),
            Self::Normal => None,
        }
    }
}

/// Something said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Addresses, id and language.
    pub head: Head,
    /// What it is for.
    pub type_: MessageType,
    /// Everything inside, known or not.
    pub payload: Vec<Node>,
}

pub(super) fn read(element: &Element) -> Result<Message, StanzaCondition> {
    let (head, kind) = Head::read(element)?;
    let type_ = match kind {
        Some("chat") => MessageType::Chat,
        Some("error") => MessageType::Error,
        Some("groupchat") => MessageType::Groupchat,
        Some("headline") => MessageType::Headline,
        // RFC 6121 5.2.2: unknown types are normal messages.
        _ => MessageType::Normal,
    };
    Ok(Message {
        head,
        type_,
        payload: Vec::new(),
    })
}

impl Message {
    /// The child elements.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.payload.iter().filter_map(Node::as_element)
    }

    /// The first child with this name and namespace.
    pub fn child(&self, name: &str, ns: &Ns) -> Option<&Element> {
        self.elements().find(|child| child.is(name, ns))
    }

    /// The text of the first `<body/>`.
    pub fn body(&self) -> Option<String> {
        self.child("body", &ns::CLIENT).map(Element::text)
    }

    /// Appends a child.
    #[must_use]
    pub fn with_child(mut self, child: Element) -> Self {
        self.payload.push(Node::Element(child));
        self
    }

    /// Removes the child elements that `remove` says, as copies of what only the gateway may add.
    pub fn strip(&mut self, mut remove: impl FnMut(&Element) -> bool) {
        self.payload
            .retain(|node| node.as_element().is_none_or(|element| !remove(element)));
    }

    /// The error in answer; `None` for an error, which is never answered (RFC 6120 8.3.1).
    pub fn error(&self, error: &StanzaError) -> Option<Self> {
        (self.type_ != MessageType::Error).then(|| {
            let answer = Self {
                head: self.head.swapped(),
                type_: MessageType::Error,
                payload: Vec::new(),
            };
            answer.with_child(error.to_element())
        })
    }

    /// The element, for writing.
    pub fn into_element(self) -> Element {
        let mut element = self.head.into_element("message", self.type_.as_str());
        element.extend(self.payload);
        element
    }
}
