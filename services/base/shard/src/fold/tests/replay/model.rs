//! The fold in plain maps and lists: slow, without rows, windows or blocks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use entente_core::{
    AccountId, Content, Counter, Delivered, FailReason, Failed, ShardId, Timestamp,
};

use crate::account::PEER_DAYS;
use crate::dedupe::DEDUPE_TIME;
use crate::effect::{Effect, Reply};
use crate::outbox::OutputItem;
use crate::record::Output;
use crate::shard::SILENCE;

#[derive(Clone, Debug)]
struct Waits {
    sequence: u64,
    text: String,
    expires: Timestamp,
    /// Sender and id of a user's stanza.
    stanza: Option<(usize, Bytes)>,
}

#[derive(Clone, Debug, Default)]
struct User {
    identity: u8,
    epoch: u64,
    connected: bool,
    seen: Timestamp,
    last: u64,
    mailbox: Vec<Waits>,
    blocked: BTreeSet<usize>,
    peers: BTreeMap<usize, u64>,
    keys: Vec<u32>,
    served: BTreeSet<u32>,
}

pub(super) struct Model {
    pub(super) now: Timestamp,
    ids: Vec<AccountId>,
    users: BTreeMap<usize, User>,
    windows: BTreeMap<(usize, usize, u8), Timestamp>,
    given: u64,
    outbox: Vec<(u64, String)>,
    last_in: u64,
    held: BTreeMap<u64, Output>,
}

impl Model {
    pub(super) fn new(ids: &[AccountId]) -> Self {
        Self {
            now: Timestamp::from_secs(1_700_000_000),
            ids: ids.to_vec(),
            users: BTreeMap::new(),
            windows: BTreeMap::new(),
            given: 0,
            outbox: Vec::new(),
            last_in: 0,
            held: BTreeMap::new(),
        }
    }

    pub(super) fn epoch(&self, who: usize) -> u64 {
        self.users.get(&who).map_or(0, |user| user.epoch)
    }

    pub(super) fn waiting(&self, who: usize) -> Vec<String> {
        let user = self.users.get(&who);
        let mailbox = user.map(|user| user.mailbox.iter().map(|waits| waits.text.clone()));
        mailbox.into_iter().flatten().collect()
    }

    pub(super) const fn outputs_given(&self) -> u64 {
        self.given
    }

    pub(super) fn outputs(&self) -> Vec<(u64, String)> {
        self.outbox.clone()
    }

    pub(super) fn sent(&mut self, through: u64) {
        self.outbox.retain(|(counter, _)| *counter > through);
    }

    fn day(&self) -> u64 {
        self.now.secs() / 86_400
    }

    fn push(
        &mut self,
        to: usize,
        text: String,
        expires: Timestamp,
        stanza: Option<(usize, Bytes)>,
    ) {
        if let Some(user) = self.users.get_mut(&to) {
            user.last += 1;
            let sequence = user.last;
            user.mailbox.push(Waits {
                sequence,
                text,
                expires,
                stanza,
            });
        }
    }

    fn emit(&mut self, to: usize, content: Content) {
        let id = self.ids[to];
        if to == self.ids.len() - 1 {
            self.given += 1;
            let item = OutputItem::Content { to: id, content };
            self.outbox.push((self.given, format!("{item:?}")));
            return;
        }
        self.state(to, &content);
    }

    fn state(&mut self, to: usize, content: &Content) {
        if let Content::Delivered(delivered) = content {
            let peer = self.ids.iter().position(|id| *id == delivered.by).unwrap();
            self.meet(to, peer);
        }
        let expires = self.now.plus(SILENCE);
        self.push(to, format!("{content:?}"), expires, None);
    }

    fn meet(&mut self, who: usize, peer: usize) {
        let day = self.day();
        if let Some(user) = self.users.get_mut(&who) {
            user.peers.insert(peer, day);
        }
    }

    fn fail(&mut self, to: usize, entries: Vec<Waits>, why: FailReason) {
        let to = self.ids[to];
        for entry in entries {
            if let Some((from, id)) = entry.stanza {
                self.emit(from, Content::Failed(Failed { to, id, why }));
            }
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, id: u8, expires: Timestamp) {
        let now = self.now;
        let seen = self.windows.get(&(from, to, id));
        if seen.is_some_and(|at| at.plus(DEDUPE_TIME) >= now) {
            return;
        }
        self.windows.insert((from, to, id), now);
        let id = format!("i{id}");
        let takes = self
            .users
            .get(&to)
            .map(|user| !user.blocked.contains(&from));
        if takes == Some(true) {
            self.meet(to, from);
            let stanza = Some((from, Bytes::from(id.clone())));
            self.push(to, format!("<message id='{id}'/>"), expires, stanza);
        } else {
            let (to, id, why) = (self.ids[to], id.into(), FailReason::Undeliverable);
            self.emit(from, Content::Failed(Failed { to, id, why }));
        }
    }

    pub(super) fn open(&mut self, who: usize) {
        if let Some(user) = self.users.get_mut(&who) {
            user.epoch += 1;
            user.connected = true;
            user.seen = self.now;
        }
    }

    pub(super) fn leave(&mut self, who: usize, epoch: u64) {
        if let Some(user) = self.users.get_mut(&who)
            && user.epoch == epoch
            && user.connected
        {
            user.connected = false;
            user.seen = self.now;
        }
    }

    pub(super) fn rejoin(&mut self, who: usize, epoch: u64) {
        if let Some(user) = self.users.get_mut(&who)
            && user.epoch == epoch
            && !user.connected
        {
            user.connected = true;
            user.seen = self.now;
        }
    }

    pub(super) fn settle(&mut self, who: usize, epoch: u64, through: u64) {
        let Some(user) = self.users.get_mut(&who) else {
            return;
        };
        if user.epoch != epoch {
            return;
        }
        let mailbox = std::mem::take(&mut user.mailbox);
        let (settled, kept) = mailbox.into_iter().partition(|w| w.sequence <= through);
        user.mailbox = kept;
        let settled: Vec<Waits> = settled;
        let mut receipts: Vec<(usize, Vec<Bytes>)> = Vec::new();
        for (from, id) in settled.into_iter().filter_map(|waits| waits.stanza) {
            match receipts.iter_mut().find(|(sender, _)| *sender == from) {
                Some((_, ids)) => ids.push(id),
                None => receipts.push((from, vec![id])),
            }
        }
        let (by, at) = (self.ids[who], self.now);
        for (sender, ids) in receipts {
            self.emit(sender, Content::Delivered(Delivered { by, ids, at }));
        }
    }

    pub(super) fn expire(&mut self, who: usize) {
        let now = self.now;
        let Some(user) = self.users.get_mut(&who) else {
            return;
        };
        let mailbox = std::mem::take(&mut user.mailbox);
        let (over, kept) = mailbox.into_iter().partition(|w| w.expires <= now);
        user.mailbox = kept;
        self.fail(who, over, FailReason::Expired);
    }

    pub(super) fn silent(&mut self, who: usize) {
        let now = self.now;
        let over = |user: &User| !user.connected && user.seen.plus(SILENCE) <= now;
        if self.users.get(&who).is_some_and(over) {
            self.erase(who);
        }
    }

    pub(super) fn erase(&mut self, who: usize) {
        if let Some(user) = self.users.remove(&who) {
            self.fail(who, user.mailbox, FailReason::Undeliverable);
        }
    }

    pub(super) fn block(&mut self, who: usize, other: usize, add: bool) {
        if let Some(user) = self.users.get_mut(&who) {
            if add {
                user.blocked.insert(other);
            } else {
                user.blocked.remove(&other);
            }
        }
    }

    pub(super) fn enlist(&mut self, who: usize, identity: u8) {
        let (now, day) = (self.now, self.day());
        let Some(user) = self.users.get_mut(&who) else {
            let seen = now;
            let user = User {
                identity,
                seen,
                ..User::default()
            };
            self.users.insert(who, user);
            return;
        };
        user.seen = now;
        if user.identity == identity {
            return;
        }
        user.identity = identity;
        user.connected = false;
        user.keys.clear();
        user.served.clear();
        let recent = user.peers.iter();
        let recent = recent.filter(|(_, at)| **at + u64::from(PEER_DAYS) >= day);
        let mut peers: Vec<_> = recent.map(|(peer, _)| *peer).collect();
        peers.sort_by_key(|peer| self.ids[*peer]);
        let of = self.ids[who];
        for peer in peers {
            self.emit(peer, Content::IdentityChanged { of });
        }
    }

    /// An output of the other shard with this counter, as every run of its fold makes it.
    pub(super) fn incoming(&mut self, counter: u64, to: usize) -> Output {
        let content = Content::Failed(Failed {
            to: self.ids[self.ids.len() - 1],
            id: format!("out{counter}").into(),
            why: FailReason::Expired,
        });
        let output = Output {
            source: ShardId::new(1),
            counter: Counter::new(counter),
            to: self.ids[to],
            content,
        };
        if counter > self.last_in {
            self.held.insert(counter, output.clone());
        }
        while let Some(next) = self.held.remove(&(self.last_in + 1)) {
            self.last_in += 1;
            let to = self.ids.iter().position(|id| *id == next.to).unwrap();
            self.state(to, &next.content);
        }
        output
    }

    pub(super) fn upload(&mut self, who: usize, first: u32) {
        if let Some(user) = self.users.get_mut(&who) {
            for id in first..first + 5 {
                if !user.keys.contains(&id) && !user.served.contains(&id) {
                    user.keys.push(id);
                }
            }
        }
    }

    pub(super) fn take(&mut self, who: usize, effects: &[Effect]) {
        let served = effects.iter().find_map(|effect| match effect {
            Effect::Answer {
                reply: Ok(Reply::Bundle(bundle)),
                ..
            } => Some(bundle.one_time.as_ref().map(|key| key.id)),
            _ => None,
        });
        let user = self.users.get_mut(&who);
        let expected = user.map(|user| {
            let id = (!user.keys.is_empty()).then(|| user.keys.remove(0));
            user.served.extend(id);
            id
        });
        assert_eq!(served, expected, "each key is served once, in order");
    }
}
