//! An account in memory: its row, and the index of its mailbox.
//!
//! **Invariants**
//! - Mailbox entries stand in the order of their sequences, which are never given twice.
//! - An entry without its content has it in the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use entente_core::{
    AccountFacts, AccountId, Content, Epoch, Sequence, SessionId, SignedPrekey, Timestamp,
    VisibleId,
};
use serde::{Deserialize, Serialize};

/// Entries that wait for one account: a month of a busy user, at one every four minutes.
pub const MAX_MAILBOX_ENTRIES: usize = 10_000;
/// Bytes that wait for one account.
pub const MAX_MAILBOX_BYTES: usize = 64 * 1024 * 1024;
/// Entries and bytes beyond the mailbox's own room that only what the gateway states may use: a
/// failure notice is owed, and as many can be owed as messages were sent.
pub(crate) const NOTICE_ROOM: usize = 2;
/// One-time keys of each kind: libsignal's clients keep about 100.
pub const MAX_PREKEYS: usize = 200;
/// Served keys of both kinds that are remembered: more than an upload and what waits can name.
pub(crate) const MAX_SERVED: usize = 4 * MAX_PREKEYS;
/// Accounts on one block list.
pub const MAX_BLOCKED: usize = 1_000;
/// Peers of the last 30 days who are told of a new identity key; the oldest go first.
pub const MAX_PEERS: usize = 5_000;
/// How long a peer is remembered, in days.
pub(crate) const PEER_DAYS: u32 = 30;

/// What the store keeps of an account beside its mailbox and its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) visible: VisibleId,
    pub(crate) transport: [u8; 32],
    pub(crate) registration: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed: SignedPrekey,
    pub(crate) generation: u64,
    pub(crate) enlisted: Timestamp,
    /// When a session last began or ended.
    pub(crate) seen: Timestamp,
    pub(crate) epoch: Epoch,
    pub(crate) session: Option<SessionId>,
    /// A wake-up was emitted and no session has begun since.
    pub(crate) waking: bool,
    /// The last sequence that was given.
    pub(crate) last: Sequence,
    /// No entry ends before; kept so that a sweep need not read mailboxes. Exact after an expiry,
    /// else it may be too early, never too late.
    pub(crate) expires: Option<Timestamp>,
    pub(crate) one_time: VecDeque<u32>,
    pub(crate) kyber: VecDeque<u32>,
    pub(crate) last_resort: bool,
    /// The newest keys that were served, so that a repeated upload does not bring one back.
    pub(crate) served: VecDeque<u64>,
    pub(crate) blocked: BTreeSet<AccountId>,
    /// Peers, with the day since 1970 on which something last passed.
    pub(crate) peers: BTreeMap<AccountId, u32>,
    pub(crate) resume: Option<Resume>,
}

/// What survives of a session when every process that knew its counters is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resume {
    pub(crate) epoch: Epoch,
    pub(crate) digest: [u8; 16],
    pub(crate) handled: u32,
}

/// One mailbox entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) sequence: Sequence,
    pub(crate) meta: Meta,
    /// None if it is in the store only.
    pub(crate) content: Option<Content>,
    pub(crate) stored: bool,
}

/// What the fold must know of an entry without its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Who sent it; none for what the gateway made.
    pub(crate) from: Option<AccountId>,
    pub(crate) id: Bytes,
    pub(crate) wants_receipt: bool,
    pub(crate) admitted: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) size: u32,
}

/// An account in memory.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) row: Row,
    pub(crate) mailbox: VecDeque<Entry>,
    pub(crate) bytes: usize,
    /// Stored entries that were removed: their rows go with the next checkpoint.
    pub(crate) gone: Vec<Sequence>,
    pub(crate) dirty: bool,
    /// The checkpoint during which it was last touched.
    pub(crate) touched: u64,
}

impl Account {
    pub(crate) fn new(row: Row) -> Self {
        Self {
            row,
            mailbox: VecDeque::new(),
            bytes: 0,
            gone: Vec::new(),
            dirty: true,
            touched: 0,
        }
    }

    pub(crate) fn facts(&self, account: AccountId) -> AccountFacts {
        AccountFacts {
            account,
            visible: self.row.visible.clone(),
            identity: self.row.identity,
            transport: self.row.transport,
            generation: self.row.generation,
            enlisted: self.row.enlisted,
        }
    }

    /// Whether a user's stanza fits.
    pub(crate) fn has_room(&self, size: u32) -> bool {
        self.has_times_room(1, size)
    }

    /// Whether a failure notice fits, for which there is more room.
    pub(crate) fn has_notice_room(&self, size: u32) -> bool {
        self.has_times_room(NOTICE_ROOM, size)
    }

    fn has_times_room(&self, times: usize, size: u32) -> bool {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        self.mailbox.len() < times * MAX_MAILBOX_ENTRIES
            && self.bytes.saturating_add(size) <= times * MAX_MAILBOX_BYTES
    }

    pub(crate) fn push(&mut self, meta: Meta, content: Content) -> Sequence {
        self.row.last = self.row.last.next();
        self.row.expires = Some(
            self.row
                .expires
                .map_or(meta.expires, |at| at.min(meta.expires)),
        );
        self.bytes += usize::try_from(meta.size).unwrap_or_default();
        let entry = Entry {
            sequence: self.row.last,
            meta,
            content: Some(content),
            stored: false,
        };
        self.mailbox.push_back(entry);
        self.row.last
    }

    /// Takes out every entry up to a sequence.
    pub(crate) fn settle(&mut self, through: Sequence) -> Vec<Entry> {
        let count = self
            .mailbox
            .partition_point(|entry| entry.sequence <= through);
        let taken: Vec<_> = self.mailbox.drain(..count).collect();
        self.forget(&taken);
        taken
    }

    /// Takes out every entry whose time is over.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Entry> {
        let (over, kept) = std::mem::take(&mut self.mailbox)
            .into_iter()
            .partition(|entry| entry.meta.expires <= now);
        self.mailbox = kept;
        let over = Vec::from(over);
        self.forget(&over);
        let ends = self.mailbox.iter().map(|entry| entry.meta.expires);
        self.row.expires = ends.min();
        over
    }

    fn forget(&mut self, taken: &[Entry]) {
        for entry in taken {
            self.bytes = self
                .bytes
                .saturating_sub(usize::try_from(entry.meta.size).unwrap_or_default());
            if entry.stored {
                self.gone.push(entry.sequence);
            }
        }
        // Lives differ, so the front need not end first; to look at all for each settle costs too much.
        if self.mailbox.is_empty() {
            self.row.expires = None;
        }
    }

    pub(crate) fn meet(&mut self, peer: AccountId, now: Timestamp) {
        let today = u32::try_from(now.secs() / 86_400).unwrap_or(u32::MAX);
        if self.row.peers.insert(peer, today) == Some(today) {
            return;
        }
        self.dirty = true;
        self.row
            .peers
            .retain(|_, day| day.saturating_add(PEER_DAYS) >= today);
        if self.row.peers.len() > MAX_PEERS
            && let Some(oldest) = self.row.peers.iter().min_by_key(|(_, day)| **day)
        {
            let oldest = *oldest.0;
            self.row.peers.remove(&oldest);
        }
    }
}
