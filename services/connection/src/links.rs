//! The streams to the owners of the shards, shared by all sessions of this node.
//!
//! In: a session that joins, and batches of what it has to say. Out: what the owner says, in each
//! session's [`Inbox`].
//!
//! **Invariants**
//! - One stream to a shard, one task that drains it at all times; it waits for no session.
//! - What a session has not taken from its inbox is bounded: deliveries by credit, the rest by
//!   [`INBOX_ITEMS`]. A session beyond that is told [`Notice::Overflow`] and loses its place.
//! - When a stream ends, every session on it is told [`Notice::Detached`], and then [`Notice::Attached`]
//!   with the next one, or [`Notice::Lost`] if there is none within [`REATTACH_TIME`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use entente_core::{AccountId, Fault, FaultKind, IdMap, PartnerId, Placement, SessionId, ShardId};
use entente_node::Tasks;
use entente_proto::edge::{BATCH_ITEMS, EdgeSender, StreamGone, ToEdge, ToRouter};
use entente_proto::identity::Revocation;
use entente_proto::{EdgeId, RouterClient};
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::events::{self, Meters, Ownerless};

/// Items that may wait in an inbox: four batches of the stream; a session that takes nothing while
/// so much arrives is stuck.
const INBOX_ITEMS: usize = 4 * BATCH_ITEMS;
/// Room that an empty inbox keeps, in items.
const INBOX_IDLE_ITEMS: usize = 8;
/// How long sessions wait for an owner after their stream ended. A take-over takes seconds, the time in
/// which a dead node is noticed included; a client that waits longer had better log in elsewhere.
pub(crate) const REATTACH_TIME: Duration = Duration::from_secs(30);
/// First pause between attempts to attach; doubled up to [`ATTACH_PAUSE_MAX`].
const ATTACH_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause: a shard changes hands within seconds.
const ATTACH_PAUSE_MAX: Duration = Duration::from_secs(1);

/// All streams of this node.
#[derive(Debug)]
pub(crate) struct Links {
    edge: EdgeId,
    router: RouterClient,
    placement: Placement,
    tasks: Tasks,
    meters: Meters,
    shards: Mutex<IdMap<ShardId, Arc<Shard>>>,
}

#[derive(Debug)]
struct Shard {
    id: ShardId,
    /// Streams in a row that ended within [`ATTACH_PAUSE_MAX`].
    brief: AtomicU32,
    /// Held over an attach, so that many sessions make one attempt.
    sender: tokio::sync::Mutex<Option<EdgeSender>>,
    table: Mutex<Table>,
    /// There while somebody waits for an owner.
    ownerless: Mutex<Weak<Ownerless>>,
}

#[derive(Debug, Default)]
struct Table {
    attached: bool,
    sessions: IdMap<SessionId, Arc<Inbox>>,
}

/// What waits for one session.
#[derive(Debug)]
pub(crate) struct Inbox {
    items: Mutex<VecDeque<Notice>>,
    /// The one task that takes from it.
    taker: AtomicWaker,
    basis: Basis,
}

/// On whose word a login rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    pub(crate) partner: PartnerId,
    pub(crate) kid: Box<str>,
}

/// What a session is told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// There is a stream to the owner again: it has to be told of the session.
    Attached(EdgeSender),
    /// The stream to the owner ended; another one is looked for.
    Detached,
    /// This node goes down.
    Drained,
    /// By the owner of its shard.
    Edge(ToEdge),
    /// No owner was found.
    Lost,
    /// It took nothing for too long.
    Overflow,
    /// The key or the partner behind its login is no longer good.
    Revoked,
}

/// A session's place on the stream to the owner of its account. Dropping it gives the place up, and
/// tells the owner so if nobody did.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) session: SessionId,
    /// Whether the owner may know of the session and was not told of its end.
    owes_end: AtomicBool,
    tasks: Tasks,
    shard: Arc<Shard>,
    inbox: Arc<Inbox>,
    sender: EdgeSender,
}

impl Links {
    pub(crate) fn new(
        edge: EdgeId,
        router: RouterClient,
        placement: Placement,
        tasks: Tasks,
        meters: Meters,
    ) -> Self {
        Self {
            edge,
            router,
            placement,
            tasks,
            meters,
            shards: Mutex::default(),
        }
    }

    /// What owners call this node.
    pub(crate) const fn edge(&self) -> EdgeId {
        self.edge
    }

    /// Takes a place for a new session of an account, attaching to the owner if needed. Tries again
    /// until the deadline while the shard has no owner.
    ///
    /// # Errors
    /// The owner's fault, or `Unavailable` after the deadline.
    pub(crate) async fn join(
        self: &Arc<Self>,
        account: AccountId,
        basis: Basis,
        deadline: Instant,
    ) -> Result<Seat, Fault> {
        let shard = self.shard(self.placement.of_account(account));
        let session = SessionId::new(u64::from_be_bytes(entente_core::random_array()));
        let inbox = Arc::new(Inbox {
            items: Mutex::default(),
            taker: AtomicWaker::new(),
            basis,
        });
        let mut pause = ATTACH_PAUSE;
        let mut waits = None;
        loop {
            let fault = match self.attached(&shard).await {
                Ok(sender) => {
                    let mut table = shard.table.lock();
                    if table.attached {
                        table.sessions.insert(session, Arc::clone(&inbox));
                        drop(table);
                        return Ok(Seat {
                            session,
                            owes_end: AtomicBool::new(false),
                            tasks: self.tasks.clone(),
                            shard,
                            inbox,
                            sender,
                        });
                    }
                    Fault::new(FaultKind::Unavailable, "the stream to the owner ended")
                }
                Err(fault) => fault,
            };
            let next = Instant::now() + pause;
            if fault.kind() != FaultKind::Unavailable || next >= deadline {
                return Err(fault);
            }
            waits.get_or_insert_with(|| shard.without_owner(&self.meters));
            tokio::time::sleep_until(next).await;
            pause = (pause * 2).min(ATTACH_PAUSE_MAX);
        }
    }

    /// Ends every session that rests on what was revoked; all of them without one to compare with.
    pub(crate) fn revoke(&self, revocation: Option<&Revocation>) {
        for inbox in self.inboxes() {
            if revocation.is_none_or(|revoked| inbox.basis.falls_with(revoked)) {
                inbox.put(Notice::Revoked);
            }
        }
    }

    /// The inboxes of all sessions.
    pub(crate) fn inboxes(&self) -> Vec<Arc<Inbox>> {
        let shards: Vec<Arc<Shard>> = self.shards.lock().values().map(Arc::clone).collect();
        let of_shard = |shard: Arc<Shard>| -> Vec<Arc<Inbox>> {
            shard
                .table
                .lock()
                .sessions
                .values()
                .map(Arc::clone)
                .collect()
        };
        shards.into_iter().flat_map(of_shard).collect()
    }

    fn shard(&self, id: ShardId) -> Arc<Shard> {
        let mut shards = self.shards.lock();
        let shard = shards.entry(id).or_insert_with(|| {
            Arc::new(Shard {
                id,
                brief: AtomicU32::default(),
                sender: tokio::sync::Mutex::default(),
                table: Mutex::default(),
                ownerless: Mutex::default(),
            })
        });
        Arc::clone(shard)
    }

    async fn attached(self: &Arc<Self>, shard: &Arc<Shard>) -> Result<EdgeSender, Fault> {
        let mut sender = shard.sender.lock().await;
        if let Some(sender) = sender.as_ref()
            && shard.table.lock().attached
        {
            return Ok(sender.clone());
        }
        let stream = self.router.attach(self.edge, shard.id).await?;
        let mut table = shard.table.lock();
        table.attached = true;
        for inbox in table.sessions.values() {
            inbox.put(Notice::Attached(stream.to_router.clone()));
        }
        drop(table);
        let follow = Arc::clone(self).follow(Arc::clone(shard), stream.to_edge);
        let cancelled = self.tasks.cancelled();
        self.tasks.spawn("connection-dispatch", async move {
            cancelled.run_until_cancelled(follow).await;
        });
        *sender = Some(stream.to_router.clone());
        Ok(stream.to_router)
    }

    /// Hands out what comes on a stream, and looks for the next one when it ends. Boxed, for it starts
    /// its own successor.
    fn follow(
        self: Arc<Self>,
        shard: Arc<Shard>,
        to_edge: mpsc::Receiver<Vec<ToEdge>>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let began = Instant::now();
            let sessions = shard.dispatch(to_edge).await;
            let pause = shard.pause_after(began.elapsed());
            events::StreamLost {
                shard: shard.id,
                sessions,
            }
            .emit(&self.meters);
            if sessions > 0 {
                self.reattach(&shard, pause).await;
            }
        })
    }

    async fn reattach(self: &Arc<Self>, shard: &Arc<Shard>, mut pause: Duration) {
        let _waits = shard.without_owner(&self.meters);
        let search = async {
            loop {
                tokio::time::sleep(pause).await;
                if self.attached(shard).await.is_ok() {
                    return;
                }
                pause = (pause * 2).min(ATTACH_PAUSE_MAX);
            }
        };
        if timeout(REATTACH_TIME, search).await.is_err() {
            let sessions = shard.lose();
            events::OwnerNotFound {
                shard: shard.id,
                sessions,
            }
            .emit();
        }
    }
}

impl Shard {
    /// Hands items to the inboxes until the owner ends the stream; then gives how many lost it.
    async fn dispatch(&self, mut to_edge: mpsc::Receiver<Vec<ToEdge>>) -> usize {
        while let Some(batch) = to_edge.recv().await {
            let table = self.table.lock();
            for item in batch {
                // A session that is gone here was told so to the owner; what crossed is void.
                if let Some(inbox) = table.sessions.get(&item.session()) {
                    inbox.put(Notice::Edge(item));
                }
            }
        }
        let mut table = self.table.lock();
        table.attached = false;
        for inbox in table.sessions.values() {
            inbox.put(Notice::Detached);
        }
        table.sessions.len()
    }

    /// Counts the shard, once for all who wait for its owner.
    fn without_owner(&self, meters: &Meters) -> Arc<Ownerless> {
        let mut ownerless = self.ownerless.lock();
        ownerless.upgrade().unwrap_or_else(|| {
            let counted = Arc::new(meters.ownerless());
            *ownerless = Arc::downgrade(&counted);
            counted
        })
    }

    /// How long to wait before the next stream. Each one makes every session report: an owner that takes
    /// them and ends at once must not be asked as fast as it can answer.
    fn pause_after(&self, lived: Duration) -> Duration {
        if lived >= ATTACH_PAUSE_MAX {
            self.brief.store(0, Ordering::Relaxed);
            return ATTACH_PAUSE;
        }
        let before = self.brief.fetch_add(1, Ordering::Relaxed);
        let pause = ATTACH_PAUSE.saturating_mul(2_u32.saturating_pow(before));
        pause.min(ATTACH_PAUSE_MAX)
    }

    /// Gives up on the sessions that have no owner; gives how many.
    fn lose(&self) -> usize {
        let table = self.table.lock();
        if table.attached {
            return 0;
        }
        for inbox in table.sessions.values() {
            inbox.put(Notice::Lost);
        }
        table.sessions.len()
    }
}

impl Basis {
    /// Whether a login on this basis ends with the revocation.
    pub(crate) fn falls_with(&self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::Key { partner, kid } => self.partner == *partner && self.kid == *kid,
            Revocation::Partner(partner) => self.partner == *partner,
            Revocation::AllBut(kept) => !kept.contains(&self.partner),
        }
    }
}

impl Inbox {
    /// Adds a notice and wakes the session.
    pub(crate) fn put(&self, notice: Notice) {
        let mut items = self.items.lock();
        if items.len() < INBOX_ITEMS {
            items.push_back(notice);
        } else if items.len() == INBOX_ITEMS {
            items.push_back(Notice::Overflow);
        }
        drop(items);
        self.taker.wake();
    }
}

impl Seat {
    /// Waits for a notice and takes all that wait. Cancel safe.
    pub(crate) async fn notices(&self) -> VecDeque<Notice> {
        poll_fn(|cx| {
            // First, so that what comes after the look wakes us.
            self.inbox.taker.register(cx.waker());
            let taken = self.take();
            if taken.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(taken)
            }
        })
        .await
    }

    /// Waits for one notice. Cancel safe.
    pub(crate) async fn notice(&self) -> Notice {
        poll_fn(|cx| {
            self.inbox.taker.register(cx.waker());
            match self.inbox.items.lock().pop_front() {
                Some(notice) => Poll::Ready(notice),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn take(&self) -> VecDeque<Notice> {
        let mut items = self.inbox.items.lock();
        let taken = std::mem::take(&mut *items);
        if taken.capacity() <= INBOX_IDLE_ITEMS && taken.is_empty() {
            *items = taken;
            return VecDeque::new();
        }
        taken
    }

    /// Goes on with another stream.
    pub(crate) fn attach(&mut self, sender: EdgeSender) {
        self.sender = sender;
    }

    /// The owner knows that the session is over.
    pub(crate) fn part(&self) {
        self.owes_end.store(false, Ordering::Relaxed);
    }

    /// Hands items to the owner, waiting while its inbox is full.
    ///
    /// # Errors
    /// [`StreamGone`] if the stream ended; what was not handed over is lost. Dropping the future may
    /// lose items too.
    pub(crate) async fn send(&self, items: &mut Vec<ToRouter>) -> Result<(), StreamGone> {
        for item in items.iter() {
            let ends = matches!(item, ToRouter::Detach { .. } | ToRouter::End { .. });
            self.owes_end.store(!ends, Ordering::Relaxed);
        }
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(BATCH_ITEMS));
            self.sender.send(std::mem::replace(items, rest)).await?;
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shard.table.lock().sessions.remove(&self.session);
        if self.owes_end.load(Ordering::Relaxed) {
            // A login that was cut short, or a panic: the owner must not deliver to nobody.
            let (sender, session) = (self.sender.clone(), self.session);
            self.tasks.spawn("connection-farewell", async move {
                // An owner that is gone has no session to end.
                let _gone = sender.send(vec![ToRouter::End { session }]).await;
            });
        }
    }
}
