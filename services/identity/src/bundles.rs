//! Prekeys in and out: what is uploaded is checked, what is handed out is budgeted.
//!
//! **Invariants**
//! - No prekey is stored whose signature by the account's identity key was not verified (T65).
//! - A bundle is taken after the budgets of the pair and of the partner allowed it; when they cannot
//!   be read, it is not taken (T87).
//! - That one-time keys are served once is the directory's promise, kept before it answers (T89).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use entente_core::{
    AccountFacts, AccountId, Bundle, Fault, FaultKind, KyberPrekey, PrekeyCount, PrekeyUpload,
    SignedPrekey,
};
use entente_keys::{Curve25519Key, Kyber1024Key, Signature};
use entente_proto::DirectoryClient;
use entente_table::{Key, Rate, Table};

use crate::error::Error;
use crate::events::{BundleAsked, Events, UploadEnded};
use crate::partners::{Registry, State};

/// Bundles of one target for one requester: six at once, then one in ten minutes. An honest client
/// needs one per new session with the peer.
const PAIR: Rate = Rate::new(6, Duration::from_secs(3600));

/// Uploads of one account: each may cost some hundred signature checks.
const UPLOADS: Rate = Rate::new(20, Duration::from_secs(600));

/// One-time keys of one kind in one upload; clients bring about 50.
const MAX_KEYS: usize = 100;

/// Ids have 24 bits.
const MAX_KEY_ID: u32 = 0x00ff_ffff;

/// Signature checks after which other tasks get their turn: about a millisecond.
const CHECKS_PER_TURN: usize = 8;

/// Hands out and takes in prekeys.
pub(crate) struct Bundles {
    pub(crate) registry: Arc<Registry>,
    pub(crate) directory: DirectoryClient,
    pub(crate) table: Arc<dyn Table>,
    pub(crate) events: Events,
}

impl Bundles {
    pub(crate) async fn take(
        &self,
        requester: AccountId,
        target: AccountId,
    ) -> Result<Bundle, Error> {
        let result = self.budgeted(requester, target).await;
        BundleAsked {
            partner: requester.partner(),
            outcome: result.as_ref().map_or_else(|error| error.label(), |_| "ok"),
        }
        .emit(&self.events);
        result
    }

    pub(crate) async fn upload(
        &self,
        account: AccountId,
        keys: PrekeyUpload,
    ) -> Result<PrekeyCount, Error> {
        let result = self.checked(account, keys).await;
        UploadEnded {
            partner: account.partner(),
            outcome: result.as_ref().map_or_else(|error| error.label(), |_| "ok"),
        }
        .emit(&self.events);
        result
    }

    async fn budgeted(&self, requester: AccountId, target: AccountId) -> Result<Bundle, Error> {
        // Budgets come first, so that asking for who is not there costs the same.
        self.spend(b"bundle", &[requester, target], PAIR).await?;
        let own = self.registry.partner(requester.partner());
        let quotas = own.ok_or(Error::NotActive)?.quotas;
        let of_partner = AccountId::new(requester.partner(), 0);
        self.spend(b"bundles", &[of_partner], quotas.bundles())
            .await?;
        let theirs = self.registry.partner(target.partner());
        if theirs.is_none_or(|record| record.state != State::Active) {
            return Err(Error::NoAccount);
        }
        let blocked = self.directory.blocked(target).await.map_err(not_found)?;
        if blocked.binary_search(&requester).is_ok() {
            return Err(Error::NoAccount);
        }
        let bundle = self.directory.take_bundle(target).await;
        let bundle = bundle.map_err(not_found)?;
        if cfg!(debug_assertions) {
            recheck(&bundle)?;
        }
        Ok(bundle)
    }

    async fn checked(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Error> {
        if keys.one_time.len() > MAX_KEYS || keys.kyber.len() > MAX_KEYS {
            return Err(Error::TooManyKeys);
        }
        self.spend(b"upload", &[account], UPLOADS).await?;
        let facts = self.directory.account(account).await?;
        verify(&facts.ok_or(Error::NoAccount)?, &keys).await?;
        Ok(self.directory.upload(account, keys).await?)
    }

    async fn spend(&self, word: &[u8], who: &[AccountId], rate: Rate) -> Result<(), Error> {
        let mut name = word.to_vec();
        for account in who {
            name.extend(account.partner().number().to_be_bytes());
            name.extend(account.number().to_be_bytes());
        }
        let taken = self.table.take(&Key::new(name)?, rate).await?;
        if taken.is_allowed() {
            Ok(())
        } else {
            Err(Error::BudgetUsed)
        }
    }
}

impl std::fmt::Debug for Bundles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bundles")
    }
}

/// Unknown reads as every other reason not to be found.
fn not_found(fault: Fault) -> Error {
    match fault.kind() {
        FaultKind::NotFound => Error::NoAccount,
        _ => Error::Directory(fault),
    }
}

async fn verify(facts: &AccountFacts, keys: &PrekeyUpload) -> Result<(), Error> {
    let identity = Curve25519Key::new(facts.identity).map_err(|_| Error::BadBundle)?;
    if let Some(signed) = &keys.signed {
        check_signed(&identity, signed)?;
    }
    let mut ids = BTreeSet::new();
    for prekey in &keys.one_time {
        let key = Curve25519Key::new(prekey.key);
        if key.is_err() || prekey.id > MAX_KEY_ID || !ids.insert(prekey.id) {
            return Err(Error::BadKeys);
        }
    }
    ids.clear();
    for (count, prekey) in keys.kyber.iter().chain(&keys.last_resort).enumerate() {
        check_kyber(&identity, prekey)?;
        if !ids.insert(prekey.id) {
            return Err(Error::BadKeys);
        }
        if count % CHECKS_PER_TURN == CHECKS_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

fn check_signed(identity: &Curve25519Key, prekey: &SignedPrekey) -> Result<(), Error> {
    let bad = |_| Error::BadKeys;
    let key = Curve25519Key::new(prekey.key).map_err(bad)?;
    let signature = Signature::from_slice(&prekey.signature).map_err(bad)?;
    identity
        .verify(&key.serialized(), &signature)
        .map_err(bad)?;
    if prekey.id > MAX_KEY_ID {
        return Err(Error::BadKeys);
    }
    Ok(())
}

fn check_kyber(identity: &Curve25519Key, prekey: &KyberPrekey) -> Result<(), Error> {
    let bad = |_| Error::BadKeys;
    let key = Kyber1024Key::from_serialized(prekey.key.clone()).map_err(bad)?;
    let signature = Signature::from_slice(&prekey.signature).map_err(bad)?;
    key.verify(identity, &signature).map_err(bad)?;
    if prekey.id > MAX_KEY_ID {
        return Err(Error::BadKeys);
    }
    Ok(())
}

/// T65: what was verified when it was stored still verifies when it is read.
fn recheck(bundle: &Bundle) -> Result<(), Error> {
    let broken = |_| Error::BadBundle;
    let identity = Curve25519Key::new(bundle.identity).map_err(|_| Error::BadBundle)?;
    check_signed(&identity, &bundle.signed).map_err(broken)?;
    match &bundle.kyber {
        Some(kyber) => check_kyber(&identity, kyber).map_err(broken),
        None => Ok(()),
    }
}
