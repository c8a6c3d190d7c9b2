//! The partner's push endpoint: verifies what the gateway signed, and counts.
//!
//! Verified against the gateway's own JWKS, as a partner would: `iss`, `aud`, `exp`, `jti`, a life of
//! at most an hour, RS256 by `kid`. What does not verify is refused with 401 and counted apart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;

use crate::http::HttpTarget;

/// Visible ids that are counted: more than any load test has users of one partner.
const MAX_COUNTED: usize = 1_000_000;
/// Longest life of the gateway's token, in seconds.
const MAX_LIFE_SECONDS: u64 = 3600;

/// How the endpoint behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PushMode {
    /// Takes the request and never answers.
    Hang,
    /// Verifies and answers 200.
    #[default]
    Ok,
    /// Answers with this status at once.
    Refuse(u16),
    /// Verifies, then answers after this time.
    Slow(Duration),
}

/// How to know the gateway.
#[derive(Clone, Debug)]
pub struct GatewayTrust {
    /// Where its JWKS is.
    pub target: HttpTarget,
    /// The JWKS's path.
    pub path: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` of its tokens: this partner.
    pub audience: String,
}

/// What came in so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushCounts {
    /// Calls that verified.
    pub verified: u64,
    /// Calls that did not.
    pub refused: u64,
    /// Calls that met [`PushMode::Hang`] or [`PushMode::Refuse`].
    pub failed: u64,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushRefusal {
    /// No bearer token, or one that does not verify by a key of the gateway.
    #[error("the token does not verify")]
    Token,
    /// The body is not `{"to": …}`.
    #[error("the body is not a wake-up")]
    Body,
    /// The gateway's keys could not be fetched.
    #[error("the gateway's keys are not known")]
    Key,
}

/// A call of the endpoint, as its witness is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushCall {
    /// The visible id to wake, as the body says; none if the body is no wake-up.
    pub to: Option<String>,
    /// The gateway's id of the wake-up (`jti`), the same on every attempt; or why the call was
    /// refused.
    pub verified: Result<String, PushRefusal>,
}

/// Told of each call before it is answered; see [`PushDesk::set_witness`].
type Witness = Arc<dyn Fn(&PushCall) + Send + Sync>;

#[derive(Deserialize)]
struct Body {
    to: String,
}

#[derive(Deserialize)]
struct Claims {
    iat: u64,
    exp: u64,
    jti: String,
}

/// The endpoint's state.
pub struct PushDesk {
    mode: Mutex<PushMode>,
    trust: Mutex<Option<GatewayTrust>>,
    keys: Mutex<Option<JwkSet>>,
    per_user: Mutex<HashMap<String, u64>>,
    counts: watch::Sender<PushCounts>,
    witness: Mutex<Option<Witness>>,
}

impl std::fmt::Debug for PushDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushDesk")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Default for PushDesk {
    fn default() -> Self {
        Self {
            mode: Mutex::default(),
            trust: Mutex::default(),
            keys: Mutex::default(),
            per_user: Mutex::default(),
            counts: watch::Sender::new(PushCounts::default()),
            witness: Mutex::default(),
        }
    }
}

impl PushDesk {
    /// Changes the behaviour from the next call on.
    pub fn set_mode(&self, mode: PushMode) {
        *self.mode.lock() = mode;
    }

    /// The behaviour now.
    pub fn mode(&self) -> PushMode {
        *self.mode.lock()
    }

    /// Says who the gateway is; until then every call is refused.
    pub fn set_trust(&self, trust: GatewayTrust) {
        *self.trust.lock() = Some(trust);
        *self.keys.lock() = None;
    }

    /// Fetches the gateway's keys now, so that no call meets a gateway that is down meanwhile.
    ///
    /// # Errors
    /// [`PushRefusal::Key`] if nobody said who the gateway is, or it does not answer with a key set.
    pub async fn learn(&self) -> Result<(), PushRefusal> {
        let trust = self.trust.lock().clone().ok_or(PushRefusal::Key)?;
        let set = fetch(&trust).await?;
        *self.keys.lock() = Some(set);
        Ok(())
    }

    /// Tells somebody of each call that is verified or refused, before it is answered; of those that
    /// [`PushMode::Hang`] and [`PushMode::Refuse`] fail, nobody. `None` ends it.
    pub fn set_witness(&self, witness: Option<Witness>) {
        *self.witness.lock() = witness;
    }

    /// Totals, and a way to wait until they change.
    pub fn counts(&self) -> watch::Receiver<PushCounts> {
        self.counts.subscribe()
    }

    /// Verified calls for one visible id.
    pub fn calls_for(&self, visible: &str) -> u64 {
        self.per_user.lock().get(visible).copied().unwrap_or(0)
    }

    /// Counts a call that the mode failed.
    pub(crate) fn count_failed(&self) {
        self.counts.send_modify(|counts| counts.failed += 1);
    }

    /// Verifies a call and counts it.
    pub(crate) async fn take(&self, bearer: Option<&str>, body: &[u8]) -> Result<(), PushRefusal> {
        let to = serde_json::from_slice(body).ok().map(|body: Body| body.to);
        let verified = self.verify(bearer).await.and_then(|wake| match &to {
            Some(_) => Ok(wake),
            None => Err(PushRefusal::Body),
        });
        let call = PushCall { to, verified };
        // Not while it is locked: whoever is told may wait for a disk.
        let witness = self.witness.lock().clone();
        if let Some(witness) = witness {
            witness(&call);
        }
        match (call.verified, call.to) {
            (Ok(_), Some(visible)) => {
                let mut users = self.per_user.lock();
                if users.len() < MAX_COUNTED || users.contains_key(&visible) {
                    *users.entry(visible).or_default() += 1;
                }
                drop(users);
                self.counts.send_modify(|counts| counts.verified += 1);
                Ok(())
            }
            (refused, _) => {
                self.counts.send_modify(|counts| counts.refused += 1);
                refused.map(drop)
            }
        }
    }

    /// Checks a token; gives the id of its wake-up.
    async fn verify(&self, bearer: Option<&str>) -> Result<String, PushRefusal> {
        let token = bearer.ok_or(PushRefusal::Token)?;
        let trust = self.trust.lock().clone().ok_or(PushRefusal::Key)?;
        let kid = decode_header(token)
            .ok()
            .and_then(|header| header.kid)
            .ok_or(PushRefusal::Token)?;
        let key = self.key(&trust, &kid).await?;
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_issuer(&[&trust.issuer]);
        rules.set_audience(&[&trust.audience]);
        rules.set_required_spec_claims(&["iss", "aud", "exp"]);
        let claims = decode::<Claims>(token, &key, &rules)
            .map_err(|_| PushRefusal::Token)?
            .claims;
        if claims.exp.saturating_sub(claims.iat) > MAX_LIFE_SECONDS {
            return Err(PushRefusal::Token);
        }
        Ok(claims.jti)
    }

    async fn key(&self, trust: &GatewayTrust, kid: &str) -> Result<DecodingKey, PushRefusal> {
        let known = self.keys.lock().as_ref().and_then(|set| find(set, kid));
        if let Some(key) = known {
            return Ok(key);
        }
        // Not known: the gateway may have rotated.
        let set = fetch(trust).await?;
        let key = find(&set, kid).ok_or(PushRefusal::Token);
        *self.keys.lock() = Some(set);
        key
    }
}

async fn fetch(trust: &GatewayTrust) -> Result<JwkSet, PushRefusal> {
    let answer = trust.target.fetch(&trust.path).await;
    let answer = answer.map_err(|_| PushRefusal::Key)?;
    serde_json::from_slice(answer.body()).map_err(|_| PushRefusal::Key)
}

fn find(set: &JwkSet, kid: &str) -> Option<DecodingKey> {
    DecodingKey::from_jwk(set.find(kid)?).ok()
}
