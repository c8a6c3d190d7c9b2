//! The receiving half of a client: what came in, counted and sorted into events.

use entente_stanza::{Element, Received, StanzaCondition, StanzaError, ns};

use super::event::{self, Event, Incoming};
use super::inbox::Arrival;
use super::ledger::Sent;
use super::wire::Turn;
use super::{Client, ClientError, ledger_answer, login};

impl Client {
    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError`]; after it, [`Client::resume`] may go on.
    pub async fn recv(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.turn(true).await?;
        }
    }

    pub(super) async fn turn(&mut self, read: bool) -> Result<(), ClientError> {
        let wire = self.wire.as_mut().ok_or(ClientError::Closed)?;
        let outcome = match wire.turn(read).await {
            Ok(Turn::Wrote) => Ok(()),
            Ok(Turn::Received(Received::Element(element))) => self.take(element),
            Ok(Turn::Received(Received::Close)) => Err(ClientError::Closed),
            Ok(Turn::Received(Received::Open(_))) => Err(ClientError::Unmet("one stream")),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.wire = None;
        }
        outcome
    }

    fn take(&mut self, element: Element) -> Result<(), ClientError> {
        if let Some(error) = login::stream_error(&element) {
            return Err(error);
        }
        if element.is("r", &ns::SM) {
            let answer = ledger_answer(&self.ledger);
            if let Some(wire) = &mut self.wire {
                wire.queue(&answer);
            }
        } else if element.is("a", &ns::SM) {
            let h = element.attribute("h").and_then(|h| h.parse().ok());
            self.acknowledge(h.ok_or(ClientError::Unmet("a count"))?)?;
        } else if element.ns() == &ns::CLIENT {
            if self.counting {
                self.ledger.count_received();
            }
            self.take_stanza(element);
        }
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, h: u32) -> Result<(), ClientError> {
        let covered: Vec<Sent> = self.ledger.acknowledge(h)?.collect();
        self.accepted(covered);
        Ok(())
    }

    /// As [`Client::acknowledge`], for a session that is gone.
    pub(super) fn acknowledge_lost(&mut self, h: u32) -> Result<(), ClientError> {
        let covered: Vec<Sent> = self.ledger.acknowledge_at_least(h)?.collect();
        self.accepted(covered);
        Ok(())
    }

    fn accepted(&mut self, covered: Vec<Sent>) {
        for sent in covered {
            if let Some(message) = sent.message {
                self.counts.acked += 1;
                self.events.push_back(Event::Accepted {
                    to: message.to,
                    id: message.id,
                    took: sent.at.elapsed(),
                });
            }
        }
    }

    pub(super) fn take_stanza(&mut self, element: Element) {
        match element.name() {
            "iq" => self.take_iq(element),
            "message" => self.take_message(element),
            _ => {}
        }
    }

    fn take_message(&mut self, element: Element) {
        let text = |name| element.attribute(name).unwrap_or_default();
        let (from, id) = (text("from"), text("id"));
        if text("type") == "error" {
            let condition = element
                .child("error", &ns::CLIENT)
                .and_then(|error| error.elements().find(|c| c.ns() == &ns::STANZA_ERRORS))
                .map_or("undefined-condition", Element::name);
            self.counts.refused += 1;
            self.events.push_back(Event::Refused {
                to: from.into(),
                id: id.into(),
                condition: condition.into(),
            });
            return;
        }
        if text("type") == "headline"
            && let Some(event) = event::of_gateway(&element)
        {
            self.events.push_back(event);
            return;
        }
        if from.is_empty() || from == self.config.domain {
            return;
        }
        if !id.is_empty() {
            match self.inbox.note(from, id) {
                Arrival::Copy => {
                    self.counts.copies += 1;
                    return;
                }
                Arrival::OutOfOrder => self.counts.out_of_order += 1,
                Arrival::New => {}
            }
        }
        self.counts.received += 1;
        self.events.push_back(Event::Message(Incoming {
            from: from.into(),
            id: id.into(),
            delayed: element.child("delay", &ns::DELAY).is_some(),
            element,
        }));
    }

    fn take_iq(&mut self, element: Element) {
        let id: Box<str> = element.attribute("id").unwrap_or_default().into();
        let kind = element.attribute("type").unwrap_or_default();
        if matches!(kind, "result" | "error") {
            self.events.push_back(Event::Answer { id, element });
            return;
        }
        // A push is acknowledged, a ping answered, and nothing else is offered.
        let known = kind == "set" || element.child("ping", &ns::PING).is_some();
        let mut answer = Element::new("iq", ns::CLIENT).with_attribute("id", &*id);
        if let Some(from) = element.attribute("from") {
            answer.set_attribute("to", from);
        }
        if known {
            answer.set_attribute("type", "result");
        } else {
            answer.set_attribute("type", "error");
            let condition = StanzaCondition::ServiceUnavailable;
            answer.push(StanzaError::new(condition).to_element());
        }
        self.send_stanza(&answer);
    }
}
