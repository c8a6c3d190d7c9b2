//! Rows with the changes that no checkpoint has stored yet.

use std::sync::Arc;

use bytes::Bytes;
use entente_core::{AccountId, Counter, PartnerId, Sequence, ShardId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::outbox::Target;
use crate::store::{Rows, StateStore, StoreError};

/// A view of the store under what is dirty and what is just being stored.
#[derive(Debug)]
pub(crate) struct Cells {
    store: Arc<dyn StateStore>,
    dirty: Rows,
    storing: Arc<Rows>,
}

impl Cells {
    pub(crate) fn new(store: Arc<dyn StateStore>) -> Self {
        Self {
            store,
            dirty: Rows::new(),
            storing: Arc::default(),
        }
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let changed = self
            .dirty
            .get(key)
            .or_else(|| self.storing.get(key))
            .cloned();
        let row = match changed {
            Some(row) => row,
            None => self.store.row(key)?,
        };
        row.map(|row| decode(&row)).transpose()
    }

    pub(crate) fn write<T: Serialize>(&mut self, key: Vec<u8>, value: &T) {
        self.dirty.insert(key, Some(encode(value)));
    }

    pub(crate) fn write_row(&mut self, key: Vec<u8>, row: Bytes) {
        self.dirty.insert(key, Some(row));
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.dirty.insert(key, None);
    }

    /// All rows under a prefix, in order, changes included.
    pub(crate) fn rows(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let mut rows = Rows::new();
        self.store.scan(prefix, None, &mut |key, row| {
            rows.insert(key.to_vec(), Some(row));
            true
        })?;
        for layer in [&*self.storing, &self.dirty] {
            let changed = layer.range(prefix.to_vec()..);
            let changed = changed.take_while(|(key, _)| key.starts_with(prefix));
            rows.extend(changed.map(|(key, row)| (key.clone(), row.clone())));
        }
        Ok(rows
            .into_iter()
            .filter_map(|(key, row)| Some((key, row?)))
            .collect())
    }

    /// Hands out what is dirty; [`Cells::stored`] must follow before the next call.
    pub(crate) fn begin(&mut self) -> Arc<Rows> {
        self.storing = Arc::new(std::mem::take(&mut self.dirty));
        Arc::clone(&self.storing)
    }

    pub(crate) fn stored(&mut self) {
        self.storing = Arc::default();
    }

    pub(crate) fn store(&self) -> &Arc<dyn StateStore> {
        &self.store
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    #[expect(
        clippy::expect_used,
        reason = "a Vec grows, and our types have no failing serializer"
    )]
    postcard::to_stdvec(value)
        .expect("plain data serialises")
        .into()
}

pub(crate) fn decode<T: DeserializeOwned>(row: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(row).map_err(|_| StoreError::Damaged)
}

/// Keys of rows. The first byte names the table; numbers are big-endian, so rows sort by them.
pub(crate) mod key {
    use super::{AccountId, Counter, PartnerId, Sequence, ShardId, Target};

    pub(crate) const SHARD: &[u8] = b"s";
    pub(crate) const ACCOUNTS: &[u8] = b"a";
    pub(crate) const BLOCKS: &[u8] = b"d";
    pub(crate) const INBOXES: &[u8] = b"i";
    pub(crate) const LIVE: &[u8] = b"l";
    pub(crate) const OUTPUTS: &[u8] = b"o";
    const MAILBOX: &[u8] = b"m";
    const PREKEYS: &[u8] = b"p";
    pub(crate) const QUARANTINE: &[u8] = b"q";
    const VISIBLE: &[u8] = b"v";

    pub(crate) fn account(account: AccountId) -> Vec<u8> {
        under(ACCOUNTS, account)
    }

    pub(crate) fn live(account: AccountId) -> Vec<u8> {
        under(LIVE, account)
    }

    pub(crate) fn mailbox(account: AccountId) -> Vec<u8> {
        under(MAILBOX, account)
    }

    pub(crate) fn entry(account: AccountId, sequence: Sequence) -> Vec<u8> {
        with(mailbox(account), &sequence.value().to_be_bytes())
    }

    pub(crate) fn prekeys(account: AccountId) -> Vec<u8> {
        under(PREKEYS, account)
    }

    pub(crate) fn prekey(account: AccountId, kind: u8, id: u32) -> Vec<u8> {
        with(with(prekeys(account), &[kind]), &id.to_be_bytes())
    }

    pub(crate) fn visible(partner: PartnerId, visible: &str) -> Vec<u8> {
        with(
            with(VISIBLE.to_vec(), &partner.number().to_be_bytes()),
            visible.as_bytes(),
        )
    }

    pub(crate) fn block(number: u64) -> Vec<u8> {
        with(BLOCKS.to_vec(), &number.to_be_bytes())
    }

    pub(crate) fn inbox(source: ShardId) -> Vec<u8> {
        with(INBOXES.to_vec(), &source.index().to_be_bytes())
    }

    pub(crate) fn quarantine(slot: u64) -> Vec<u8> {
        with(QUARANTINE.to_vec(), &slot.to_be_bytes())
    }

    pub(crate) fn output(target: Target, counter: Counter) -> Vec<u8> {
        let target = match target {
            Target::Shard(shard) => shard.index(),
            Target::Wake => u32::MAX,
        };
        with(
            with(OUTPUTS.to_vec(), &target.to_be_bytes()),
            &counter.value().to_be_bytes(),
        )
    }

    /// The account that an account, live or mailbox key is about.
    pub(crate) fn account_of(key: &[u8]) -> Option<AccountId> {
        let partner = u16::from_be_bytes(key.get(1..3)?.try_into().ok()?);
        let number = u64::from_be_bytes(key.get(3..11)?.try_into().ok()?);
        Some(AccountId::new(PartnerId::new(partner)?, number))
    }

    /// The number at the end of a block, inbox, output or mailbox key.
    pub(crate) fn number_of(key: &[u8]) -> Option<u64> {
        Some(u64::from_be_bytes(*key.last_chunk()?))
    }

    fn under(table: &[u8], account: AccountId) -> Vec<u8> {
        let partner = account.partner().number().to_be_bytes();
        with(
            with(table.to_vec(), &partner),
            &account.number().to_be_bytes(),
        )
    }

    fn with(mut key: Vec<u8>, rest: &[u8]) -> Vec<u8> {
        key.extend_from_slice(rest);
        key
    }
}
