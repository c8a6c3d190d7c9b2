//! Whether a device that logs in is one of the account's.
//!
//! In: the account that the client named and its credential. Out: the account's facts. The partner
//! is the account's; the token is then compared with it, never asked for it.
//!
//! **Invariants**
//! - A token is good for the account whose visible id is the token's subject, and for no other.
//! - What was revoked while a login waited for keys or the directory is refused at its end, so that
//!   no session begins after the revocation that should have ended it.
//! - A token that names a transport key is good for the account that enlisted it. That the client
//!   holds that key is for the door with the handshake to check, against the facts given out here.

mod fast;

use std::sync::Arc;

use entente_core::{AccountFacts, AccountId, Timestamp};
use entente_keys::thumbprint;
use entente_proto::DirectoryClient;
use entente_proto::identity::{Credential, FastToken, LoggedIn};

use crate::clock::Clock;
use crate::error::{Denial, Error};
use crate::events::{Events, LoginEnded};
use crate::partners::{Kid, Partner, Registry, State};
use crate::verify::Verifier;

pub(crate) use fast::FastKeys;

/// Logs devices in.
#[derive(Debug)]
pub(crate) struct Devices {
    pub(crate) registry: Arc<Registry>,
    pub(crate) verifier: Verifier,
    pub(crate) directory: DirectoryClient,
    pub(crate) fast: FastKeys,
    pub(crate) clock: Clock,
    pub(crate) events: Events,
}

impl Devices {
    pub(crate) async fn login(
        &self,
        account: AccountId,
        credential: Credential,
    ) -> Result<LoggedIn, Error> {
        let partner = account.partner();
        let known = self.registry.partner(partner);
        let result = match &known {
            Some(record) => self.check(record, account, credential).await,
            None => Err(Error::Denied(Denial::Partner)),
        };
        if known.is_some() {
            let outcome = result.as_ref().map_or_else(|error| error.label(), |_| "ok");
            LoginEnded { partner, outcome }.emit(&self.events);
        }
        result
    }

    pub(crate) async fn issue_fast(&self, account: AccountId) -> Result<FastToken, Error> {
        let record = self.registry.partner(account.partner());
        let record = record.ok_or(Error::NoAccount)?;
        let facts = self.directory.account(account).await?;
        let facts = facts.ok_or(Error::NoAccount)?;
        Ok(self.fast.issue(&record, &facts, self.clock.now()))
    }

    async fn check(
        &self,
        record: &Partner,
        account: AccountId,
        credential: Credential,
    ) -> Result<LoggedIn, Error> {
        if record.state != State::Active {
            return Err(Error::NotActive);
        }
        let now = self.clock.now();
        let (granted, kid) = match credential {
            // The wire of XEP-0484 names no token, only the account: every secret that is good now
            // is derived and tried, and the text that came along is not needed.
            Credential::Fast { proof, .. } => {
                let granted = self.by_fast(record, account, &proof, now).await?;
                (granted, None)
            }
            Credential::Token(token) => {
                let (facts, kid) = self.by_token(record, account, token.expose(), now).await?;
                let granted = LoggedIn {
                    facts,
                    kid: kid.as_str().into(),
                    responder: None,
                };
                (granted, Some(kid))
            }
        };
        self.still_good(record, kid.as_ref())?;
        Ok(granted)
    }

    async fn by_token(
        &self,
        record: &Partner,
        account: AccountId,
        token: &str,
        now: Timestamp,
    ) -> Result<(AccountFacts, Kid), Error> {
        let proof = self.verifier.verify(record, token, now).await?;
        let facts = self.facts(account).await?;
        if proof.visible != facts.visible {
            return Err(Error::Denied(Denial::Subject));
        }
        let enlisted = thumbprint("X25519", &facts.transport);
        if proof.bound.is_some_and(|bound| bound != enlisted) {
            return Err(Error::Denied(Denial::Binding));
        }
        Ok((facts, proof.kid))
    }

    async fn by_fast(
        &self,
        record: &Partner,
        account: AccountId,
        proof: &[u8],
        now: Timestamp,
    ) -> Result<LoggedIn, Error> {
        let facts = self.facts(account).await?;
        let responder = self.fast.verify(record, &facts, proof, now);
        let responder = responder.ok_or(Error::Denied(Denial::Fast))?;
        Ok(LoggedIn {
            facts,
            kid: "".into(),
            responder: Some(responder),
        })
    }

    async fn facts(&self, account: AccountId) -> Result<AccountFacts, Error> {
        let facts = self.directory.account(account).await?;
        facts.ok_or(Error::Denied(Denial::Account))
    }

    fn still_good(&self, before: &Partner, kid: Option<&Kid>) -> Result<(), Error> {
        let now = self.registry.partner(before.number);
        let now = now.filter(|record| record.state == State::Active);
        let now = now.ok_or(Error::NotActive)?;
        let revoked = match kid {
            Some(kid) => now.revoked_keys.contains(kid),
            None => now.revoked_keys != before.revoked_keys,
        };
        if revoked {
            return Err(Error::Denied(Denial::Token(
                crate::verify::TokenError::Revoked,
            )));
        }
        Ok(())
    }
}
