//! inspect: where something is and why it waits, for a person on call.
//!
//! In: a question. Out: one JSON object of internal ids, counters and ages. Nothing of a stanza but its
//! place, no visible id, and no resume key is in it.

use std::time::Duration;

use async_trait::async_trait;
use entente_core::{AccountId, Epoch, Fault, FaultKind, Sequence, ShardId, Timestamp};
use entente_log::Health;
use entente_proto::inspect::{Inspect, NOT_SEEN, Question, TAKING_OVER};
use entente_shard::Mailbox;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::deliver::NO_OWNER;
use crate::directory::UNKNOWN;
use crate::error::RouterError;
use crate::events::Events;
use crate::owner::{Call, Owner};
use crate::service::Service;
use crate::twin::Twin;

/// How long an owner may take to answer: it does so between two turns.
const PATIENCE: Duration = Duration::from_secs(5);

const NO_SHARD: Fault = Fault::new(FaultKind::NotFound, "there is no such shard");
const LATE: Fault = Fault::new(FaultKind::Deadline, "the answer took too long");
const UNREADABLE: Fault = Fault::new(FaultKind::Internal, "the answer is malformed");

pub(crate) type Answer = Result<String, Fault>;

#[derive(Serialize)]
struct ShardAnswer {
    shard: u32,
    state: &'static str,
    epoch: u64,
    log: LogAnswer,
    sessions: Sessions,
    waiting: Waiting,
    unsettled_oldest_seconds: u64,
    quarantined: usize,
}

#[derive(Serialize)]
struct LogAnswer {
    floor: u64,
    applied: u64,
    /// As it was seen last; none before somebody asked.
    end: Option<u64>,
    lag_records: Option<u64>,
    lag_seconds: Option<u64>,
    /// None while it takes appends.
    fault: Option<&'static str>,
}

#[derive(Serialize)]
struct Sessions {
    attached: usize,
    detached: usize,
    unreported: usize,
    opening: usize,
    edges: usize,
}

#[derive(Serialize)]
struct Waiting {
    lane: usize,
    inbound: usize,
    inbox: usize,
    inbox_holes: usize,
    outbox: usize,
    appending_bytes: usize,
}

#[derive(Serialize)]
struct QuarantineAnswer {
    shard: u32,
    records: Vec<SetAside>,
}

#[derive(Serialize)]
struct SetAside {
    offset: u64,
    bytes: usize,
    why: String,
}

#[derive(Serialize)]
struct DeviceAnswer {
    account: String,
    shard: u32,
    /// Of the owner.
    epoch: u64,
    session: Option<SessionAnswer>,
    mailbox: MailboxAnswer,
    waits: &'static str,
}

#[derive(Serialize)]
struct SessionAnswer {
    /// Of the connection node, which says it at its own admin port.
    edge: String,
    epoch: u64,
    state: &'static str,
    since_seconds: u64,
    is_managed: bool,
    received: u64,
    handled: u64,
    in_lanes: usize,
    sent: u64,
    acked: u64,
    unacked: usize,
    unacked_bytes: usize,
    credit_bytes: i64,
}

#[derive(Serialize)]
struct MailboxAnswer {
    entries: usize,
    bytes: usize,
    oldest_seconds: Option<u64>,
    session_epoch: u64,
    is_connected: bool,
    is_woken: bool,
    /// Since a session began or ended.
    seen_seconds: u64,
}

#[derive(Serialize)]
struct StanzaAnswer {
    from: String,
    to: String,
    shard: u32,
    came_seconds: Option<u64>,
    state: &'static str,
    sequence: Option<u64>,
    age_seconds: Option<u64>,
    /// On the stream to the device, if it was sent there.
    position: Option<u64>,
    waits: Option<&'static str>,
}

/// Why what is in a mailbox is still there, in the words that a person reads.
mod why {
    pub(super) const NOTHING: &str = "nothing waits";
    pub(super) const AWAY: &str = "the device is not connected; it has not been woken";
    pub(super) const WOKEN: &str = "the device is not connected; a wake-up was emitted";
    pub(super) const DETACHED: &str = "the connection is lost; the session may still be resumed";
    pub(super) const UNREPORTED: &str =
        "the shard changed hands; the connection node has not reported the session yet";
    pub(super) const NOT_STARTED: &str = "the session is bound and has not asked for its backlog";
    pub(super) const NO_EDGE: &str = "the stream of the connection node is gone";
    pub(super) const WINDOW: &str =
        "the window is full: the device does not acknowledge what it was sent";
    pub(super) const NO_CREDIT: &str = "the connection node grants no room: its socket is slow";
    pub(super) const IN_FLIGHT: &str = "it was sent and is not acknowledged";
    pub(super) const NEXT: &str = "it goes with the next turn of the owner";
}

impl Owner {
    pub(crate) fn inspect(&mut self, question: &Question) -> Result<Answer, RouterError> {
        Ok(match question {
            Question::Device(account) => self.device(*account)?,
            Question::Quarantine(_) => self.quarantine()?,
            Question::Shard(_) => json(&self.about_shard()),
            Question::Stanza {
                from,
                from_device,
                to,
                id,
            } => self.stanza((*from, *from_device), *to, id)?,
        })
    }

    fn about_shard(&mut self) -> ShardAnswer {
        let now = Instant::now();
        let seen = self.seen(now);
        let (partition, log) = (self.shard.id().index(), &self.ground.log);
        let twins = self.twins.values();
        let attached = twins.filter(|twin| twin.detached.is_none()).count();
        ShardAnswer {
            shard: partition,
            state: match self.superseded {
                Some(_) => "serving until the next owner's claim",
                None => "serving",
            },
            epoch: self.epoch.value(),
            log: LogAnswer {
                floor: log.floor(partition).value(),
                applied: self.shard.next().value(),
                end: self.lag.latest().map(|end| end.value()),
                lag_records: seen.lag.map(|(records, _)| records),
                lag_seconds: seen.lag.map(|(_, since)| since.as_secs()),
                fault: match log.health() {
                    Health::Ok => None,
                    Health::Failed { reason } => Some(reason),
                },
            },
            sessions: Sessions {
                attached,
                detached: self.twins.len() - attached,
                unreported: seen.unreported,
                opening: self.opening.len(),
                edges: self.edges.len(),
            },
            waiting: Waiting {
                lane: seen.lanes,
                inbound: seen.ahead,
                inbox: seen.held,
                inbox_holes: seen.held_holes,
                outbox: seen.unsent,
                appending_bytes: self.appending_bytes,
            },
            unsettled_oldest_seconds: seen.unsettled.as_secs(),
            quarantined: seen.quarantined,
        }
    }

    fn quarantine(&self) -> Result<Answer, RouterError> {
        let kept = self.shard.set_aside()?;
        let records = kept.into_iter().map(|aside| SetAside {
            offset: aside.offset.value(),
            bytes: aside.bytes,
            why: aside.why.to_string(),
        });
        Ok(json(&QuarantineAnswer {
            shard: self.shard.id().index(),
            records: records.collect(),
        }))
    }

    fn device(&mut self, account: AccountId) -> Result<Answer, RouterError> {
        let Some(mailbox) = self.shard.mailbox(account)? else {
            return Ok(Err(UNKNOWN));
        };
        let clock = Timestamp::now();
        let age = |at: Timestamp| clock.since(at).as_secs();
        let first = self.shard.waiting_after(account, Sequence::default())?;
        let first = first.map(|entry| entry.sequence);
        Ok(json(&DeviceAnswer {
            account: account.to_string(),
            shard: self.shard.id().index(),
            epoch: self.epoch.value(),
            session: self.twins.get(&account).map(session),
            waits: match first {
                Some(sequence) => self.why(account, sequence, &mailbox),
                None => why::NOTHING,
            },
            mailbox: MailboxAnswer {
                entries: mailbox.entries,
                bytes: mailbox.bytes,
                oldest_seconds: mailbox.oldest.map(age),
                session_epoch: mailbox.epoch.value(),
                is_connected: mailbox.is_connected,
                is_woken: mailbox.is_woken,
                seen_seconds: age(mailbox.seen),
            },
        }))
    }

    fn stanza(
        &mut self,
        from: (AccountId, u16),
        to: AccountId,
        id: &[u8],
    ) -> Result<Answer, RouterError> {
        let (Some(trail), Some(mailbox)) =
            (self.shard.trail(from, to, id)?, self.shard.mailbox(to)?)
        else {
            return Ok(Err(UNKNOWN));
        };
        if trail.came.is_none() && trail.waits.is_none() {
            return Ok(Err(NOT_SEEN));
        }
        let clock = Timestamp::now();
        let age = |at: Timestamp| clock.since(at).as_secs();
        let sequence = trail.waits.map(|(sequence, _)| sequence);
        let position = sequence.and_then(|sequence| self.twins.get(&to)?.sent_at(sequence));
        Ok(json(&StanzaAnswer {
            from: format!("{}.{}", from.0, from.1),
            to: to.to_string(),
            shard: self.shard.id().index(),
            came_seconds: trail.came.map(age),
            state: match sequence {
                Some(_) => "it is in the mailbox of its recipient",
                None => {
                    "it is over: acknowledged by the device, or its sender was told that it failed"
                }
            },
            sequence: sequence.map(Sequence::value),
            age_seconds: trail.waits.map(|(_, admitted)| age(admitted)),
            position: position.map(entente_core::Position::value),
            waits: sequence.map(|sequence| self.why(to, sequence, &mailbox)),
        }))
    }

    /// Why an entry of a mailbox is still there.
    fn why(&self, account: AccountId, sequence: Sequence, mailbox: &Mailbox) -> &'static str {
        let Some(twin) = self.twins.get(&account) else {
            return if self.unreported.contains_key(&account) {
                why::UNREPORTED
            } else if mailbox.is_woken {
                why::WOKEN
            } else {
                why::AWAY
            };
        };
        let config = &self.ground.config;
        let full = twin.unacked.len() >= config.window_stanzas
            || twin.unacked_bytes >= config.window_bytes.get();
        if twin.detached.is_some() {
            why::DETACHED
        } else if !self.edges.contains_key(&twin.edge) {
            why::NO_EDGE
        } else if !twin.started {
            why::NOT_STARTED
        } else if sequence <= twin.cursor {
            why::IN_FLIGHT
        } else if full {
            why::WINDOW
        } else if twin.credit <= 0 {
            why::NO_CREDIT
        } else {
            why::NEXT
        }
    }
}

fn session(twin: &Twin) -> SessionAnswer {
    SessionAnswer {
        edge: format!("{:016x}", twin.edge.0),
        epoch: twin.epoch.value(),
        state: match twin.detached {
            Some(_) => "detached",
            None if twin.started => "attached",
            None => "bound",
        },
        since_seconds: twin.detached.unwrap_or(twin.since).elapsed().as_secs(),
        is_managed: twin.managed.is_some(),
        received: twin.received.value(),
        handled: twin.handled.value(),
        in_lanes: twin.in_lanes(),
        sent: twin.sent.value(),
        acked: twin.acked.value(),
        unacked: twin.unacked.len(),
        unacked_bytes: twin.unacked_bytes,
        credit_bytes: twin.credit,
    }
}

fn json(answer: &impl Serialize) -> Answer {
    serde_json::to_string(answer).map_err(|_| UNREADABLE)
}

#[async_trait]
impl Inspect for Service {
    async fn inspect(&self, question: Question) -> Answer {
        let shard = question.shard(self.placement());
        let kind = question.kind();
        let answer = self.asked(shard, question).await;
        Events::inspected(kind, shard, answer.as_ref().err().map(|fault| fault.kind()));
        answer
    }
}

impl Service {
    async fn asked(&self, shard: ShardId, question: Question) -> Answer {
        if shard.index() >= self.placement().shards() {
            return Err(NO_SHARD);
        }
        if self.owned().contains(&(shard, Epoch::default())) {
            return Err(TAKING_OVER);
        }
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.call(shard, Call::Inspect { question, reply }).await?;
            answer.await.map_err(|_| NO_OWNER)?
        };
        timeout(PATIENCE, asked).await.unwrap_or(Err(LATE))
    }
}
