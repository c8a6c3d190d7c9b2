//! The XMPP language of the edge: bytes to typed stanzas, and back in one canonical form.
//!
//! [`Framer`] cuts bytes into whole elements, [`Reader`] parses them strictly into [`Element`]s, and
//! [`Inbound`] is both. [`Stanza`] gives an element its meaning, [`Jid`] an address its one spelling.
//! [`Element::write_into`] is the only way out.
//!
//! **Invariants**
//! - Nothing is accepted that a strict XML parser refuses, and nothing is read differently.
//! - The first fault ends a stream; nothing comes out after it.
//! - Memory and time are bounded by [`Limits`] while bytes arrive.
//! - Raw bytes of a peer are never forwarded: what leaves was parsed and written anew.
//!
//! What a stanza may do, and for whom, is decided elsewhere.

mod condition;
mod element;
mod error;
mod framer;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod header;
mod inbound;
mod jid;
pub mod limits;
mod name;
pub mod ns;
mod reader;
pub mod splice;
mod stanza;
mod write;

pub use condition::{ErrorType, StanzaCondition, StanzaError, StreamCondition};
pub use element::{Attribute, Element, Node};
pub use error::StreamFault;
pub use framer::{Frame, Framer, Framing};
pub use header::{StreamHeader, closing};
pub use inbound::{Inbound, Received};
pub use jid::{Jid, JidError, PART_BYTES};
pub use limits::Limits;
pub use ns::Ns;
pub use reader::Reader;
pub use stanza::{
    Head, Iq, IqKind, Message, MessageType, Presence, PresenceType, Stanza, StanzaRefusal,
};
