//! What a client tells its application.

use std::time::Duration;

use entente_stanza::{Element, ns};

/// Something that happened on a session.
#[derive(Clone, Debug)]
pub enum Event {
    /// The server took responsibility for a message: an `h` covers it.
    Accepted {
        /// For whom it was.
        to: Box<str>,
        /// Its stanza id.
        id: Box<str>,
        /// From first sending to the acknowledgement.
        took: Duration,
    },
    /// The answer to a request.
    Answer {
        /// The request's id.
        id: Box<str>,
        /// The whole answer; its `type` is `result` or `error`.
        element: Element,
    },
    /// The gateway says which messages reached a peer's device.
    Delivered {
        /// The peer's address.
        by: Box<str>,
        /// The messages' stanza ids.
        ids: Vec<Box<str>>,
    },
    /// A peer enlisted anew: sessions with it must be rebuilt.
    IdentityChanged {
        /// The peer's address.
        of: Box<str>,
    },
    /// A message of another user that was not seen before.
    Message(Incoming),
    /// A message was not accepted; or, if that comes after its [`Event::Accepted`], will not arrive.
    Refused {
        /// For whom it was.
        to: Box<str>,
        /// Its stanza id.
        id: Box<str>,
        /// The stanza error's condition.
        condition: Box<str>,
    },
    /// So many messages wait and follow.
    Waiting(u32),
}

/// A message of another user.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The sender as it was stamped.
    pub from: Box<str>,
    /// The sender's stanza id; empty if it gave none.
    pub id: Box<str>,
    /// Whether it had waited (XEP-0203).
    pub delayed: bool,
    /// All of it.
    pub element: Element,
}

/// The child by which a message asks for the gateway's delivered receipt.
pub fn receipt_request() -> Element {
    Element::new("request", ns::ENTENTE)
}

/// Reads what the gateway itself states in a headline; `None` for a message of a user, from which
/// the gateway takes every element of its own namespace.
pub(super) fn of_gateway(message: &Element) -> Option<Event> {
    let mut elements = message.elements();
    let child = elements.find(|child| child.ns() == &ns::ENTENTE)?;
    let attribute = |name| child.attribute(name).map(Box::<str>::from);
    match child.name() {
        "identity-changed" => Some(Event::IdentityChanged {
            of: attribute("jid")?,
        }),
        "offline" => Some(Event::Waiting(child.attribute("count")?.parse().ok()?)),
        "receipt" if child.attribute("kind") == Some("delivered") => Some(Event::Delivered {
            by: message.attribute("from")?.into(),
            ids: child.elements().map(|id| id.text().into()).collect(),
        }),
        _ => None,
    }
}
