//! A bound session, without I/O: what each stanza of the client and each item of the owner leads to.
//!
//! In: elements of the client, items of the owner, answers of the identity service, the passing of
//! time. Out: [`Effects`]: output for the client, items for the owner, questions, the end.
//!
//! **Invariants**
//! - Every message, presence and iq of the client gets the next inbound position; it leads to one
//!   `Submit` or one `Handled`, in the order of the stream.
//! - Nothing that XEP-0198 counts is put into the outbox without a position from the owner. What is
//!   made here waits in a bounded queue for its `Slot`.
//! - `from` is stamped; a client that writes another one is out (RFC 6120 4.9.3.9, T95).

mod ask;
mod blocking;
pub(crate) mod count;
mod deliver;
mod disco;
mod flow;
mod iq;
mod keys;
mod ledger;
mod message;
mod presence;
mod reattach;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use entente_core::{AccountId, Epoch, Position, SessionId};
use entente_proto::edge::{ResumeKey, ToRouter};
use entente_stanza::{Element, Iq, Jid, Stanza, StanzaCondition, StreamCondition, ns};
use entente_trace::Tracer;

pub(crate) use self::ask::{Answer, Question, answer};
pub(crate) use self::flow::{ANSWER_PATIENCE, failed_element, hex, read_resume_id, wants_resume};
use self::flow::{Barrier, Management, Readiness};
use self::ledger::Ledger;
use crate::config::Config;
use crate::pace::Pace;
use crate::wire::Outbox;

/// Stanzas of our own that may wait for a position: a page of requests sent at once.
const LOCALS: usize = 256;
/// Bytes of them.
const LOCAL_BYTES: usize = 512 * 1024;

/// What every session of a deployment has in common.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) domain: Jid,
    pub(crate) config: Config,
    pub(crate) tracer: Tracer,
    pub(crate) pace: Arc<Pace>,
}

/// Who the client is.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub(crate) account: AccountId,
    /// With the resource.
    pub(crate) full: Jid,
    pub(crate) bare: Jid,
}

/// One bound session.
#[derive(Debug)]
pub(crate) struct Session {
    rules: Arc<Rules>,
    pub(crate) me: Me,
    id: SessionId,
    epoch: Epoch,
    /// Position of the last stanza read.
    inbound: Position,
    /// Everything up to here is handled, says the owner.
    handled: Position,
    /// Position of the last stanza written.
    written: Position,
    ledger: Ledger,
    management: Management,
    readiness: Readiness,
    /// Entries that waited in the mailbox at bind, until the client was told.
    waiting: Option<u32>,
    locals: VecDeque<Local>,
    local_bytes: usize,
    barrier: Option<Box<Barrier>>,
    /// Without XEP-0198: something was delivered that no ping covers yet.
    unsettled: bool,
    /// Questions that are not answered yet.
    asked: usize,
    /// The request to be erased, until its answer is written.
    leaving: Option<Box<Iq>>,
    /// Bytes of deliveries put into the outbox and not granted anew.
    spent: u32,
}

/// A stanza made here, until the owner gives it a position.
#[derive(Debug)]
struct Local {
    bytes: Bytes,
    kind: LocalKind,
}

/// What a stanza made here is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LocalKind {
    /// A ping whose answer settles.
    Barrier,
    /// The answer to the account's own wish to be erased.
    Farewell,
    /// Anything else.
    Plain,
}

/// Where a session begins.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A new session.
    Bound {
        /// Entries that wait.
        waiting: u32,
    },
    /// A session whose connection died.
    Resumed {
        handled: Position,
        inbound: Position,
        outbound: Position,
        acked: Position,
        key: ResumeKey,
    },
}

/// What the driver has to do.
#[derive(Debug)]
pub(crate) struct Effects<'a> {
    pub(crate) out: &'a mut Outbox,
    pub(crate) router: &'a mut Vec<ToRouter>,
    pub(crate) questions: &'a mut Vec<Question>,
    /// What was counted; for metrics.
    pub(crate) tally: &'a mut Tally,
    pub(crate) end: Option<End>,
}

/// How many stanzas of each kind passed in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) durable: u64,
    pub(crate) ephemeral: u64,
    pub(crate) requests: u64,
    pub(crate) presence: u64,
    /// Stanzas that are dropped silently by the rules.
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
    pub(crate) delivered: u64,
    /// Owners that took the session over.
    pub(crate) reattached: u64,
}

/// Why and how a session ends.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) error: Option<Element>,
    pub(crate) parting: Parting,
    pub(crate) cause: Cause,
}

/// What the owner is told at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// The session may be resumed, if the client asked for that.
    Detach,
    /// It is over.
    End,
    /// The owner knows, or there is none.
    Silent,
}

/// Why sessions end; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    Closed,
    Conflict,
    Drained,
    Gone,
    Late,
    Lost,
    Misbehaved,
    Overflow,
    Revoked,
    Stalled,
}

impl Session {
    pub(crate) fn new(
        rules: Arc<Rules>,
        me: Me,
        id: SessionId,
        epoch: Epoch,
        origin: Origin,
    ) -> Self {
        let first = rules.config.first_count;
        let zero = Position::new(0);
        let (handled, written, waiting, management, readiness) = match origin {
            Origin::Bound { waiting } => {
                let readiness = Readiness::Expected;
                (zero, zero, Some(waiting), Management::Off, readiness)
            }
            Origin::Resumed {
                handled,
                inbound,
                outbound,
                acked,
                key,
            } => {
                let counters = count::Counters::new(inbound, outbound, first).acked_through(acked);
                let management = Management::resumed(counters, key);
                (handled, acked, None, management, Readiness::Expected)
            }
        };
        Self {
            rules,
            me,
            id,
            epoch,
            inbound: handled,
            handled,
            written,
            // What was written before a resume and is not acknowledged is written anew.
            ledger: Ledger::acked_through(written),
            management,
            readiness,
            waiting,
            locals: VecDeque::new(),
            local_bytes: 0,
            barrier: None,
            unsettled: false,
            asked: 0,
            leaving: None,
            spent: 0,
        }
    }

    /// Takes one element of the client.
    pub(crate) fn receive(&mut self, mut element: Element, fx: &mut Effects<'_>) {
        if element.ns() == &ns::CLIENT && matches!(element.name(), "message" | "presence" | "iq") {
            self.inbound = self.inbound.next();
            // Taken out, so that it is not read again: what is stamped below is known.
            if !self.is_own(element.remove_attribute("from").as_deref()) {
                fx.fault(StreamCondition::InvalidFrom, "from is not your address");
                return;
            }
            self.stanza(element, fx);
            return;
        }
        self.nonza(&element, fx);
    }

    fn is_own(&self, from: Option<&str>) -> bool {
        from.is_none_or(|from| {
            if from == self.me.full.as_str() || from == self.me.bare.as_str() {
                return true;
            }
            Jid::parse(from).is_ok_and(|from| from == self.me.full || from == self.me.bare)
        })
    }

    fn stanza(&mut self, element: Element, fx: &mut Effects<'_>) {
        let mut stanza = Stanza::from_element(element);
        if let Ok(stanza) = &mut stanza
            && let Some(head) = stanza.head_mut()
        {
            head.from = Some(self.me.full.clone());
        }
        match stanza {
            Ok(Stanza::Message(message)) => self.message(message, fx),
            Ok(Stanza::Presence(presence)) => self.presence(presence, fx),
            Ok(Stanza::Iq(iq)) => self.iq(iq, fx),
            Ok(Stanza::Nonza(_)) => self.handled_here(fx),
            Err(mut refusal) => {
                refusal.element.set_attribute("from", &self.me.full);
                fx.tally.refused += 1;
                if let Some(answer) = refusal.answer() {
                    self.local(&answer, fx);
                }
                self.handled_here(fx);
            }
        }
    }

    /// Queues a stanza of our own until it has a position.
    fn local(&mut self, stanza: &Element, fx: &mut Effects<'_>) {
        self.queue(stanza.to_bytes(), LocalKind::Plain, fx);
    }

    fn queue(&mut self, bytes: Bytes, kind: LocalKind, fx: &mut Effects<'_>) {
        self.local_bytes += bytes.len();
        self.locals.push_back(Local { bytes, kind });
        fx.router.push(ToRouter::Local { session: self.id });
        if self.locals.len() > LOCALS || self.local_bytes > LOCAL_BYTES {
            fx.fault(
                StreamCondition::PolicyViolation,
                "too many requests at once",
            );
        }
    }

    /// The stanza just read needs nothing more.
    fn handled_here(&mut self, fx: &mut Effects<'_>) {
        self.handled_at(self.inbound, fx);
    }

    fn handled_at(&mut self, position: Position, fx: &mut Effects<'_>) {
        self.ledger.done(position);
        fx.router.push(ToRouter::Handled {
            session: self.id,
            position,
        });
    }

    /// Whether so much was delivered that it is to be granted anew once it is with the kernel.
    pub(crate) fn owes_grant(&self) -> bool {
        // A grant for each delivery would double the items; a sixteenth of the credit can wait.
        let threshold = self.rules.config.limits.credit.get() / 16;
        usize::try_from(self.spent).unwrap_or(usize::MAX) > threshold
    }

    /// Bytes of deliveries to grant anew; called when all output is with the kernel.
    pub(crate) fn grant(&mut self, fx: &mut Effects<'_>) {
        if self.owes_grant() {
            fx.router.push(ToRouter::Credit {
                session: self.id,
                bytes: std::mem::take(&mut self.spent),
            });
        }
    }

    /// What to tell the owner when the connection is over.
    pub(crate) fn parting(&self, parting: Parting) -> Option<ToRouter> {
        let session = self.id;
        match parting {
            Parting::Detach if self.management.is_resumable() => Some(ToRouter::Detach { session }),
            Parting::Detach | Parting::End => Some(ToRouter::End { session }),
            Parting::Silent => None,
        }
    }

    /// Ends the session for a reason outside of it.
    pub(crate) fn refuse_rest(&self, cause: Cause, fx: &mut Effects<'_>) {
        let (condition, text, parting) = match cause {
            Cause::Drained => (
                StreamCondition::SystemShutdown,
                "the server is going down",
                Parting::Detach,
            ),
            Cause::Lost => (
                StreamCondition::Reset,
                "the session's place was lost",
                Parting::Silent,
            ),
            Cause::Overflow => (
                StreamCondition::ResourceConstraint,
                "too much waits for this session",
                Parting::Detach,
            ),
            Cause::Revoked => (
                StreamCondition::NotAuthorized,
                "the login is no longer good",
                Parting::End,
            ),
            _ => (
                StreamCondition::ConnectionTimeout,
                "the connection is idle",
                Parting::Detach,
            ),
        };
        fx.stop(cause, parting, Some(condition.to_element(Some(text))));
    }
}

impl Me {
    /// The addresses of an account with a resource.
    pub(crate) fn new(account: AccountId, full: Jid) -> Self {
        let bare = full.to_bare();
        Self {
            account,
            full,
            bare,
        }
    }
}

impl Effects<'_> {
    /// The client broke a rule: the stream is over, and the session with it.
    fn fault(&mut self, condition: StreamCondition, text: &'static str) {
        let error = condition.to_element(Some(text));
        self.stop(Cause::Misbehaved, Parting::End, Some(error));
    }

    /// The first end counts.
    fn stop(&mut self, cause: Cause, parting: Parting, error: Option<Element>) {
        self.end.get_or_insert(End {
            error,
            parting,
            cause,
        });
    }
}

/// Why a request is refused without being looked at further.
const UNAVAILABLE: StanzaCondition = StanzaCondition::ServiceUnavailable;
