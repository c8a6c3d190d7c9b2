//! What the owner says, written for the client.
//!
//! **Invariants**
//! - Items are written in the order in which they came, so positions on the wire have no holes.
//! - An error of a stanza is written before any `h` that covers the stanza.

use bytes::Bytes;
use entente_core::{Content, Delivered, Failed, Fault, Position, Timestamp};
use entente_proto::edge::{CloseReason, ToEdge, credit_cost};
use entente_stanza::{
    Element, Head, Jid, Message, MessageType, StanzaError, StreamCondition, ns, splice,
};
use entente_trace::Stage;
use smol_str::SmolStr;

use super::{Cause, Effects, LocalKind, Parting, Session};
use crate::fault::{failure_error, stanza_error};

impl Session {
    /// Takes one item of the owner.
    pub(crate) fn notice(&mut self, item: ToEdge, fx: &mut Effects<'_>) {
        match item {
            ToEdge::Deliver {
                position,
                sequence,
                content,
                delayed,
                trace,
                ..
            } => {
                let cost = credit_cost(&content);
                if let Some(sequence) = sequence {
                    self.ledger.delivered(position, sequence, cost);
                }
                let span = self.rules.tracer.child(trace, Stage::Write, None);
                self.written = position;
                self.unsettled = true;
                self.spent = self.spent.saturating_add(cost);
                fx.tally.delivered += 1;
                self.deliver(content, delayed, fx);
                if let Some(span) = span {
                    span.done();
                }
            }
            ToEdge::Enabled {
                inbound, outbound, ..
            } => {
                if let Some(enabled) = self.enabled(inbound, outbound) {
                    fx.out.element(&enabled);
                    fx.out.hold();
                }
            }
            ToEdge::Handled { through, .. } => self.take_handled(through),
            ToEdge::Refused { refusal, .. } => {
                self.written = refusal.position;
                fx.tally.refused += 1;
                let from = Jid::of_account(refusal.to, &self.rules.domain);
                let error = self.message_error(from, &refusal.id, &stanza_error(refusal.fault));
                fx.out.element(&error);
                self.ledger.refused(refusal);
            }
            ToEdge::Slot { position, .. } => self.fill_slot(position, fx),
            ToEdge::Closed { why, .. } => {
                // The owner closes an erased account's session before the answer to the wish has a
                // position; the count is void by now, the answer is not.
                if let (CloseReason::Revoked, Some(iq)) = (why, self.leaving.take()) {
                    fx.out.element(&iq.result(None).into_element());
                }
                closed(why, fx);
            }
            // Answers to what negotiation asks; nothing of the kind is under way here.
            ToEdge::Bound { .. } | ToEdge::Resumed { .. } | ToEdge::Unresumable { .. } => {}
            ToEdge::Reattached { .. } => fx.tally.reattached += 1,
        }
    }

    /// Writes the oldest stanza of our own at the position that it got.
    fn fill_slot(&mut self, position: Position, fx: &mut Effects<'_>) {
        let Some(local) = self.locals.pop_front() else {
            return;
        };
        self.written = position;
        self.local_bytes -= local.bytes.len();
        fx.out.canonical(&local.bytes);
        match local.kind {
            LocalKind::Barrier => self.place_barrier(position),
            LocalKind::Farewell => self.leaving = None,
            LocalKind::Plain => {}
        }
        if self.locals.is_empty() {
            self.locals.shrink_to_fit();
        }
    }

    fn deliver(&self, content: Content, delayed: Option<Timestamp>, fx: &mut Effects<'_>) {
        match content {
            Content::Stanza(payload) => match delayed {
                Some(admitted) => {
                    let delay = self.delay(admitted).to_bytes();
                    fx.out.spliced(&splice::with_child(&payload, &delay));
                }
                None => fx.out.canonical(&payload),
            },
            Content::Delivered(delivered) => fx.out.element(&self.delivered(&delivered)),
            Content::Failed(failed) => fx.out.element(&self.failed(&failed)),
            Content::IdentityChanged { of } => {
                let jid = Jid::of_account(of, &self.rules.domain);
                let changed =
                    Element::new("identity-changed", ns::ENTENTE).with_attribute("jid", &jid);
                fx.out
                    .element(&self.headline(self.rules.domain.clone(), changed));
            }
        }
    }

    /// XEP-0203; only the gateway adds one in its own name.
    fn delay(&self, admitted: Timestamp) -> Element {
        Element::new("delay", ns::DELAY)
            .with_attribute("from", &self.rules.domain)
            .with_attribute("stamp", admitted.to_rfc3339())
    }

    /// The gateway's own receipt: the device of `by` acknowledged these stanzas.
    fn delivered(&self, delivered: &Delivered) -> Element {
        let mut receipt = Element::new("receipt", ns::ENTENTE)
            .with_attribute("kind", "delivered")
            .with_attribute("stamp", delivered.at.to_rfc3339());
        for id in &delivered.ids {
            receipt.push(Element::new("id", ns::ENTENTE).with_text(&String::from_utf8_lossy(id)));
        }
        self.headline(Jid::of_account(delivered.by, &self.rules.domain), receipt)
    }

    fn failed(&self, failed: &Failed) -> Element {
        let to = Jid::of_account(failed.to, &self.rules.domain);
        self.message_error(to, &failed.id, &failure_error(failed.why))
    }

    /// The error in answer to a message of the client, from whom it was for.
    fn message_error(&self, from: Jid, id: &Bytes, error: &StanzaError) -> Element {
        let id = (!id.is_empty()).then(|| SmolStr::from(String::from_utf8_lossy(id)));
        let message = Message {
            head: Head {
                from: Some(from),
                to: Some(self.me.full.clone()),
                id,
                ..Head::default()
            },
            type_: MessageType::Error,
            payload: Vec::new(),
        };
        message.with_child(error.to_element()).into_element()
    }

    pub(super) fn offline_count(&self, waiting: u32) -> Element {
        let count =
            Element::new("offline", ns::ENTENTE).with_attribute("count", waiting.to_string());
        self.headline(self.rules.domain.clone(), count)
    }

    /// Server information: no reply is expected, and it is never stored.
    fn headline(&self, from: Jid, child: Element) -> Element {
        let message = Message {
            head: Head {
                from: Some(from),
                to: Some(self.me.full.clone()),
                ..Head::default()
            },
            type_: MessageType::Headline,
            payload: Vec::new(),
        };
        message.with_child(child).into_element()
    }
}

/// The owner ended the session.
fn closed(why: CloseReason, fx: &mut Effects<'_>) {
    let (cause, parting, condition, text) = match why {
        CloseReason::Conflict => (
            Cause::Conflict,
            Parting::Silent,
            StreamCondition::Conflict,
            "another session of this account took its place",
        ),
        CloseReason::Full => (
            Cause::Lost,
            Parting::Silent,
            StreamCondition::ResourceConstraint,
            "the gateway cannot store this now: send it again later",
        ),
        CloseReason::Revoked => (
            Cause::Revoked,
            Parting::Silent,
            StreamCondition::NotAuthorized,
            "the account was enlisted anew or erased",
        ),
        CloseReason::Stalled => (
            Cause::Stalled,
            Parting::Silent,
            StreamCondition::PolicyViolation,
            "nothing was acknowledged for too long",
        ),
        CloseReason::Unavailable => (
            Cause::Lost,
            Parting::Silent,
            StreamCondition::Reset,
            "the session's place moved",
        ),
    };
    fx.stop(cause, parting, Some(condition.to_element(Some(text))));
}

/// A fault of a request, as the iq error tells it.
pub(super) fn iq_error(fault: Fault) -> StanzaError {
    stanza_error(fault)
}
