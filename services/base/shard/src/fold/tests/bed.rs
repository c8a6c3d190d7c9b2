//! One shard with a log of its own, so that it can be loaded anew at any point.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{
    AccountId, Class, Enlistment, Envelope, Epoch, KyberPrekey, Offset, OneTimePrekey, PartnerId,
    Placement, Position, PrekeyUpload, SealKey, SessionId, ShardId, SignedPrekey, Timestamp,
    VisibleId,
};
use entente_log::Record as LogRecord;

use crate::effect::{Effect, Reply};
use crate::record::{Command, Fenced, Output, Record};
use crate::shard::{Shard, ShardConfig};
use crate::store::{MemoryStore, StateStore};

/// One shard of one: everything is at home.
pub(super) struct Bed {
    pub(super) shard: Shard,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) log: Vec<LogRecord>,
    pub(super) now: Timestamp,
    config: ShardConfig,
    requests: u64,
}

pub(super) fn seal() -> SealKey {
    SealKey::new(&[4; 32])
}

pub(super) fn account(number: u64) -> AccountId {
    AccountId::new(PartnerId::new(1).unwrap(), number)
}

pub(super) fn one_time(ids: impl IntoIterator<Item = u32>) -> PrekeyUpload {
    let key = |id: u32| {
        let mut key = [7; 32];
        key[28..].copy_from_slice(&id.to_be_bytes());
        OneTimePrekey { id, key }
    };
    PrekeyUpload {
        one_time: ids.into_iter().map(key).collect(),
        ..PrekeyUpload::default()
    }
}

pub(super) fn kyber(id: u32) -> KyberPrekey {
    let mut key = vec![8; 1569];
    key[1565..].copy_from_slice(&id.to_be_bytes());
    KyberPrekey {
        id,
        key: key.into(),
        signature: Bytes::from_static(&[9; 64]),
    }
}

pub(super) fn enlistment(name: &str, identity: u8) -> Enlistment {
    Enlistment {
        partner: PartnerId::new(1).unwrap(),
        visible: VisibleId::new(name).unwrap(),
        transport: [identity; 32],
        registration: 1,
        identity: [identity; 32],
        signed: SignedPrekey {
            id: 1,
            key: [1; 32],
            signature: Bytes::from_static(&[0; 64]),
        },
    }
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::over(1, Arc::new(MemoryStore::default()))
    }

    /// Shard 0 of so many, over a store.
    pub(super) fn over(shards: u32, store: Arc<dyn StateStore>) -> Self {
        let config = ShardConfig {
            shard: ShardId::new(0),
            placement: Placement::new(shards, &[3; 16]),
            seal: seal(),
        };
        let shard = Shard::load(config.clone(), Arc::clone(&store)).unwrap();
        let mut bed = Self {
            shard,
            store,
            log: Vec::new(),
            now: Timestamp::from_secs(1_700_000_000),
            config,
            requests: 0,
        };
        bed.claim(1);
        bed
    }

    pub(super) fn shard_of(&self, account: AccountId) -> ShardId {
        self.config.placement.of_account(account)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    pub(super) fn apply(&mut self, payload: Bytes) -> Vec<Effect> {
        let offset = Offset::new(u64::try_from(self.log.len()).unwrap());
        let record = LogRecord {
            offset,
            appended: self.now,
            payload,
        };
        self.log.push(record.clone());
        self.shard.apply(&record).unwrap();
        self.shard.take_effects()
    }

    pub(super) fn claim(&mut self, epoch: u64) -> Vec<Effect> {
        let nonce = [u8::try_from(epoch % 251).unwrap(); 16];
        self.commands_of(epoch, vec![Command::Claim { nonce }])
    }

    pub(super) fn commands_of(&mut self, epoch: u64, commands: Vec<Command>) -> Vec<Effect> {
        let epoch = Epoch::new(epoch);
        let fenced = Fenced { epoch, commands };
        self.apply(Record::commands(self.shard.id(), &fenced, &seal()))
    }

    pub(super) fn command(&mut self, command: Command) -> Vec<Effect> {
        let epoch = self.shard.epoch().value();
        self.commands_of(epoch, vec![command])
    }

    pub(super) fn ask(&mut self, command: impl FnOnce(u64) -> Command) -> Option<Reply> {
        self.requests += 1;
        let request = self.requests;
        let effects = self.command(command(request));
        effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { request: of, reply } if of == request => reply.ok(),
            _ => None,
        })
    }

    pub(super) fn enlist(&mut self, name: &str, identity: u8, number: u64) -> AccountId {
        let enlistment = Box::new(enlistment(name, identity));
        let reply = self.ask(|request| Command::Enlist {
            request,
            number,
            enlistment,
        });
        match reply {
            Some(Reply::Enlisted(enlisted)) => enlisted.account,
            other => panic!("{other:?} instead of an enlistment"),
        }
    }

    pub(super) fn envelope(&self, from: AccountId, to: AccountId, id: &str) -> Envelope {
        Envelope {
            from,
            from_device: 1,
            to,
            epoch: Epoch::new(1),
            position: Position::new(1),
            class: Class::Durable,
            id: Bytes::copy_from_slice(id.as_bytes()),
            wants_receipt: true,
            trace: None,
            admitted: self.now,
            expires: self.now.plus(Duration::from_secs(3600)),
            payload: Bytes::from(format!("<message id='{id}'/>")),
        }
    }

    pub(super) fn send(&mut self, from: AccountId, to: AccountId, id: &str) -> Vec<Effect> {
        let envelope = self.envelope(from, to, id);
        self.apply(Record::envelope(&envelope, &seal()))
    }

    pub(super) fn outputs(&mut self, outputs: &[Output]) -> Vec<Effect> {
        self.apply(Record::outputs(self.shard.id(), outputs, &seal()))
    }

    pub(super) fn open(&mut self, account: AccountId, session: u64) -> Epoch {
        let session = SessionId::new(session);
        let effects = self.command(Command::Open { account, session });
        let epoch = effects.into_iter().find_map(|effect| match effect {
            Effect::Opened { epoch, .. } => Some(epoch),
            _ => None,
        });
        epoch.expect("the session is opened")
    }

    /// Every id that waits, in order.
    pub(super) fn waiting(&mut self, account: AccountId) -> Vec<String> {
        waiting(&mut self.shard, account)
    }

    pub(super) fn checkpoint(&mut self) {
        self.shard.checkpoint().commit().unwrap();
        self.shard.checkpointed();
    }

    /// What another owner holds that loads the store and replays the rest of the log.
    pub(super) fn reloaded(&self) -> Shard {
        let mut shard = Shard::load(self.config.clone(), Arc::clone(&self.store)).unwrap();
        for record in &self.log {
            shard.apply(record).unwrap();
        }
        shard.take_effects();
        shard
    }

    pub(super) fn reload(&mut self) {
        self.shard = self.reloaded();
    }

    /// Whether any row, key or value, has these bytes.
    pub(super) fn stores(&self, canary: &[u8]) -> bool {
        let mut found = false;
        let has = |bytes: &[u8]| bytes.windows(canary.len()).any(|part| part == canary);
        self.store
            .scan(&[], None, &mut |key, row| {
                found |= has(key) || has(&row);
                true
            })
            .unwrap();
        found
    }
}

pub(super) fn waiting(shard: &mut Shard, account: AccountId) -> Vec<String> {
    use entente_core::{Content, Sequence};
    let (mut after, mut all) = (Sequence::default(), Vec::new());
    while let Some(next) = shard.waiting_after(account, after).unwrap() {
        after = next.sequence;
        all.push(match next.content {
            Content::Stanza(payload) => String::from_utf8(payload.to_vec()).unwrap(),
            other => format!("{other:?}"),
        });
    }
    all
}
