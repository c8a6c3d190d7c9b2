//! Enlistment, erasure and block lists. Each is one record, so each is all or nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use entente_core::{
    AccountId, Content, EnlistChange, Enlisted, Enlistment, Epoch, FailReason, Fault, FaultKind,
    Sequence,
};

use super::UNKNOWN;
use crate::account::{Account, MAX_BLOCKED, PEER_DAYS, Row};
use crate::cells::key;
use crate::effect::{Effect, Ended};
use crate::shard::{SILENCE, Shard};
use crate::store::StoreError;

const TAKEN: Fault = Fault::new(FaultKind::Conflict, "the number is taken: draw another");
const LIST_FULL: Fault = Fault::new(FaultKind::Overloaded, "the block list is full");

impl Shard {
    pub(super) fn enlist(
        &mut self,
        number: u64,
        enlistment: Enlistment,
    ) -> Result<Result<Enlisted, Fault>, StoreError> {
        let index = key::visible(enlistment.partner, enlistment.visible.as_str());
        if let Some(account) = self.cells.read::<AccountId>(&index)? {
            let change = self.refresh(account, enlistment)?;
            return Ok(Ok(Enlisted { account, change }));
        }
        let account = AccountId::new(enlistment.partner, number);
        if self.account(account)?.is_some() {
            return Ok(Err(TAKEN));
        }
        self.cells.write(index, &account);
        let row = self.new_row(enlistment);
        self.accounts.insert(account, Account::new(row));
        Ok(Ok(Enlisted {
            account,
            change: EnlistChange::Created,
        }))
    }

    fn new_row(&self, enlistment: Enlistment) -> Row {
        Row {
            visible: enlistment.visible,
            transport: enlistment.transport,
            registration: enlistment.registration,
            identity: enlistment.identity,
            signed: enlistment.signed,
            generation: 1,
            enlisted: self.row.time,
            seen: self.row.time,
            epoch: Epoch::default(),
            session: None,
            waking: false,
            last: Sequence::default(),
            expires: None,
            one_time: VecDeque::new(),
            kyber: VecDeque::new(),
            last_resort: false,
            served: VecDeque::new(),
            blocked: BTreeSet::new(),
            peers: BTreeMap::new(),
            resume: None,
        }
    }

    /// Enlists a visible id that is enlisted: a new identity key ends what the old one had.
    fn refresh(
        &mut self,
        account: AccountId,
        enlistment: Enlistment,
    ) -> Result<EnlistChange, StoreError> {
        let now = self.row.time;
        let Some(found) = self.account(account)? else {
            return Err(StoreError::Damaged);
        };
        found.dirty = true;
        let same = found.row.identity == enlistment.identity;
        found.row.transport = enlistment.transport;
        found.row.registration = enlistment.registration;
        found.row.signed = enlistment.signed;
        found.row.seen = now;
        if same {
            return Ok(EnlistChange::Same);
        }
        found.row.identity = enlistment.identity;
        found.row.generation += 1;
        found.row.enlisted = now;
        found.row.one_time.clear();
        found.row.kyber.clear();
        found.row.last_resort = false;
        found.row.served.clear();
        found.row.resume = None;
        let session = found.row.session.take();
        let today = u32::try_from(now.secs() / 86_400).unwrap_or(u32::MAX);
        let recent = |day: &u32| day.saturating_add(PEER_DAYS) >= today;
        let peers = found.row.peers.iter().filter(|(_, day)| recent(day));
        let peers: Vec<_> = peers.map(|(peer, _)| *peer).collect();
        self.drop_prekeys(account)?;
        self.effects.push(Effect::Closed {
            account,
            session,
            why: Ended::Revoked,
        });
        for peer in peers {
            self.emit(peer, Content::IdentityChanged { of: account })?;
        }
        Ok(EnlistChange::Replaced)
    }

    /// Erases an account if it was silent for long enough by the log's time.
    pub(super) fn silent(&mut self, account: AccountId) -> Result<(), StoreError> {
        let now = self.row.time;
        let over = |found: &&mut Account| {
            found.row.session.is_none() && found.row.seen.plus(SILENCE) <= now
        };
        if self.account(account)?.filter(over).is_some() {
            self.erase(account)?;
        }
        Ok(())
    }

    /// Removes every row of an account. Senders whose stanzas waited get a failure notice.
    pub(super) fn erase(&mut self, account: AccountId) -> Result<(), StoreError> {
        if self.account(account)?.is_none() {
            return Ok(());
        }
        let Some(found) = self.accounts.remove(&account) else {
            return Ok(());
        };
        for (key, _) in self.cells.rows(&key::mailbox(account))? {
            self.cells.remove(key);
        }
        self.drop_prekeys(account)?;
        self.cells
            .remove(key::visible(account.partner(), found.row.visible.as_str()));
        self.cells.remove(key::account(account));
        self.cells.remove(key::live(account));
        self.effects.push(Effect::Closed {
            account,
            session: found.row.session,
            why: Ended::Revoked,
        });
        self.fail(account, found.mailbox.into(), FailReason::Undeliverable)
    }

    pub(super) fn block(
        &mut self,
        account: AccountId,
        clear: bool,
        add: &[AccountId],
        remove: &[AccountId],
    ) -> Result<Result<(), Fault>, StoreError> {
        let Some(found) = self.account(account)? else {
            return Ok(Err(UNKNOWN));
        };
        let mut blocked = if clear {
            BTreeSet::new()
        } else {
            found.row.blocked.clone()
        };
        blocked.extend(add);
        for unblocked in remove {
            blocked.remove(unblocked);
        }
        if blocked.len() > MAX_BLOCKED {
            return Ok(Err(LIST_FULL));
        }
        found.row.blocked = blocked;
        found.dirty = true;
        Ok(Ok(()))
    }
}
