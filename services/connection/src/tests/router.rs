//! A router in memory: one shard, positions and epochs as the seam promises them, no log.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use entente_core::{
    AccountId, Class, Content, Delivered, Envelope, Epoch, Fault, FaultKind, Position, Sequence,
    SessionId, ShardId, Timestamp,
};
use entente_proto::EdgeId;
use entente_proto::edge::{
    CloseReason, EdgeSender, EdgeStream, Inbound, Refusal, Report, ResumeKey, Router,
    STREAM_BATCHES, StreamId, ToEdge, ToRouter, Unresumable, credit_cost,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Accounts from this number on do not exist.
pub(crate) const NOBODY: u64 = 1000;

/// What was admitted before the device came.
const ADMITTED: Timestamp = Timestamp::from_secs(1_700_000_000);

#[derive(Clone, Debug, Default)]
pub(crate) struct StubRouter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    tasks: JoinSet<()>,
    /// Everything that was told, in order.
    told: Vec<ToRouter>,
    to_edge: Option<mpsc::Sender<Vec<ToEdge>>>,
    out: Vec<ToEdge>,
    twins: HashMap<AccountId, Twin>,
    mailboxes: HashMap<AccountId, VecDeque<Content>>,
    epoch: u64,
    /// Submits are kept unhandled while this is set.
    stuck: bool,
    /// Nobody can attach.
    away: bool,
    /// Whose session ends with the next thing that it says.
    doomed: Option<AccountId>,
    /// Stanzas that the log has: a copy changes nothing.
    stored: HashSet<(AccountId, Epoch, Position)>,
    entries: u64,
}

#[derive(Debug)]
struct Twin {
    session: SessionId,
    handled: u64,
    written: u64,
    bases: Option<(u64, u64)>,
    key: Option<ResumeKey>,
    started: bool,
    pumped: bool,
    live: bool,
    credit: i64,
    /// What was delivered and not acknowledged.
    unsettled: VecDeque<(u64, Content)>,
    epoch: Epoch,
}

#[async_trait]
impl Router for StubRouter {
    async fn attach(&self, edge: EdgeId, _shard: ShardId) -> Result<EdgeStream, Fault> {
        if self.0.lock().away {
            return Err(Fault::new(FaultKind::Unavailable, "away"));
        }
        let (to_edge, edge_inbox) = mpsc::channel(STREAM_BATCHES);
        let (inbox, mut owner) = mpsc::channel::<Inbound>(STREAM_BATCHES);
        let state = Arc::clone(&self.0);
        let mut locked = self.0.lock();
        locked.to_edge = Some(to_edge.clone());
        locked.tasks.spawn(async move {
            while let Some((_, batch)) = owner.recv().await {
                let out = {
                    let mut state = state.lock();
                    batch.into_iter().for_each(|item| state.take(item));
                    std::mem::take(&mut state.out)
                };
                if !out.is_empty() && to_edge.send(out).await.is_err() {
                    return;
                }
            }
        });
        Ok(EdgeStream {
            to_router: EdgeSender::new(StreamId { edge, number: 0 }, inbox),
            to_edge: edge_inbox,
        })
    }
}

impl StubRouter {
    /// Everything that the edge said so far.
    pub(crate) fn told(&self) -> Vec<ToRouter> {
        self.0.lock().told.clone()
    }

    /// Puts something into a mailbox; it goes out with the next thing that the edge says.
    pub(crate) fn keep(&self, account: AccountId, content: Content) {
        self.0
            .lock()
            .mailboxes
            .entry(account)
            .or_default()
            .push_back(content);
    }

    /// Ends the stream, and lets nobody attach until it is back.
    pub(crate) fn go_away(&self) {
        let mut state = self.0.lock();
        state.away = true;
        state.to_edge = None;
        state.tasks.abort_all();
    }

    /// Ends [`StubRouter::go_away`]; the twins are as they were.
    pub(crate) fn come_back(&self) {
        self.0.lock().away = false;
    }

    /// Leaves submits unhandled, or handles all of them.
    pub(crate) async fn stick(&self, stuck: bool) {
        let sender = {
            let mut state = self.0.lock();
            state.stuck = stuck;
            if !stuck {
                state.handle_all();
            }
            state.to_edge.clone()
        };
        let out = std::mem::take(&mut self.0.lock().out);
        if let Some(sender) = sender {
            sender.send(out).await.unwrap();
        }
    }

    /// Closes the session of an account instead of taking the next thing that it says.
    pub(crate) fn revoke_at_next(&self, account: AccountId) {
        self.0.lock().doomed = Some(account);
    }

    /// The owner dies: its stream ends. The next one knows what the log has, and nothing else.
    pub(crate) fn die(&self) {
        let mut state = self.0.lock();
        state.to_edge = None;
        state.tasks.abort_all();
        for twin in state.twins.values_mut() {
            twin.live = false;
            (twin.handled, twin.written, twin.bases, twin.key) = (0, 0, None, None);
            (twin.started, twin.credit) = (false, 0);
        }
    }

    /// Another connection takes the account's place, and nobody tells.
    pub(crate) fn replace(&self, account: AccountId) {
        let mut state = self.0.lock();
        state.epoch += 1;
        let epoch = Epoch::new(state.epoch);
        state.twins.get_mut(&account).unwrap().epoch = epoch;
    }

    /// The ids of the stanzas that wait for an account.
    pub(crate) fn kept(&self, account: AccountId) -> Vec<String> {
        let state = self.0.lock();
        let texts = state.mailboxes.get(&account).into_iter().flatten();
        let id = |content: &Content| match content {
            Content::Stanza(payload) => {
                let text = String::from_utf8(payload.to_vec()).unwrap();
                let (_, rest) = text.split_once(" id=").unwrap();
                rest.split(['\'', '"']).nth(1).unwrap().to_owned()
            }
            other => panic!("{other:?}"),
        };
        texts.map(id).collect()
    }
}

impl State {
    fn take(&mut self, item: ToRouter) {
        self.told.push(item.clone());
        match item {
            ToRouter::Bind { session, account } => self.bind(session, account),
            ToRouter::Resume {
                session,
                account,
                resume,
                h,
            } => self.resume(session, account, &resume, h),
            ToRouter::Reattach { session, report } => self.reattach(session, *report),
            ToRouter::Submit { session, envelope } => self.submit(session, &envelope),
            other => self.take_of_session(other),
        }
        let accounts: Vec<AccountId> = self.twins.keys().copied().collect();
        accounts.into_iter().for_each(|account| self.pump(account));
    }

    fn take_of_session(&mut self, item: ToRouter) {
        let session = item.session();
        let Some((account, twin)) = self
            .twins
            .iter_mut()
            .find(|(_, twin)| twin.session == session)
        else {
            return;
        };
        if self.doomed == Some(*account) {
            let why = CloseReason::Revoked;
            self.out.push(ToEdge::Closed { session, why });
            return;
        }
        match item {
            ToRouter::Acked { through, .. } => {
                let account = *account;
                self.acked(account, through);
            }
            ToRouter::Credit { bytes, .. } => twin.credit += i64::from(bytes),
            ToRouter::Detach { .. } => twin.live = false,
            ToRouter::Enable {
                inbound, resume, ..
            } => {
                twin.bases = Some((inbound.value(), twin.written));
                twin.key = resume;
                let outbound = Position::new(twin.written);
                self.out.push(ToEdge::Enabled {
                    session,
                    inbound,
                    outbound,
                });
            }
            ToRouter::End { .. } => {
                let account = *account;
                let twin = self.twins.remove(&account).unwrap();
                let mailbox = self.mailboxes.entry(account).or_default();
                for (_, content) in twin.unsettled.into_iter().rev() {
                    mailbox.push_front(content);
                }
            }
            ToRouter::Handled { position, .. } => {
                if twin.handled + 1 == position.value() || !self.stuck {
                    twin.handled = position.value();
                    let through = position;
                    self.out.push(ToEdge::Handled { session, through });
                }
            }
            ToRouter::Local { .. } => {
                twin.written += 1;
                let position = Position::new(twin.written);
                self.out.push(ToEdge::Slot { session, position });
            }
            ToRouter::Start { .. } => twin.started = true,
            ToRouter::Bind { .. }
            | ToRouter::Reattach { .. }
            | ToRouter::Resume { .. }
            | ToRouter::Submit { .. } => {}
        }
    }

    fn bind(&mut self, session: SessionId, account: AccountId) {
        if let Some(old) = self.twins.remove(&account) {
            let mailbox = self.mailboxes.entry(account).or_default();
            for (_, content) in old.unsettled.into_iter().rev() {
                mailbox.push_front(content);
            }
            self.out.push(ToEdge::Closed {
                session: old.session,
                why: CloseReason::Conflict,
            });
        }
        self.epoch += 1;
        let waiting = self.mailboxes.entry(account).or_default().len();
        let epoch = Epoch::new(self.epoch);
        self.twins.insert(account, Twin::new(session, epoch));
        self.out.push(ToEdge::Bound {
            session,
            epoch: Epoch::new(self.epoch),
            waiting: u32::try_from(waiting).unwrap(),
        });
    }

    fn reattach(&mut self, session: SessionId, report: Report) {
        let account = report.account;
        let twin = self.twins.get_mut(&account).unwrap();
        if twin.epoch != report.epoch {
            let why = CloseReason::Conflict;
            self.out.push(ToEdge::Closed { session, why });
            return;
        }
        let (acked, sent) = (report.acked.value(), report.sent.value());
        twin.unsettled.retain(|(position, _)| *position > acked);
        let mailbox = self.mailboxes.entry(account).or_default();
        while let Some((position, content)) = twin.unsettled.pop_back() {
            if position <= sent {
                twin.unsettled.push_back((position, content));
                break;
            }
            mailbox.push_front(content);
        }
        let known: Vec<_> = twin
            .unsettled
            .iter()
            .map(|(position, _)| *position)
            .collect();
        let reported = report.unacked.iter().map(|open| open.position.value());
        assert_eq!(reported.collect::<Vec<_>>(), known);
        (twin.live, twin.started, twin.pumped) = (true, report.started, true);
        (twin.handled, twin.written) = (report.handled.value(), sent);
        twin.credit = i64::from(report.credit);
        if let Some(management) = report.management {
            twin.bases = Some((management.inbound.value(), management.outbound.value()));
            twin.key = management.resume;
        }
        self.out.push(ToEdge::Reattached { session });
    }

    fn resume(&mut self, session: SessionId, account: AccountId, key: &ResumeKey, h: u32) {
        let twin = self
            .twins
            .get_mut(&account)
            .filter(|twin| twin.key.as_ref() == Some(key));
        let Some(twin) = twin else {
            self.out.push(ToEdge::Unresumable {
                session,
                h: Some(7),
                why: Unresumable::Unknown,
            });
            return;
        };
        if twin.live {
            self.out.push(ToEdge::Closed {
                session: twin.session,
                why: CloseReason::Conflict,
            });
        }
        self.epoch += 1;
        let (inbound, outbound) = twin.bases.unwrap();
        let acked = outbound + u64::from(h);
        twin.unsettled.retain(|(position, _)| *position > acked);
        let mailbox = self.mailboxes.entry(account).or_default();
        for (_, content) in twin.unsettled.drain(..).rev() {
            mailbox.push_front(content);
        }
        (twin.session, twin.live, twin.started) = (session, true, false);
        twin.epoch = Epoch::new(self.epoch);
        (twin.written, twin.credit) = (acked, 0);
        self.out.push(ToEdge::Resumed {
            session,
            epoch: Epoch::new(self.epoch),
            handled: Position::new(twin.handled),
            inbound: Position::new(inbound),
            outbound: Position::new(outbound),
            acked: Position::new(acked),
        });
    }

    fn submit(&mut self, session: SessionId, envelope: &Envelope) {
        let from = self.twins.get_mut(&envelope.from).unwrap();
        if envelope.to.number() >= NOBODY {
            from.written += 1;
            let refusal = Refusal {
                position: Position::new(from.written),
                inbound: envelope.position,
                id: envelope.id.clone(),
                to: envelope.to,
                fault: Fault::new(FaultKind::NotFound, "no such account"),
            };
            self.out.push(ToEdge::Refused { session, refusal });
        } else if envelope.class == Class::Durable
            && self
                .stored
                .insert((envelope.from, envelope.epoch, envelope.position))
        {
            let content = Content::Stanza(envelope.payload.clone());
            let mailbox = self.mailboxes.entry(envelope.to).or_default();
            mailbox.push_back(content);
        }
        if !self.stuck {
            self.handle_all();
        }
    }

    fn handle_all(&mut self) {
        for item in &self.told {
            if let ToRouter::Submit { session, envelope } = item
                && let Some(twin) = self.twins.get_mut(&envelope.from)
                && twin.session == *session
                && twin.handled < envelope.position.value()
            {
                twin.handled = envelope.position.value();
                self.out.push(ToEdge::Handled {
                    session: *session,
                    through: envelope.position,
                });
            }
        }
    }

    fn acked(&mut self, account: AccountId, through: Position) {
        let Some(twin) = self.twins.get_mut(&account) else {
            return;
        };
        while let Some((position, _)) = twin.unsettled.front()
            && *position <= through.value()
        {
            twin.unsettled.pop_front();
        }
    }

    fn pump(&mut self, account: AccountId) {
        let (Some(twin), Some(mailbox)) = (
            self.twins.get_mut(&account),
            self.mailboxes.get_mut(&account),
        ) else {
            return;
        };
        // What waited before the device started was delayed.
        let delayed = (!twin.pumped).then_some(ADMITTED);
        while twin.live && twin.started && twin.credit > 0 {
            twin.pumped = true;
            let Some(content) = mailbox.pop_front() else {
                return;
            };
            twin.written += 1;
            twin.credit -= i64::from(credit_cost(&content));
            twin.unsettled.push_back((twin.written, content.clone()));
            self.entries += 1;
            self.out.push(ToEdge::Deliver {
                session: twin.session,
                position: Position::new(twin.written),
                sequence: Some(Sequence::new(self.entries)),
                content,
                delayed,
                trace: None,
            });
        }
    }
}

impl Twin {
    fn new(session: SessionId, epoch: Epoch) -> Self {
        Self {
            session,
            epoch,
            handled: 0,
            written: 0,
            bases: None,
            key: None,
            started: false,
            pumped: false,
            live: true,
            credit: 0,
            unsettled: VecDeque::new(),
        }
    }
}

/// A receipt for one stanza.
pub(crate) fn receipt(by: AccountId, id: &'static [u8]) -> Content {
    Content::Delivered(Delivered {
        by,
        ids: vec![id.into()],
        at: ADMITTED,
    })
}
