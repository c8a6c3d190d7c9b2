//! Prekeys: stored once, served at most once.
//!
//! A bundle is taken by a record in the log, and the answer leaves after the record was applied: a
//! crash may waste a key, never repeat one.

use std::collections::HashSet;

use entente_core::{
    AccountId, Bundle, Fault, FaultKind, KyberPrekey, OneTimePrekey, PrekeyCount, PrekeyUpload,
};

use super::UNKNOWN;
use crate::account::{MAX_PREKEYS, MAX_SERVED, Row};
use crate::cells::key;
use crate::shard::Shard;
use crate::store::StoreError;

const ONE_TIME: u8 = 1;
const KYBER: u8 = 2;
const LAST_RESORT: u8 = 3;

const TOO_MANY: Fault = Fault::new(FaultKind::Overloaded, "too many one-time keys wait");

pub(crate) fn count(row: &Row) -> PrekeyCount {
    PrekeyCount {
        one_time: u32::try_from(row.one_time.len()).unwrap_or(u32::MAX),
        kyber: u32::try_from(row.kyber.len()).unwrap_or(u32::MAX),
    }
}

/// By which a key is known again: the end of it, which is as good as random.
fn mark(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.last_chunk().copied().unwrap_or_default())
}

impl Shard {
    pub(super) fn upload(
        &mut self,
        account: AccountId,
        keys: PrekeyUpload,
    ) -> Result<Result<PrekeyCount, Fault>, StoreError> {
        let Some(found) = self.account(account)? else {
            return Ok(Err(UNKNOWN));
        };
        let row = &mut found.row;
        // A client that saw no answer uploads again: what waits is left, what was served stays served.
        let mut ids: HashSet<u32> = row.one_time.iter().copied().collect();
        let new = |key: &OneTimePrekey| !row.served.contains(&mark(&key.key)) && ids.insert(key.id);
        let one_time: Vec<_> = keys.one_time.into_iter().filter(new).collect();
        let mut ids: HashSet<u32> = row.kyber.iter().copied().collect();
        let new = |key: &KyberPrekey| !row.served.contains(&mark(&key.key)) && ids.insert(key.id);
        let kyber: Vec<_> = keys.kyber.into_iter().filter(new).collect();
        let fits = row.one_time.len() + one_time.len() <= MAX_PREKEYS
            && row.kyber.len() + kyber.len() <= MAX_PREKEYS;
        if !fits {
            return Ok(Err(TOO_MANY));
        }
        if let Some(signed) = keys.signed {
            row.signed = signed;
        }
        row.last_resort |= keys.last_resort.is_some();
        row.one_time.extend(one_time.iter().map(|key| key.id));
        row.kyber.extend(kyber.iter().map(|key| key.id));
        let count = count(row);
        found.dirty = true;
        for prekey in one_time {
            self.cells
                .write(key::prekey(account, ONE_TIME, prekey.id), &prekey);
        }
        for prekey in kyber {
            self.cells
                .write(key::prekey(account, KYBER, prekey.id), &prekey);
        }
        if let Some(prekey) = keys.last_resort {
            self.cells
                .write(key::prekey(account, LAST_RESORT, 0), &prekey);
        }
        Ok(Ok(count))
    }

    /// Serves a bundle from the state, without a record in the log.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    #[cfg(feature = "mutants")]
    pub fn take_unrecorded(
        &mut self,
        account: AccountId,
    ) -> Result<Result<Bundle, Fault>, StoreError> {
        self.take(account)
    }

    pub(super) fn take(&mut self, account: AccountId) -> Result<Result<Bundle, Fault>, StoreError> {
        let Some(found) = self.account(account)? else {
            return Ok(Err(UNKNOWN));
        };
        found.dirty = true;
        let row = &mut found.row;
        let (one_time, kyber) = (row.one_time.pop_front(), row.kyber.pop_front());
        let mut bundle = Bundle {
            account,
            registration: row.registration,
            identity: row.identity,
            signed: row.signed.clone(),
            one_time: None,
            kyber: None,
            last_resort: kyber.is_none() && row.last_resort,
        };
        if let Some(id) = one_time {
            let place = key::prekey(account, ONE_TIME, id);
            bundle.one_time = self.cells.read::<OneTimePrekey>(&place)?;
            self.cells.remove(place);
        }
        if let Some(id) = kyber {
            let place = key::prekey(account, KYBER, id);
            bundle.kyber = self.cells.read::<KyberPrekey>(&place)?;
            self.cells.remove(place);
        } else if bundle.last_resort {
            bundle.kyber = self.cells.read(&key::prekey(account, LAST_RESORT, 0))?;
        }
        let kyber = bundle.kyber.as_ref().filter(|_| !bundle.last_resort);
        let marks = [
            bundle.one_time.as_ref().map(|key| mark(&key.key)),
            kyber.map(|key| mark(&key.key)),
        ];
        if let Some(found) = self.account(account)? {
            let served = &mut found.row.served;
            served.extend(marks.into_iter().flatten());
            served.drain(..served.len().saturating_sub(MAX_SERVED));
        }
        Ok(Ok(bundle))
    }

    pub(super) fn drop_prekeys(&mut self, account: AccountId) -> Result<(), StoreError> {
        for (key, _) in self.cells.rows(&key::prekeys(account))? {
            self.cells.remove(key);
        }
        Ok(())
    }
}
