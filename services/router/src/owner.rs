//! The one task that owns a shard: it alone touches the shard's state and its sessions.
//!
//! In: batches of connection nodes, calls, records of the log, reports of appends. Out: batches for
//! connection nodes, appends. Each turn of the loop takes what is there, runs the stages, and sends
//! what they left in one batch per edge and one batch per partition.
//!
//! **Invariants**
//! - Between two turns nothing is held back: effects are carried out, handled counts are told.
//! - While too much waits for the log, edges are not read; so the wait is theirs and bounded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "mutants")]
use entente_core::mutant::{self, Mutant};
use entente_core::{
    AccountId, Counter, Epoch, Fault, IdMap, Offset, Placement, SealKey, Sequence, SessionId,
};
use entente_log::{Health, Log, LogError, Record, Tail};
use entente_node::Tasks;
use entente_proto::edge::{EdgeId, Inbound, ResumeKey, StreamId, ToEdge, ToRouter};
use entente_proto::inspect::Question;
use entente_shard::{Command, Reply, Shard, StoreError, Target};
use entente_trace::Tracer;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::append::{Appending, FULL, Parcel, Report};
use crate::config::Config;
use crate::directory::Read;
use crate::edges::{Draining, Edge};
use crate::error::RouterError;
use crate::events::Events;
use crate::held::Held;
use crate::inspect::Answer;
use crate::lane::LaneId;
use crate::look::Lag;
use crate::twin::Twin;

/// Batches of edges that one turn takes at most: enough to share one append among many sessions.
const TURN_BATCHES: usize = 64;
/// Commands that may wait for the log before changes of the directory are refused.
const MAX_COMMANDS: usize = 4_096;
/// How often time-outs are looked at and sent outputs are noted.
const TICK: Duration = Duration::from_millis(200);

/// What others in this process ask of an owner.
#[derive(Debug)]
pub(crate) enum Call {
    /// A connection node opens its stream.
    Attach {
        stream: StreamId,
        to_edge: mpsc::Sender<Vec<ToEdge>>,
        ready: oneshot::Sender<()>,
    },
    /// A change of the directory, decided by the fold.
    Change {
        request: u64,
        command: Command,
        reply: oneshot::Sender<Result<Reply, Fault>>,
    },
    /// An ephemeral stanza for an account of this shard.
    Ephemeral {
        from: AccountId,
        to: AccountId,
        payload: Bytes,
    },
    /// What a person on call asks.
    Inspect {
        question: Question,
        reply: oneshot::Sender<Answer>,
    },
    /// A question that the state answers.
    Read(Read),
}

/// What does not change while a shard is owned.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) config: Arc<Config>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) wake: Arc<dyn Log>,
    pub(crate) placement: Placement,
    pub(crate) seal: SealKey,
    pub(crate) events: Events,
    pub(crate) tracer: Tracer,
    pub(crate) tasks: Tasks,
    /// The shards of this process.
    pub(crate) held: Arc<Held>,
    /// The owners of all shards, by shard, or who passes on to them.
    pub(crate) peers: Arc<Vec<mpsc::Sender<Call>>>,
}

impl Ground {
    /// Why a log that says that it is not available will stay so. A full one says that it is full.
    pub(crate) fn failure(&self) -> Option<RouterError> {
        let logs = [&self.log, &self.wake];
        logs.iter().find_map(|log| match log.health() {
            Health::Ok => None,
            Health::Failed { reason } => Some(RouterError::LogFailed(reason)),
        })
    }
}

/// Why a target takes no output batch now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// The last one failed: the next tick tries again.
    Failed,
    /// One is under way. A second one could arrive although the first fails, and `Sent` would lie.
    UnderWay,
}

/// A session whose `Open` is in the log and not yet applied.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) edge: EdgeId,
    pub(crate) account: AccountId,
    /// The serial of the twin that goes on; none for a fresh session.
    pub(crate) resumes: Option<u64>,
}

/// A resume that waits until nothing of the old connection is under way.
#[derive(Clone, Debug)]
pub(crate) struct Resuming {
    pub(crate) session: SessionId,
    pub(crate) edge: EdgeId,
    pub(crate) account: AccountId,
    pub(crate) resume: ResumeKey,
    pub(crate) h: u32,
}

#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) ground: Ground,
    pub(crate) shard: Shard,
    pub(crate) epoch: Epoch,
    pub(crate) edges: IdMap<EdgeId, Edge>,
    pub(crate) draining: FuturesUnordered<Draining>,
    pub(crate) twins: IdMap<AccountId, Twin>,
    pub(crate) sessions: IdMap<SessionId, AccountId>,
    pub(crate) opening: IdMap<SessionId, Opening>,
    pub(crate) resuming: IdMap<AccountId, Resuming>,
    /// Accounts that were connected when this owner began, and have not been reported since.
    pub(crate) unreported: IdMap<AccountId, Epoch>,
    /// Until when their edges may report them.
    pub(crate) report_by: Instant,
    pub(crate) requests: IdMap<u64, oneshot::Sender<Result<Reply, Fault>>>,
    pub(crate) serial: u64,

    pub(crate) commands: Vec<Command>,
    /// Whether a record of commands is under way. The next one waits, so that no refusal can change
    /// the order of commands; what gathers meanwhile shares it.
    pub(crate) commanding: bool,
    /// The log refused the last commands: they go with the next tick.
    pub(crate) refused: bool,
    /// Accounts whose window moved in this turn.
    pub(crate) pumps: Vec<AccountId>,
    /// Lanes that may hand the log a parcel with this turn.
    pub(crate) moving: Vec<LaneId>,
    /// Some lane waits for a log that refused it.
    pub(crate) lanes_wait: bool,
    /// Bytes that wait in lanes.
    pub(crate) waiting_bytes: usize,
    pub(crate) outgoing: BTreeMap<u32, Vec<Parcel>>,
    pub(crate) appending: FuturesUnordered<Appending>,
    pub(crate) appending_bytes: usize,
    pub(crate) settles: IdMap<AccountId, (Epoch, Sequence, u32)>,
    /// When they are recorded at the latest.
    pub(crate) settle_at: Option<Instant>,
    pub(crate) told: Vec<AccountId>,
    /// Targets that take no output batch now.
    pub(crate) busy: BTreeMap<Target, Busy>,
    pub(crate) sent: BTreeMap<Target, Counter>,
    pub(crate) storing: Option<JoinHandle<Result<(), StoreError>>>,
    pub(crate) storing_from: Offset,
    /// Since when another owner has the rows: it reads them, and will claim the shard.
    pub(crate) superseded: Option<Instant>,
    pub(crate) flooring: Option<JoinHandle<()>>,
    /// When state last went to the store; nothing before the first time, which is with the first
    /// tick: who dies young must not replay more each time.
    pub(crate) stored_at: Option<Instant>,
    pub(crate) swept: Option<AccountId>,
    pub(crate) sweep_at: Instant,
    pub(crate) lag: Lag,
}

/// Where an owner takes its work from.
#[derive(Debug)]
pub(crate) struct Inlets {
    pub(crate) batches: mpsc::Receiver<Inbound>,
    pub(crate) calls: mpsc::Receiver<Call>,
}

impl Owner {
    pub(crate) fn new(ground: Ground, shard: Shard, epoch: Epoch) -> Self {
        let now = Instant::now();
        Self {
            ground,
            shard,
            epoch,
            edges: IdMap::default(),
            draining: FuturesUnordered::new(),
            twins: IdMap::default(),
            sessions: IdMap::default(),
            opening: IdMap::default(),
            resuming: IdMap::default(),
            unreported: IdMap::default(),
            report_by: now,
            requests: IdMap::default(),
            serial: 0,
            commands: Vec::new(),
            commanding: false,
            refused: false,
            pumps: Vec::new(),
            moving: Vec::new(),
            lanes_wait: false,
            waiting_bytes: 0,
            outgoing: BTreeMap::new(),
            appending: FuturesUnordered::new(),
            appending_bytes: 0,
            settles: IdMap::default(),
            settle_at: None,
            told: Vec::new(),
            busy: BTreeMap::new(),
            sent: BTreeMap::new(),
            storing: None,
            storing_from: Offset::default(),
            superseded: None,
            flooring: None,
            stored_at: None,
            swept: None,
            sweep_at: now,
            lag: Lag::default(),
        }
    }

    /// Owns the shard until the tasks are told to end, or something makes it unsafe to go on. `tail` stands
    /// behind what was applied.
    pub(crate) async fn run(&mut self, inlets: &mut Inlets, tail: Tail) -> Result<(), RouterError> {
        let cancelled = self.ground.tasks.cancelled();
        // Kept over the turns: a read that begins anew with each batch of an edge may never end.
        let mut reading = Box::pin(read_on(tail));
        let mut has_callers = true;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settling = Box::pin(sleep_until(Instant::now()));
        let mut batches = Vec::with_capacity(TURN_BATCHES);
        loop {
            if let Some(at) = self.settle_at
                && settling.deadline() != at
            {
                settling.as_mut().reset(at);
            }
            let waits = self.appending_bytes + self.waiting_bytes;
            let has_room = waits < self.ground.config.append_bytes.get();
            // No bias: neither a busy edge nor a long log may starve the other.
            tokio::select! {
                () = cancelled.cancelled() => return self.last_checkpoint().await,
                count = inlets.batches.recv_many(&mut batches, TURN_BATCHES),
                    if has_room && has_callers =>
                {
                    has_callers = count > 0;
                    for (stream, items) in batches.drain(..) {
                        self.take_batch(stream, items)?;
                    }
                }
                Some(call) = inlets.calls.recv() => self.take_call(call)?,
                Some(report) = self.appending.next(), if !self.appending.is_empty() => {
                    self.appended(report)?;
                    while let Some(report) = self.next_report_now() {
                        self.appended(report)?;
                    }
                }
                (tail, records) = &mut reading => {
                    reading.set(read_on(tail));
                    self.apply(&records?)?;
                }
                Some(drained) = self.draining.next(), if !self.draining.is_empty() => {
                    self.drained(&drained);
                }
                // Settles that waited for others go with the flush of this turn.
                () = &mut settling,
                    if self.settle_at.is_some() && !self.commanding && !self.refused => {}
                _ = tick.tick() => self.tick().await?,
            }
            self.flush()?;
        }
    }

    /// A report that is there already, so that one turn tells of all of them.
    fn next_report_now(&mut self) -> Option<Report> {
        if self.appending.is_empty() {
            None
        } else {
            self.appending.next().now_or_never()?
        }
    }

    fn take_batch(&mut self, stream: StreamId, items: Vec<ToRouter>) -> Result<(), RouterError> {
        // Whoever missed the end of its stream is not heard: nothing could be answered.
        if !self.has_stream(stream) {
            return Ok(());
        }
        if items.is_empty() {
            self.lose_edge(stream.edge);
        }
        for item in items {
            self.take_item(stream.edge, item)?;
        }
        Ok(())
    }

    fn take_item(&mut self, edge: EdgeId, item: ToRouter) -> Result<(), RouterError> {
        match item {
            ToRouter::Acked { session, through } => self.acked(session, through),
            ToRouter::Bind { session, account } => self.bind(edge, session, account, None),
            ToRouter::Credit { session, bytes } => self.credit(session, bytes)?,
            ToRouter::Detach { session } => self.detach(session),
            ToRouter::Enable {
                session,
                inbound,
                resume,
            } => self.enable(session, inbound, resume),
            ToRouter::End { session } => self.end(session),
            ToRouter::Handled { session, position } => self.handled(session, position),
            ToRouter::Local { session } => self.local(session),
            ToRouter::Reattach { session, report } => self.reattach(edge, session, *report)?,
            ToRouter::Resume {
                session,
                account,
                resume,
                h,
            } => {
                self.resume(Resuming {
                    session,
                    edge,
                    account,
                    resume,
                    h,
                })?;
            }
            ToRouter::Start { session } => self.start(session)?,
            ToRouter::Submit { session, envelope } => self.submit(session, &envelope)?,
        }
        Ok(())
    }

    fn take_call(&mut self, call: Call) -> Result<(), RouterError> {
        match call {
            Call::Attach {
                stream,
                to_edge,
                ready,
            } => {
                self.attach(stream, to_edge);
                let _nobody_waits = ready.send(());
            }
            #[cfg(feature = "mutants")]
            Call::Change {
                command: Command::Take { target, .. },
                reply,
                ..
            } if mutant::is(Mutant::ServedPrekeyNotPersisted) => {
                let bundle = self.shard.take_unrecorded(target)?;
                let bundle = bundle.map(|bundle| Reply::Bundle(Box::new(bundle)));
                let _caller_left = reply.send(bundle);
            }
            Call::Change {
                request,
                command,
                reply,
            } => {
                if self.refused || self.commands.len() >= MAX_COMMANDS {
                    let _caller_left = reply.send(Err(FULL));
                } else {
                    self.requests.insert(request, reply);
                    self.commands.push(command);
                }
            }
            Call::Ephemeral { from, to, payload } => self.pass(from, to, payload)?,
            Call::Inspect { question, reply } => {
                let _nobody_waits = reply.send(self.inspect(&question)?);
            }
            Call::Read(read) => self.read(read)?,
        }
        Ok(())
    }

    /// The twin that a session id names, if it still is the account's session.
    pub(crate) fn twin(&mut self, session: SessionId) -> Option<(AccountId, &mut Twin)> {
        let account = *self.sessions.get(&session)?;
        let twin = self.twins.get_mut(&account)?;
        Some((account, twin))
    }

    /// Notes that the edge is to be told how far the account's stanzas are handled.
    pub(crate) fn tell_handled(&mut self, account: AccountId) {
        self.told.push(account);
    }

    /// Sends what the turn left: commands and stanzas to the log, items to the edges.
    fn flush(&mut self) -> Result<(), RouterError> {
        for account in std::mem::take(&mut self.pumps) {
            self.pump(account)?;
        }
        self.flush_lanes();
        self.flush_outputs();
        self.flush_commands();
        self.flush_appends();
        self.flush_handled();
        self.flush_edges();
        Ok(())
    }

    fn flush_handled(&mut self) {
        for account in std::mem::take(&mut self.told) {
            let Some(twin) = self.twins.get_mut(&account) else {
                continue;
            };
            if twin.handled > twin.told && twin.detached.is_none() {
                twin.told = twin.handled;
                let (session, through, edge) = (twin.session, twin.handled, twin.edge);
                self.tell(edge, ToEdge::Handled { session, through });
            }
        }
    }

    /// Waits for what the next owner must not find under way. The end of the streams, which comes with
    /// the end of this owner, tells edges to look for the next one.
    pub(crate) async fn abandon(&mut self) {
        // The next owner reads the rows: no commit of this one may land under it.
        if let Some(storing) = self.storing.take() {
            let _either_way_the_log_has_it = storing.await;
        }
    }
}

async fn read_on(mut tail: Tail) -> (Tail, Result<Vec<Record>, LogError>) {
    let records = tail.next_batch().await;
    (tail, records)
}
