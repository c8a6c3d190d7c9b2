//! Questions of the client: each one is answered, most of them here and at once.
//!
//! **Invariants**
//! - A request gets exactly one answer, with its id, from the entity that was addressed.
//! - An answer of the client is taken only for a ping that is pending on this very stream (T23, T96).

use entente_stanza::{Element, Iq, IqKind, Jid, Ns, StanzaCondition, StanzaError, ns};

use super::ask::Ask;
use super::{Effects, Question, Session, UNAVAILABLE};

/// Questions that may wait for another service; more are refused with `wait`.
const QUESTIONS: usize = 8;
/// XEP-0054.
const VCARD: Ns = Ns::known("vcard-temp");
/// XEP-0060: bookmarks, avatars and device lists of clients that look for PEP.
const PUBSUB: Ns = Ns::known("http://jabber.org/protocol/pubsub");

/// Whom a request addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The own account, by its bare address or by none (RFC 6120 10.3.3).
    Account,
    /// The own full address.
    Device,
    /// The domain.
    Domain,
    /// Somebody else.
    Other,
}

/// What to do about a request.
#[derive(Debug)]
pub(super) enum Reply {
    /// Ask another service.
    Ask(Ask),
    /// It is refused.
    Error(StanzaError),
    /// It is answered here.
    Result(Option<Element>),
}

impl From<StanzaCondition> for Reply {
    fn from(condition: StanzaCondition) -> Self {
        Self::Error(StanzaError::new(condition))
    }
}

impl Session {
    pub(super) fn iq(&mut self, mut iq: Iq, fx: &mut Effects<'_>) {
        if !iq.kind.is_request() {
            if !self.take_answer(&iq, fx) {
                fx.tally.dropped += 1;
            }
            self.handled_here(fx);
            return;
        }
        fx.tally.requests += 1;
        let target = self.target(iq.head.to.as_ref());
        if iq.head.to.is_none() {
            iq.head.to = Some(self.me.bare.clone());
        }
        let legacy_session = iq.payload().is_some_and(|what| what.ns() == &ns::SESSION);
        match self.reply(&iq, target) {
            Reply::Ask(ask) => self.ask(iq, ask, fx),
            Reply::Error(error) => self.refuse(&iq, &error, fx),
            Reply::Result(payload) => {
                self.local(&iq.result(payload).into_element(), fx);
                self.handled_here(fx);
            }
        }
        // The legacy session request is a part of logging in: the client may still ask for XEP-0198.
        if !legacy_session {
            self.start_by_stanza(fx);
        }
    }

    pub(super) fn refuse(&mut self, iq: &Iq, error: &StanzaError, fx: &mut Effects<'_>) {
        fx.tally.refused += 1;
        if let Some(error) = iq.error(error) {
            self.local(&error.into_element(), fx);
        }
        self.handled_here(fx);
    }

    fn ask(&mut self, iq: Iq, ask: Ask, fx: &mut Effects<'_>) {
        if self.asked >= QUESTIONS {
            let busy = StanzaError::new(StanzaCondition::ResourceConstraint)
                .with_text("too many requests at once");
            self.refuse(&iq, &busy, fx);
            return;
        }
        self.asked += 1;
        if matches!(ask, Ask::Unenlist) {
            self.leaving = Some(Box::new(iq.clone()));
        }
        fx.questions.push(Question {
            iq,
            ask,
            position: self.inbound,
        });
    }

    fn target(&self, to: Option<&Jid>) -> Target {
        match to {
            None => Target::Account,
            Some(to) if *to == self.me.bare => Target::Account,
            Some(to) if *to == self.me.full => Target::Device,
            Some(to) if *to == self.rules.domain => Target::Domain,
            Some(_) => Target::Other,
        }
    }

    fn reply(&self, iq: &Iq, target: Target) -> Reply {
        let Some(what) = iq.payload() else {
            return StanzaCondition::BadRequest.into();
        };
        if target == Target::Other {
            return UNAVAILABLE.into();
        }
        let get = iq.kind == IqKind::Get;
        let name = what.name();
        match what.ns() {
            ns if ns == &ns::PING && get => Reply::Result(None),
            ns if ns == &ns::DISCO_INFO && get => Self::information(what, target),
            ns if ns == &ns::DISCO_ITEMS && get => Reply::Result(Some(echo(what, "node"))),
            ns if ns == &ns::ROSTER && get => {
                // RFC 6121 2.6: without `ver`, since there is nothing to have versions of.
                Reply::Result(Some(Element::new("query", ns::ROSTER)))
            }
            ns if ns == &ns::ROSTER => StanzaCondition::NotAllowed.into(),
            ns if ns == &ns::SESSION && !get => Reply::Result(None),
            ns if ns == &ns::VERSION && get && target != Target::Device => {
                Reply::Result(Some(version()))
            }
            ns if (ns == &VCARD || ns == &PUBSUB) && get => StanzaCondition::ItemNotFound.into(),
            ns if ns == &ns::PRIVATE && get => Reply::Result(Some(empty_storage(what))),
            ns if ns == &ns::CARBONS && !get && matches!(name, "enable" | "disable") => {
                // One device: there is nobody to send a copy to.
                Reply::Result(None)
            }
            ns if ns == &ns::BLOCKING => self.blocking(what, get),
            ns if ns == &super::keys::KEYS => self.keys(what, get),
            // RFC 6120 7.7.2.3: one resource a session.
            ns if ns == &ns::BIND => StanzaCondition::NotAllowed.into(),
            _ => UNAVAILABLE.into(),
        }
    }
}

/// The element without content, with one of its attributes.
fn echo(what: &Element, attribute: &'static str) -> Element {
    let empty = Element::new("query", what.ns().clone());
    match what.attribute(attribute) {
        Some(value) => empty.with_attribute(attribute, value),
        None => empty,
    }
}

/// XEP-0092; the system underneath is nobody's business.
fn version() -> Element {
    Element::new("query", ns::VERSION)
        .with_child(Element::new("name", ns::VERSION).with_text("Entente"))
        .with_child(Element::new("version", ns::VERSION).with_text(env!("CARGO_PKG_VERSION")))
}

/// XEP-0049: what was asked for, and nothing in it.
fn empty_storage(what: &Element) -> Element {
    let mut empty = Element::new("query", ns::PRIVATE);
    if let Some(asked) = what.elements().next() {
        let mut hollow = asked.clone();
        hollow.take_children();
        empty.push(hollow);
    }
    empty
}
