//! Tokens for quick logins (XEP-0484, mechanism `HT-SHA-256-NONE`), without a store.
//!
//! A token is derived from a secret of the deployment, the account and the day on which it was
//! given out, so any node can derive it again. The client never sends it: it sends an HMAC under it.
//!
//! **Invariants**
//! - A token ends at most [`FastSettings::life`] after it was given out.
//! - It is void after the account enlisted another identity key, after the partner's list of revoked
//!   keys changed, and after the deployment's epoch was raised: each is part of the derivation.
//! - All days are tried whichever fits, so the time tells nothing about the day.

use entente_core::{AccountFacts, Secret, Timestamp};
use entente_keys::encode;
use entente_proto::identity::FastToken;
use ring::hmac;
use subtle::{Choice, ConstantTimeEq};

use crate::config::FastSettings;
use crate::partners::Partner;

const DAY_MILLIS: u64 = 24 * 3600 * 1000;

/// Derives tokens.
#[derive(Debug)]
pub(crate) struct FastKeys {
    secret: Secret<[u8; 32]>,
    settings: FastSettings,
}

impl FastKeys {
    pub(crate) const fn new(secret: Secret<[u8; 32]>, settings: FastSettings) -> Self {
        Self { secret, settings }
    }

    /// The account's token of today.
    pub(crate) fn issue(
        &self,
        partner: &Partner,
        facts: &AccountFacts,
        now: Timestamp,
    ) -> FastToken {
        let day = now.millis() / DAY_MILLIS;
        FastToken {
            token: self.derive(partner, facts, day).into(),
            expires: Timestamp::from_millis((day + self.days()) * DAY_MILLIS),
        }
    }

    /// Returns what is owed to the client if its proof is under a token that is good now.
    pub(crate) fn verify(
        &self,
        partner: &Partner,
        facts: &AccountFacts,
        proof: &[u8],
        now: Timestamp,
    ) -> Option<Box<[u8]>> {
        let today = now.millis() / DAY_MILLIS;
        let first = today.saturating_sub(self.days() - 1);
        let mut responder = None;
        for day in first..=today {
            let token = self.derive(partner, facts, day);
            let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
            let wanted = hmac::sign(&key, b"Initiator");
            let fits: Choice = wanted.as_ref().ct_eq(proof);
            let answer = hmac::sign(&key, b"Responder");
            if fits.into() {
                responder = Some(answer.as_ref().into());
            }
        }
        responder
    }

    fn derive(&self, partner: &Partner, facts: &AccountFacts, day: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose());
        let mut context = hmac::Context::with_key(&key);
        context.update(b"entente fast 1");
        context.update(&self.settings.epoch.to_be_bytes());
        context.update(&facts.account.partner().number().to_be_bytes());
        context.update(&facts.account.number().to_be_bytes());
        context.update(&facts.generation.to_be_bytes());
        context.update(&day.to_be_bytes());
        for kid in &partner.revoked_keys {
            // A key id has no zero byte, so two lists never read alike.
            context.update(kid.as_str().as_bytes());
            context.update(&[0]);
        }
        encode(context.sign().as_ref())
    }

    /// Whole days of life, at least one.
    fn days(&self) -> u64 {
        let millis = u64::try_from(self.settings.life.get().as_millis()).unwrap_or(DAY_MILLIS);
        (millis / DAY_MILLIS).max(1)
    }
}
