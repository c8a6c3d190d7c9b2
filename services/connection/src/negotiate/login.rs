//! The login itself: SASL of RFC 6120 and the loop around both profiles.
//!
//! **Invariants**
//! - At most so many attempts as the settings allow; then the stream is over.
//! - The answer to a failed login is the same for an unknown account and a wrong token.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_core::FaultKind;
use entente_stanza::{Element, Jid, Ns, StreamCondition, ns};
use tokio::time::timeout_at;

use super::sasl::{self, Claim, Mechanism, SaslFailure};
use super::{Login, Negotiated, Refusal, Talk};
use crate::events::{self, LoginOutcome};
use crate::links::Basis;
use crate::pace::{Errand, Retry};

/// What a client says that it wants, before it is judged.
fn errand(request: &Element, profile: &Ns) -> Errand {
    if profile != &ns::SASL2 {
        Errand::Unsaid
    } else if request.child("resume", &ns::SM).is_some() {
        Errand::Resume
    } else {
        Errand::Fresh
    }
}

/// RFC 7628 3.2.2: what a bearer token was refused with.
const INVALID_TOKEN: &str = r#"{"status":"invalid_token"}"#;

/// How the login ended.
pub(super) enum Outcome {
    /// By RFC 6120: a new stream header follows.
    Restart(Login),
    /// By SASL2, with a session in one go.
    Seated(Box<Negotiated>),
    /// By SASL2, without.
    Unbound(Login),
}

/// A login that was granted, with what is owed to the client in the success message.
pub(super) struct Granted {
    pub(super) login: Login,
    pub(super) responder: Option<Box<[u8]>>,
}

impl Talk<'_> {
    pub(super) async fn authenticate(&mut self) -> Result<Outcome, Refusal> {
        for _ in 0..self.host.rules.config.limits.login_attempts {
            let element = self.element().await?;
            let (name, profile) = (element.name(), element.ns());
            let failure = if name == "auth" && profile == &ns::SASL {
                match self.login(&element, &ns::SASL).await? {
                    Ok(granted) => {
                        self.stream.out.element(&Element::new("success", ns::SASL));
                        return Ok(Outcome::Restart(granted.login));
                    }
                    Err(failure) => failure,
                }
            } else if name == "authenticate" && profile == &ns::SASL2 {
                match self.login(&element, &ns::SASL2).await? {
                    Ok(granted) => match self.finish_sasl2(&element, granted).await? {
                        Ok(outcome) => return Ok(outcome),
                        Err(failure) => failure,
                    },
                    Err(failure) => failure,
                }
            } else {
                return Err(self.not_authorized(&element));
            };
            let profile = profile.clone();
            self.fail(failure, profile);
        }
        // RFC 6120 6.4.5: after some attempts the stream is closed.
        Err(Refusal::stream(
            StreamCondition::PolicyViolation,
            "too many failed logins",
        ))
    }

    fn fail(&mut self, failure: SaslFailure, profile: Ns) {
        let failure = self.failure(failure, profile);
        self.stream.out.element(&failure);
    }

    fn failure(&self, failure: SaslFailure, profile: Ns) -> Element {
        events::Login(LoginOutcome::Failed(failure)).emit(&self.host.meters);
        // XEP-0388 section 2.6.2: the conditions stay those of RFC 6120.
        let condition = Element::new(failure.as_str(), ns::SASL);
        Element::new("failure", profile).with_child(condition)
    }

    /// It is not this client's turn: says when it is, and ends the stream, so that nobody waits who
    /// holds a connection.
    fn later(&mut self, retry: Retry, profile: &Ns) -> Refusal {
        let failure = self.failure(SaslFailure::TemporaryAuthFailure, profile.clone());
        self.stream
            .out
            .element(&failure.with_child(retry.element()));
        Refusal::later(retry)
    }

    /// Everything else before login (T36). XEP-0138 gets the answer that it defines, once.
    fn not_authorized(&mut self, element: &Element) -> Refusal {
        if element.is("compress", &ns::COMPRESS) {
            let failure = Element::new("failure", ns::COMPRESS)
                .with_child(Element::new("unsupported-method", ns::COMPRESS));
            self.stream.out.element(&failure);
        }
        Refusal::stream(StreamCondition::NotAuthorized, "log in first")
    }

    /// One attempt. The outer error ends the stream.
    async fn login(
        &mut self,
        request: &Element,
        profile: &Ns,
    ) -> Result<Result<Granted, SaslFailure>, Refusal> {
        let name = request.attribute("mechanism").unwrap_or_default();
        let offered = Mechanism::from_wire(name)
            .filter(|mechanism| *mechanism != Mechanism::HtSha256None || profile == &ns::SASL2);
        let Some(mechanism) = offered else {
            return Ok(Err(SaslFailure::InvalidMechanism));
        };
        let response = if profile == &ns::SASL2 {
            request
                .child("initial-response", &ns::SASL2)
                .map(Element::text)
        } else {
            Some(request.text()).filter(|text| !text.is_empty())
        };
        let response = match response {
            Some(response) => response,
            // RFC 4422 5.1: without an initial response the server sends an empty challenge.
            None => match self.challenge("", profile).await? {
                Some(response) => response,
                None => return Ok(Err(SaslFailure::Aborted)),
            },
        };
        let claim = sasl::decode(&response)
            .and_then(|data| mechanism.read(&data, self.host.rules.domain.as_str()));
        let outcome = match claim {
            Ok(claim) => {
                let pace = Arc::clone(&self.host.rules.pace);
                // Before anything is looked up or verified: a refusal costs next to nothing.
                match pace.admit(claim.account, errand(request, profile)).await {
                    Ok(_under_way) => self.judge(claim).await,
                    Err(retry) => return Err(self.later(retry, profile)),
                }
            }
            Err(failure) => Err(failure),
        };
        if mechanism == Mechanism::OAuthBearer && outcome.is_err() {
            // RFC 7628 3.2.2: the client answers with a single ^A, or aborts; either way it failed.
            let _dummy = self.challenge(INVALID_TOKEN, profile).await?;
        }
        Ok(outcome)
    }

    /// Sends a challenge; none if the client aborts.
    async fn challenge(&mut self, data: &str, profile: &Ns) -> Result<Option<String>, Refusal> {
        let challenge =
            Element::new("challenge", profile.clone()).with_text(&STANDARD.encode(data));
        self.stream.out.element(&challenge);
        let answer = self.element().await?;
        if answer.is("response", profile) {
            Ok(Some(answer.text()))
        } else if answer.is("abort", profile) {
            Ok(None)
        } else {
            Err(self.not_authorized(&answer))
        }
    }

    /// Asks the identity service.
    async fn judge(&mut self, claim: Claim) -> Result<Granted, SaslFailure> {
        let Claim {
            account,
            credential,
        } = claim;
        let mark = self.host.revocations.mark();
        let judged = self.host.identity.login(account, credential);
        let granted = timeout_at(self.answer_by(), judged)
            .await
            .map_err(|_| SaslFailure::from(FaultKind::Deadline))?
            .map_err(|fault| SaslFailure::from(fault.kind()))?;
        // The answer is about the account that was asked for, or it is no answer.
        if granted.facts.account != account {
            return Err(SaslFailure::TemporaryAuthFailure);
        }
        events::Login(LoginOutcome::Granted).emit(&self.host.meters);
        Ok(Granted {
            login: Login {
                account,
                bare: Jid::of_account(account, &self.host.rules.domain),
                basis: Basis {
                    partner: account.partner(),
                    kid: granted.kid,
                },
                mark,
            },
            responder: granted.responder,
        })
    }
}
