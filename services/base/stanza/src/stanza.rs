//! What a first-level element means: message, presence, iq, or something between the two ends of the
//! stream only (a nonza).
//!
//! **Invariants**
//! - The typed head and the payload together are the element: reading and writing loses nothing.
//! - Elements inside the payload are opaque; a forwarded stanza never sets a head (T22).
//! - The head is written in one order: from, id, to, type, `xml:lang`, then the rest as it came.

mod iq;
mod message;
mod presence;

use smol_str::SmolStr;

use crate::condition::{StanzaCondition, StanzaError};
use crate::element::{Attribute, Element, Node};
use crate::jid::Jid;
use crate::ns;

pub use iq::{Iq, IqKind};
pub use message::{Message, MessageType};
pub use presence::{Presence, PresenceType};

/// What stands in the start tag of every stanza (RFC 6120 8.1) beside the type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Who sent it. The gateway stamps this; what a client writes is only checked.
    pub from: Option<Jid>,
    /// For whom it is.
    pub to: Option<Jid>,
    /// The sender's name for it.
    pub id: Option<SmolStr>,
    /// The language of its texts.
    pub lang: Option<SmolStr>,
    /// Attributes that nobody here knows.
    pub other: Vec<Attribute>,
}

/// A first-level element with its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stanza {
    /// Information, question or answer.
    Iq(Iq),
    /// Something said.
    Message(Message),
    /// Availability.
    Presence(Presence),
    /// Between the ends of the stream only: SASL, stream management and whatever is not known.
    Nonza(Element),
}

/// A stanza that cannot be handled as it is; the stream lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaRefusal {
    /// The element as it came.
    pub element: Element,
    /// What to answer.
    pub condition: StanzaCondition,
}

impl Stanza {
    /// Gives an element its meaning.
    ///
    /// # Errors
    /// [`StanzaRefusal`] when an address or a type is not valid, or an iq has no id or not exactly one
    /// payload (RFC 6120 8.2.3). Boxed, because it carries the element.
    pub fn from_element(element: Element) -> Result<Self, Box<StanzaRefusal>> {
        if element.ns() != &ns::CLIENT {
            return Ok(Self::Nonza(element));
        }
        let read = match element.name() {
            "iq" => iq::read(&element).map(Self::Iq),
            "message" => message::read(&element).map(Self::Message),
            "presence" => presence::read(&element).map(Self::Presence),
            _ => return Ok(Self::Nonza(element)),
        };
        let mut stanza = read.map_err(|condition| {
            Box::new(StanzaRefusal {
                element: element.clone(),
                condition,
            })
        })?;
        stanza.fill(element);
        Ok(stanza)
    }

    /// Moves what is not in the head from the element.
    fn fill(&mut self, mut element: Element) {
        let children = element.take_children();
        match self {
            Self::Message(message) => message.payload = children,
            Self::Presence(presence) => presence.payload = children,
            Self::Iq(iq) => {
                iq.payload = children
                    .into_iter()
                    .filter_map(|child| match child {
                        Node::Element(element) => Some(element),
                        Node::Text(_) => None,
                    })
                    .collect();
            }
            Self::Nonza(_) => {}
        }
    }

    /// The element, for writing.
    pub fn into_element(self) -> Element {
        match self {
            Self::Iq(iq) => iq.into_element(),
            Self::Message(message) => message.into_element(),
            Self::Presence(presence) => presence.into_element(),
            Self::Nonza(element) => element,
        }
    }

    /// The head, if it is a stanza.
    pub const fn head(&self) -> Option<&Head> {
        match self {
            Self::Iq(iq) => Some(&iq.head),
            Self::Message(message) => Some(&message.head),
            Self::Presence(presence) => Some(&presence.head),
            Self::Nonza(_) => None,
        }
    }

    /// The head, to be stamped.
    pub const fn head_mut(&mut self) -> Option<&mut Head> {
        match self {
            Self::Iq(iq) => Some(&mut iq.head),
            Self::Message(message) => Some(&mut message.head),
            Self::Presence(presence) => Some(&mut presence.head),
            Self::Nonza(_) => None,
        }
    }
}

impl StanzaRefusal {
    /// The error stanza that answers it: same name and id, addresses swapped where they are valid.
    /// `None` for what must not be answered: errors, results and nonzas (RFC 6120 8.3.1).
    pub fn answer(&self) -> Option<Element> {
        let name = match self.element.name() {
            "iq" => "iq",
            "message" => "message",
            "presence" => "presence",
            _ => return None,
        };
        if matches!(self.element.attribute("type"), Some("error" | "result")) {
            return None;
        }
        let address = |name| {
            self.element
                .attribute(name)
                .and_then(|text| Jid::parse(text).ok())
        };
        let head = Head {
            from: address("to"),
            to: address("from"),
            id: self.element.attribute("id").map(SmolStr::from),
            ..Head::default()
        };
        let error = StanzaError::new(self.condition).to_element();
        Some(head.into_element(name, Some("error")).with_child(error))
    }
}

impl Head {
    /// Reads all but the type, which the caller takes out of what is left.
    fn read(element: &Element) -> Result<(Self, Option<&str>), StanzaCondition> {
        let mut head = Self::default();
        let mut kind = None;
        let address = |value: &str| Jid::parse(value).map_err(|_| StanzaCondition::JidMalformed);
        for attribute in element.attributes() {
            let value = &attribute.value;
            if attribute.ns == ns::XML && attribute.name == "lang" {
                head.lang = Some(value.clone());
                continue;
            }
            let name = if attribute.ns.is_none() {
                attribute.name.as_str()
            } else {
                ""
            };
            match name {
                "from" => head.from = Some(address(value)?),
                "to" => head.to = Some(address(value)?),
                "id" => head.id = Some(value.clone()),
                "type" => kind = Some(value.as_str()),
                _ => head.other.push(attribute.clone()),
            }
        }
        Ok((head, kind))
    }

    /// The head of an answer: same id, addresses swapped.
    #[must_use]
    pub fn swapped(&self) -> Self {
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
            id: self.id.clone(),
            lang: None,
            other: Vec::new(),
        }
    }

    fn into_element(self, name: &'static str, kind: Option<&'static str>) -> Element {
        let mut element = Element::new(name, ns::CLIENT);
        if let Some(from) = &self.from {
            element.set_attribute("from", from);
        }
        if let Some(id) = self.id {
            element.set_attribute("id", id);
        }
        if let Some(to) = &self.to {
            element.set_attribute("to", to);
        }
        if let Some(kind) = kind {
            element.set_attribute("type", SmolStr::new_static(kind));
        }
        if let Some(lang) = self.lang {
            element.set_attribute_in(ns::XML, "lang", lang);
        }
        element.attributes_mut().extend(self.other);
        element
    }
}

#[cfg(test)]
mod tests;
