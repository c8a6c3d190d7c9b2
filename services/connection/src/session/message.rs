//! Messages of the client: checked, stamped, serialised once and handed to the owner.
//!
//! **Invariants**
//! - What only the gateway may say is stripped: its own namespace but for the user's read receipt,
//!   stanza ids and delays in its name.
//! - A forwarded stanza inside is opaque (T22).
//! - The bytes that are handed over are the bytes that are delivered.

use std::sync::Arc;

use bytes::Bytes;
use entente_core::{AccountId, Class, Envelope, MAX_STANZA_ID_BYTES, Timestamp};
use entente_proto::edge::ToRouter;
use entente_stanza::{Element, Jid, Message, MessageType, StanzaCondition, StanzaError, ns};
use entente_trace::{Open, Stage};

use super::{Effects, Session, UNAVAILABLE, hex};

/// The one device of an account in the framework profile.
const DEVICE: u16 = 1;

impl Session {
    pub(super) fn message(&mut self, mut message: Message, fx: &mut Effects<'_>) {
        let span = self.rules.tracer.root(Stage::Receive);
        self.start_by_stanza(fx);
        match self.recipient(&message) {
            Ok(to) => self.submit(message, to, span, fx),
            Err(condition) => {
                fx.tally.refused += 1;
                if message.head.to.is_none() {
                    message.head.to = Some(self.me.bare.clone());
                }
                if let Some(error) = message.error(&StanzaError::new(condition)) {
                    self.local(&error.into_element(), fx);
                }
                self.handled_here(fx);
            }
        }
    }

    /// The account for which a message is.
    fn recipient(&self, message: &Message) -> Result<AccountId, StanzaCondition> {
        // RFC 6121 8.5.2.1.1: rooms are not served here.
        if message.type_ == MessageType::Groupchat {
            return Err(UNAVAILABLE);
        }
        let too_long = |id: &str| id.len() > MAX_STANZA_ID_BYTES;
        if message.head.id.as_deref().is_some_and(too_long) {
            return Err(StanzaCondition::BadRequest);
        }
        // RFC 6120 10.3.1: without `to` it is for the sender's own account.
        let Some(to) = &message.head.to else {
            return Ok(self.me.account);
        };
        if to.domain() != self.rules.domain.as_str() {
            return Err(StanzaCondition::RemoteServerNotFound);
        }
        match (to.local(), to.account()) {
            (None, _) => Err(UNAVAILABLE),
            (Some(_), account) => account.ok_or(StanzaCondition::ItemNotFound),
        }
    }

    fn submit(
        &mut self,
        mut message: Message,
        to: AccountId,
        span: Option<Open>,
        fx: &mut Effects<'_>,
    ) {
        let class = class(&message);
        if class == Class::Ephemeral && self.rules.pace.is_slow() {
            // It would take the room of what is owed, and arrive late.
            fx.tally.dropped += 1;
            self.handled_here(fx);
            return;
        }
        match class {
            Class::Durable => fx.tally.durable += 1,
            Class::Ephemeral => fx.tally.ephemeral += 1,
        }
        let wants_receipt =
            class == Class::Durable && message.child("request", &ns::ENTENTE).is_some();
        let domain = self.rules.domain.as_str();
        message.strip(|child| is_gateways(child, domain));
        let id = message.head.id.as_deref().unwrap_or_default();
        let id = Bytes::copy_from_slice(id.as_bytes());
        // XEP-0359 section 3: the id that the recipient's side assigns.
        let by = Jid::of_account(to, &self.rules.domain);
        let stamped = message.with_child(
            Element::new("stanza-id", ns::STANZA_ID)
                .with_attribute("by", &by)
                // Unique and not to be guessed, but no secret: no system call for each.
                .with_attribute("id", hex(&rand::random::<[u8; 16]>())),
        );
        let admitted = Timestamp::now();
        let envelope = Envelope {
            from: self.me.account,
            from_device: DEVICE,
            to,
            epoch: self.epoch,
            position: self.inbound,
            class,
            id,
            wants_receipt,
            trace: span.as_ref().map(Open::context),
            admitted,
            expires: admitted.plus(self.rules.config.stanza_life.get()),
            payload: stamped.into_element().to_bytes(),
        };
        let envelope = Arc::new(envelope);
        match class {
            Class::Durable => self.ledger.submitted(Arc::clone(&envelope)),
            // Now or never: of a second try, nobody knows whether it is the first to arrive.
            Class::Ephemeral => self.ledger.done(self.inbound),
        }
        fx.router.push(ToRouter::Submit {
            session: self.id,
            envelope,
        });
        if let Some(span) = span {
            span.done();
        }
    }
}

/// What is owed to a message (RFC 6121 8.5.2, XEP-0334, XEP-0085 section 5.6).
fn class(message: &Message) -> Class {
    match message.type_ {
        // RFC 6121 8.5.2.2.1: neither is stored for somebody who is not there.
        MessageType::Error | MessageType::Headline => return Class::Ephemeral,
        MessageType::Chat | MessageType::Groupchat | MessageType::Normal => {}
    }
    let hint = |name| message.child(name, &ns::HINTS).is_some();
    if hint("store") {
        return Class::Durable;
    }
    let is_state = |child: &Element| child.ns() == &ns::CHAT_STATES;
    let says_nothing = |child: &Element| {
        is_state(child) || child.ns() == &ns::HINTS || child.is("thread", &ns::CLIENT)
    };
    let only_state = message.elements().any(is_state) && message.elements().all(says_nothing);
    if only_state || hint("no-store") {
        Class::Ephemeral
    } else {
        Class::Durable
    }
}

/// What only the gateway may put into a message.
fn is_gateways(child: &Element, domain: &str) -> bool {
    let ours = |name| {
        child
            .attribute(name)
            .and_then(|address| Jid::parse(address).ok())
            .is_some_and(|address| address.domain() == domain)
    };
    if child.ns() == &ns::ENTENTE {
        // A read receipt is a user's word, not ours.
        return !(child.name() == "receipt" && child.attribute("kind") == Some("read"));
    }
    (child.is("stanza-id", &ns::STANZA_ID) && ours("by"))
        || (child.is("delay", &ns::DELAY) && ours("from"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(children: &[Element]) -> Message {
        children.iter().fold(
            Message {
                type_: MessageType::Chat,
                ..Message::default()
            },
            |message, child| message.with_child(child.clone()),
        )
    }

    #[test]
    fn typing_is_ephemeral_and_words_are_durable() {
        let body = Element::new("body", ns::CLIENT).with_text("hi");
        let typing = Element::new("composing", ns::CHAT_STATES);
        let thread = Element::new("thread", ns::CLIENT).with_text("t");
        let hint = |name| Element::new(name, ns::HINTS);
        let ephemeral = [
            chat(std::slice::from_ref(&typing)),
            chat(&[typing.clone(), thread.clone()]),
            chat(&[typing.clone(), hint("no-store")]),
            chat(&[body.clone(), hint("no-store")]),
        ];
        for message in ephemeral {
            assert_eq!(class(&message), Class::Ephemeral, "{message:?}");
        }
        let durable = [
            chat(&[]),
            chat(std::slice::from_ref(&body)),
            chat(&[body, typing.clone()]),
            chat(&[thread]),
            chat(&[typing, hint("store")]),
        ];
        for message in durable {
            assert_eq!(class(&message), Class::Durable, "{message:?}");
        }
        for type_ in [MessageType::Error, MessageType::Headline] {
            let message = Message {
                type_,
                ..chat(&[hint("store")])
            };
            assert_eq!(class(&message), Class::Ephemeral);
        }
    }

    #[test]
    fn only_the_gateways_own_words_are_stripped() {
        let own = |element| is_gateways(&element, "chat.example");
        let stanza_id = |by| Element::new("stanza-id", ns::STANZA_ID).with_attribute("by", by);
        let delay = |from| Element::new("delay", ns::DELAY).with_attribute("from", from);
        let receipt = |kind| Element::new("receipt", ns::ENTENTE).with_attribute("kind", kind);
        for forged in [
            stanza_id("1-2@chat.example"),
            stanza_id("chat.example"),
            delay("chat.example"),
            receipt("delivered"),
            Element::new("request", ns::ENTENTE),
            Element::new("anything", ns::ENTENTE),
        ] {
            assert!(own(forged.clone()), "{forged:?}");
        }
        for users in [
            stanza_id("room.example"),
            delay("1-2@other.example"),
            Element::new("origin-id", ns::STANZA_ID),
            Element::new("request", ns::RECEIPTS),
            receipt("read"),
            Element::new("forwarded", ns::FORWARD).with_child(stanza_id("chat.example")),
        ] {
            assert!(!own(users.clone()), "{users:?}");
        }
    }
}
