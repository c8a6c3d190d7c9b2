//! An XMPP client for tests, the demonstration and load: it keeps its half of XEP-0198's promise.
//!
//! A [`Client`] is one session over one connection at a time. After the connection is lost,
//! [`Client::resume`] goes on with the session, or binds afresh and sends everything again that no
//! `h` covered, with the same ids. Copies that come in are dropped by (sender, id) and counted.
//!
//! **Invariants**
//! - A message is forgotten only when an `h` of the server covers it.
//! - `<r/>` and pings are answered before anything else is read.
//! - [`Client::recv`] is cancel-safe.

mod config;
mod error;
mod event;
mod inbox;
mod ledger;
mod login;
mod receive;
mod wire;

use std::collections::VecDeque;
use std::time::Duration;

use entente_stanza::{Element, Jid, ns};
use tokio::time::{Instant, timeout};

pub use config::{ClientConfig, Credential, Mechanism, Transport};
pub use error::ClientError;
pub use event::{Event, Incoming, receipt_request};
pub use inbox::{Arrival, Inbox};
pub use ledger::{BadCount, Ledger, Sent, Tracked};
pub use wire::Io;

use login::{Before, Login};
use wire::Wire;

/// Stanzas that may wait for an acknowledgement; a server that owes more does not answer at all.
pub const MAX_UNACKED: usize = 10_000;
/// Events that wait for the application; beyond it nothing is read from the socket.
const MAX_EVENTS: usize = 4096;
/// A request for an acknowledgement goes out after so many messages, as common clients do.
const ASK_EVERY: u32 = 5;
/// How long a request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What a client counted since it was made, over all its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages given to [`Client::send_message`].
    pub sent: u64,
    /// Messages that an `h` covered.
    pub acked: u64,
    /// Messages that the server refused.
    pub refused: u64,
    /// Messages sent again.
    pub resent: u64,
    /// Messages received that were new.
    pub received: u64,
    /// Messages received again and dropped.
    pub copies: u64,
    /// Messages that came after a later one of the same series.
    pub out_of_order: u64,
    /// Logins that went on with the session.
    pub resumed: u64,
    /// Logins that had to bind afresh after a session.
    pub rebound: u64,
}

/// How a client went on after a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// A new session.
    Rebound,
    /// The same session.
    Resumed,
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    wire: Option<Wire>,
    ledger: Ledger,
    inbox: Inbox,
    events: VecDeque<Event>,
    bound: Option<Jid>,
    resumable: Option<String>,
    fast: Option<String>,
    counting: bool,
    unasked: u32,
    next_id: u64,
    counts: Counts,
}

impl Client {
    /// A client that is not connected; [`Client::resume`] connects it.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            wire: None,
            ledger: Ledger::default(),
            inbox: Inbox::default(),
            events: VecDeque::new(),
            bound: None,
            resumable: None,
            fast: None,
            counting: false,
            unasked: 0,
            next_id: 0,
            counts: Counts::default(),
        }
    }

    /// Connects and binds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let mut client = Self::new(config);
        client.resume().await?;
        Ok(client)
    }

    /// Connects again: resumes the session, or binds afresh and sends again what was not covered.
    ///
    /// # Errors
    /// [`ClientError`]; may be tried again. Dropping the future loses nothing.
    pub async fn resume(&mut self) -> Result<Resumption, ClientError> {
        self.wire = None;
        let within = self.config.login_within;
        let connected = timeout(within, Wire::connect(&self.config)).await;
        self.resume_over(connected.map_err(|_| ClientError::Deadline)??)
            .await
    }

    /// As [`Client::resume`], over a transport that is there already.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume_io(&mut self, io: Box<dyn Io>) -> Result<Resumption, ClientError> {
        self.resume_over(Wire::over_stream(io)).await
    }

    async fn resume_over(&mut self, mut wire: Wire) -> Result<Resumption, ClientError> {
        let before = Before {
            resume: self.resumable.clone().map(|id| (id, self.ledger.h())),
            fast: self.fast.clone(),
        };
        let work = login::login(&mut wire, &self.config, &before);
        let login = timeout(self.config.login_within, work).await;
        let login = match login.map_err(|_| ClientError::Deadline)? {
            Ok(login) => login,
            Err(error) => {
                // A FAST token that was refused is not shown again; the next login uses the other.
                self.fast = None;
                return Err(error);
            }
        };
        self.wire = Some(wire);
        let outcome = self.take_login(login);
        if outcome.is_err() {
            self.wire = None;
        }
        outcome
    }

    fn take_login(&mut self, login: Login) -> Result<Resumption, ClientError> {
        if login.fast.is_some() {
            self.fast = login.fast;
        }
        self.counting = login.counts;
        self.unasked = 0;
        if let Some(h) = login.resumed {
            self.acknowledge(h)?;
            self.counts.resumed += 1;
            if let Some(wire) = &mut self.wire {
                for sent in self.ledger.waiting() {
                    self.counts.resent += u64::from(sent.message.is_some());
                    wire.queue_bytes(&sent.wire);
                }
            }
            self.ask();
            return Ok(Resumption::Resumed);
        }
        if let Some(Some(h)) = login.failed {
            self.acknowledge_lost(h)?;
        }
        let again = self.ledger.restart();
        let is_again = !again.is_empty();
        self.counts.rebound += u64::from(self.bound.is_some());
        self.bound = login.bound;
        self.resumable = login.resumable;
        for element in login.early {
            self.take_stanza(element);
        }
        if self.config.presence {
            self.send_stanza(&Element::new("presence", ns::CLIENT));
        }
        for sent in again {
            self.counts.resent += u64::from(sent.written);
            self.transmit(sent);
        }
        if is_again {
            self.ask();
        }
        Ok(Resumption::Rebound)
    }

    // === Out ===

    /// Queues a message; [`Client::recv`] or [`Client::flush`] writes it. It is kept until an `h`
    /// covers it, also while there is no connection.
    ///
    /// # Errors
    /// [`ClientError::Full`] at [`MAX_UNACKED`].
    pub fn send_message(
        &mut self,
        to: &str,
        id: &str,
        children: impl IntoIterator<Item = Element>,
    ) -> Result<(), ClientError> {
        if self.ledger.outstanding() >= MAX_UNACKED {
            return Err(ClientError::Full);
        }
        let mut message = Element::new("message", ns::CLIENT)
            .with_attribute("to", to)
            .with_attribute("type", "chat")
            .with_attribute("id", id);
        for child in children {
            message.push(child);
        }
        self.counts.sent += 1;
        self.transmit(Sent {
            wire: message.to_bytes(),
            message: Some(Tracked {
                to: to.into(),
                id: id.into(),
            }),
            at: Instant::now(),
            written: false,
        });
        self.unasked += 1;
        if self.unasked >= ASK_EVERY {
            self.ask();
        }
        Ok(())
    }

    /// Queues a stanza that is not worth sending again: presence, a typing notification, a request.
    pub fn send_stanza(&mut self, stanza: &Element) {
        self.transmit(Sent {
            wire: stanza.to_bytes(),
            message: None,
            at: Instant::now(),
            written: false,
        });
    }

    fn transmit(&mut self, mut sent: Sent) {
        if let Some(wire) = &mut self.wire {
            sent.written = true;
            wire.queue_bytes(&sent.wire);
        } else if sent.message.is_none() {
            return;
        }
        // Without counting there is no `h` to wait for; a message is then gone once written.
        if self.counting || self.wire.is_none() {
            self.ledger.sent(sent);
        }
    }

    /// Asks the server for its `h` now, if it owes one.
    pub fn ask(&mut self) {
        self.unasked = 0;
        let is_owed = self.counting && self.ledger.outstanding() > 0;
        if let Some(wire) = self.wire.as_mut().filter(|_| is_owed) {
            wire.queue(&Element::new("r", ns::SM));
        }
    }

    /// Queues a request; its answer comes as [`Event::Answer`] with the id returned.
    pub fn request(&mut self, kind: &'static str, to: Option<&str>, payload: Element) -> Box<str> {
        self.next_id += 1;
        let id = format!("q{}", self.next_id);
        let mut iq = Element::new("iq", ns::CLIENT)
            .with_attribute("type", kind)
            .with_attribute("id", id.as_str());
        if let Some(to) = to {
            iq.set_attribute("to", to);
        }
        self.send_stanza(&iq.with_child(payload));
        id.into()
    }

    /// Sends a request and waits for its answer; other events wait for [`Client::recv`].
    ///
    /// # Errors
    /// [`ClientError`]; an answer of type `error` is an answer.
    pub async fn iq(
        &mut self,
        kind: &'static str,
        to: Option<&str>,
        payload: Element,
    ) -> Result<Element, ClientError> {
        let id = self.request(kind, to, payload);
        let wait = async {
            loop {
                let found = self.events.iter().position(
                    |event| matches!(event, Event::Answer { id: theirs, .. } if *theirs == id),
                );
                if let Some(Event::Answer { element, .. }) =
                    found.and_then(|at| self.events.remove(at))
                {
                    return Ok(element);
                }
                if self.events.len() >= MAX_EVENTS {
                    return Err(ClientError::Full);
                }
                self.turn(true).await?;
            }
        };
        let answer = timeout(ANSWER_WITHIN, wait).await;
        answer.map_err(|_| ClientError::Deadline)?
    }

    /// Writes everything that is queued.
    ///
    /// # Errors
    /// [`ClientError`] if the connection is lost.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        while self.wire.as_ref().is_some_and(Wire::is_unflushed) {
            self.turn(self.events.len() < MAX_EVENTS).await?;
        }
        Ok(())
    }

    /// Ends the stream in order; what is unacknowledged stays here.
    ///
    /// # Errors
    /// [`ClientError`] if the connection was lost before.
    pub async fn close(&mut self) -> Result<(), ClientError> {
        if let Some(wire) = &mut self.wire {
            if self.counting {
                // XEP-0198 4: the last word on what arrived, or it would come again.
                wire.queue(&ledger_answer(&self.ledger));
            }
            wire.close();
        }
        // The session ends with the stream (XEP-0198 5): there is nothing to resume.
        self.resumable = None;
        let flushed = self.flush().await;
        self.wire = None;
        flushed
    }

    /// Lets the connection go without a word, as a lost network does.
    pub fn cut(&mut self) {
        self.wire = None;
    }

    // === Looking ===

    /// Whether there is a connection.
    pub const fn is_connected(&self) -> bool {
        self.wire.is_some()
    }

    /// The full address of the session.
    pub const fn bound(&self) -> Option<&Jid> {
        self.bound.as_ref()
    }

    /// The configuration.
    pub const fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// What was counted.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Stanzas that no `h` covers yet.
    pub fn unacked(&self) -> usize {
        self.ledger.outstanding()
    }
}

/// `<a/>` with the present count.
fn ledger_answer(ledger: &Ledger) -> Element {
    Element::new("a", ns::SM).with_attribute("h", ledger.h().to_string())
}

#[cfg(test)]
mod tests;
