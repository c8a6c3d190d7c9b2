//! From an encrypted connection to a bound session: stream headers, login, bind or resume.
//!
//! In: a [`Stream`] that has said nothing yet. Out: a [`Session`] with its seat at the owner.
//!
//! **Invariants**
//! - Before authentication only stream headers and authentication are legal; everything else ends the
//!   stream, and nothing is kept of it (T36).
//! - A session id for resumption is looked at only after authentication, and is good for its account
//!   only (T26).
//! - A client learns no more of a failed login than that it failed.

mod bind;
mod features;
mod login;
mod resume;
pub(crate) mod sasl;
mod sasl2;

use std::sync::Arc;

use entente_core::{AccountId, Fault};
use entente_node::{Drain, Phase};
use entente_proto::IdentityClient;
use entente_stanza::{Element, Jid, Received, StreamCondition, StreamHeader, ns};
use tokio::time::{Instant, timeout_at};

use crate::drain::elsewhere;
use crate::events::{self, Meters};
use crate::limits_of;
use crate::links::{Basis, Links, Seat};
use crate::pace::Retry;
use crate::rebind::Rebinds;
use crate::revoke::{Mark, Revocations};
use crate::session::{Rules, Session, hex};
use crate::stream::{Broken, Stream};

/// What every connection of this node shares.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) rules: Arc<Rules>,
    pub(crate) identity: IdentityClient,
    pub(crate) links: Arc<Links>,
    pub(crate) rebinds: Rebinds,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) meters: Meters,
    pub(crate) drain: Drain,
}

/// A session that is ready to run.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) seat: Seat,
    pub(crate) session: Session,
    /// The session goes on where an earlier connection ended.
    pub(crate) resumed: bool,
}

/// A client that showed who it is.
#[derive(Debug)]
struct Login {
    account: AccountId,
    bare: Jid,
    basis: Basis,
    mark: Mark,
}

/// Why there is no session. The stream is closed with the error, if there is one.
#[derive(Debug)]
pub(crate) struct Refusal(Option<Element>);

impl Refusal {
    fn stream(condition: StreamCondition, text: &'static str) -> Self {
        Self(Some(condition.to_element(Some(text))))
    }

    /// Too many come at once: when to come back.
    fn later(retry: Retry) -> Self {
        let error = StreamCondition::ResourceConstraint.to_element(Some("too many log in"));
        // RFC 6120 4.9.4: an application-specific condition beside the defined one.
        Self(Some(error.with_child(retry.element())))
    }
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        Self(
            broken
                .error()
                .map(|(condition, text)| condition.to_element(Some(text))),
        )
    }
}

/// Negotiates a session within the deadline; without one, the stream has been closed.
pub(crate) async fn negotiate(stream: &mut Stream, host: &Host) -> Option<Negotiated> {
    let deadline = Instant::now() + host.rules.config.deadlines.negotiate.get();
    let mut talk = Talk {
        stream,
        host,
        deadline,
        opened: false,
    };
    let outcome = timeout_at(deadline, Box::pin(talk.run())).await;
    let refusal = match outcome {
        Ok(Ok(negotiated)) => return Some(negotiated),
        Ok(Err(refusal)) => refusal,
        Err(_) => Refusal::stream(StreamCondition::ConnectionTimeout, "login took too long"),
    };
    talk.close(refusal).await;
    None
}

/// One negotiation under way.
struct Talk<'a> {
    stream: &'a mut Stream,
    host: &'a Host,
    deadline: Instant,
    /// Whether our own stream header was written.
    opened: bool,
}

impl Talk<'_> {
    async fn run(&mut self) -> Result<Negotiated, Refusal> {
        self.open().await?;
        let features = features::before_login(&self.host.rules);
        self.stream.out.element(&features);
        let login = match self.authenticate().await? {
            login::Outcome::Restart(login) => {
                self.stream.restart();
                self.trust();
                self.open().await?;
                login
            }
            login::Outcome::Unbound(login) => login,
            login::Outcome::Seated(negotiated) => return Ok(*negotiated),
        };
        let features = features::after_login(&self.host.rules);
        self.stream.out.element(&features);
        self.bind_or_resume(login).await
    }

    fn trust(&mut self) {
        let limit = self.host.rules.config.limits.stanza_after_auth;
        self.stream.trust(limits_of(limit));
    }

    /// Exchanges stream headers (RFC 6120 4.3.1).
    async fn open(&mut self) -> Result<(), Refusal> {
        self.opened = false;
        let Received::Open(header) = self.stream.next().await? else {
            return Err(Refusal::stream(
                StreamCondition::BadFormat,
                "stream header expected",
            ));
        };
        self.answer_header(header.from);
        // RFC 6120 4.9.3.6. Some clients leave `to` out: there is only one domain to mean.
        let domain = &self.host.rules.domain;
        if header.to.is_some_and(|to| to != *domain) {
            return Err(Refusal::stream(
                StreamCondition::HostUnknown,
                "this domain is not served here",
            ));
        }
        // RFC 6120 4.9.3.19: better now than after a login that ends at once.
        if self.host.drain.phase() != Phase::Running {
            let elsewhere = elsewhere(&self.host.rules.config, self.stream.framing());
            return elsewhere.map_or(Ok(()), |error| Err(Refusal(Some(error))));
        }
        Ok(())
    }

    fn answer_header(&mut self, to: Option<Jid>) {
        let header = StreamHeader {
            to,
            from: Some(self.host.rules.domain.clone()),
            version: Some(StreamHeader::VERSION),
            lang: Some("en".into()),
            // RFC 6120 4.7.3: unpredictable and unique.
            id: Some(hex(&entente_core::random_array::<16>()).into()),
            ns: ns::CLIENT,
        };
        self.stream.out.header(&header);
        self.opened = true;
    }

    /// The next element; the end of the stream is the end of the negotiation.
    async fn element(&mut self) -> Result<Element, Refusal> {
        match self.stream.next().await? {
            Received::Element(element) => Ok(element),
            Received::Close => Err(Refusal(None)),
            Received::Open(_) => Err(Refusal::stream(
                StreamCondition::BadFormat,
                "stream header not expected",
            )),
        }
    }

    async fn close(&mut self, refusal: Refusal) {
        // RFC 6120 4.9.1.2: an error may come before the client's header; ours comes first.
        if !self.opened && refusal.0.is_some() {
            self.answer_header(None);
        }
        self.stream.close(refusal.0.as_ref()).await;
    }

    /// Takes a seat at the owner of the account.
    async fn seat(&mut self, login: &Login) -> Result<Seat, Fault> {
        let seat = self
            .host
            .links
            .join(login.account, login.basis.clone(), self.answer_by())
            .await;
        if let Err(fault) = &seat {
            events::NotSeated { kind: fault.kind() }.emit();
        }
        let seat = seat?;
        // From here on a revocation finds the seat; what came before is looked up.
        if self.host.revocations.since(login.mark, &login.basis) {
            return Err(REVOKED);
        }
        Ok(seat)
    }

    fn answer_by(&self) -> Instant {
        let answer = Instant::now() + self.host.rules.config.deadlines.answer.get();
        answer.min(self.deadline)
    }
}

/// The login's ground fell away while it was being judged.
const REVOKED: Fault = Fault::new(
    entente_core::FaultKind::Unauthenticated,
    "the login is no longer good",
);
