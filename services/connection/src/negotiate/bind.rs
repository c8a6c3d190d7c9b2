//! Resource binding: the session gets its place at the owner (RFC 6120 7).
//!
//! **Invariants**
//! - A session exists for the client only after the owner gave it the newest epoch.
//! - An account that binds again and again waits (T37).

use entente_core::{ByteSize, Fault, FaultKind};
use entente_proto::edge::{ResumeKey, ToEdge, ToRouter};
use entente_stanza::{
    Element, Iq, IqKind, Jid, Stanza, StanzaCondition, StanzaError, StreamCondition, ns,
};
use tokio::time::{Instant, timeout_at};

use super::{Login, Negotiated, Refusal, Talk};
use crate::fault::stanza_error;
use crate::links::{Notice, Seat};
use crate::session::{Me, Origin, Session, failed_element, hex};

/// The owner was lost before it answered.
const LOST: Fault = Fault::new(FaultKind::Unavailable, "the session's place was lost");
/// The owner did not answer in time.
const LATE: Fault = Fault::new(FaultKind::Deadline, "the session's place is not known yet");
/// Too many binds of this account.
const TOO_OFTEN: Fault = Fault::new(FaultKind::Overloaded, "this account binds too often");

impl Talk<'_> {
    /// After login without SASL2's inline features: one of the two, as the client chooses.
    pub(super) async fn bind_or_resume(&mut self, login: Login) -> Result<Negotiated, Refusal> {
        loop {
            let element = self.element().await?;
            if element.is("resume", &ns::SM) {
                match self.resume(&element, &login).await? {
                    Ok((negotiated, resumed)) => {
                        self.stream.out.element(&resumed);
                        return Ok(negotiated);
                    }
                    Err(h) => {
                        let failed = failed_element("item-not-found", h);
                        self.stream.out.element(&failed);
                    }
                }
                continue;
            }
            if element.is("enable", &ns::SM) {
                // XEP-0198 section 3: only after a resource is bound.
                let failed = failed_element("unexpected-request", None);
                self.stream.out.element(&failed);
                continue;
            }
            let Ok(Stanza::Iq(iq)) = Stanza::from_element(element) else {
                return Err(unbound());
            };
            if let Some(negotiated) = self.bind_by_iq(&iq, &login).await? {
                return Ok(negotiated);
            }
        }
    }

    async fn bind_by_iq(&mut self, iq: &Iq, login: &Login) -> Result<Option<Negotiated>, Refusal> {
        let wish = iq
            .payload()
            .filter(|what| what.is("bind", &ns::BIND) && iq.kind == IqKind::Set)
            .ok_or_else(unbound)?;
        let wish = wish.child("resource", &ns::BIND).map(Element::text);
        let random = hex(&entente_core::random_array::<8>());
        let full = match wish.filter(|wish| !wish.is_empty()) {
            Some(wish) => match login.bare.with_resource(&wish) {
                Ok(full) => full,
                Err(_) => {
                    // RFC 6120 7.7.2.1: the client may try again.
                    self.refuse_bind(iq, &StanzaError::new(StanzaCondition::BadRequest));
                    return Ok(None);
                }
            },
            None => self.address(login, &random, &random),
        };
        match self.bind(login, full.clone()).await {
            Ok(negotiated) => {
                let jid = Element::new("jid", ns::BIND).with_text(full.as_str());
                let bind = Element::new("bind", ns::BIND).with_child(jid);
                let result = iq.result(Some(bind)).into_element();
                self.stream.out.element(&result);
                Ok(Some(negotiated))
            }
            Err(fault) if fault.kind() == FaultKind::Unauthenticated => Err(Refusal::stream(
                StreamCondition::NotAuthorized,
                fault.text(),
            )),
            Err(fault) => {
                self.refuse_bind(iq, &stanza_error(fault));
                Ok(None)
            }
        }
    }

    fn refuse_bind(&mut self, iq: &Iq, error: &StanzaError) {
        if let Some(error) = iq.error(error) {
            self.stream.out.element(&error.into_element());
        }
    }

    /// Makes a session the newest of its account.
    pub(super) async fn bind(&mut self, login: &Login, full: Jid) -> Result<Negotiated, Fault> {
        let delay = self.host.rebinds.delay(login.account);
        if !delay.is_zero() {
            let due = Instant::now() + delay;
            if due >= self.deadline {
                return Err(TOO_OFTEN);
            }
            tokio::time::sleep_until(due).await;
        }
        let _under_way = self.host.rules.pace.begin();
        let seat = self.seat(login).await?;
        let (session, account) = (seat.session, login.account);
        let bind = ToRouter::Bind { session, account };
        seat.send(&mut vec![bind]).await.map_err(|_| LOST)?;
        let ToEdge::Bound { epoch, waiting, .. } = self.heard(&seat).await? else {
            return Err(LOST);
        };
        self.grant(&seat).await?;
        let rules = self.host.rules.clone();
        let me = Me::new(account, full);
        Ok(Negotiated {
            session: Session::new(rules, me, session, epoch, Origin::Bound { waiting }),
            seat,
            resumed: false,
        })
    }

    /// Turns XEP-0198 on before the first stanza; none if the owner does not answer.
    pub(super) async fn enable(
        &mut self,
        bound: &mut Negotiated,
        resumable: bool,
    ) -> Option<Element> {
        let key = resumable.then(|| ResumeKey(entente_core::random_array()));
        let request = bound.session.enable_request(key);
        bound.seat.send(&mut vec![request]).await.ok()?;
        match self.heard(&bound.seat).await.ok()? {
            ToEdge::Enabled {
                inbound, outbound, ..
            } => bound.session.enabled(inbound, outbound),
            _ => None,
        }
    }

    /// Grants the credit with which a session begins.
    pub(super) async fn grant(&mut self, seat: &Seat) -> Result<(), Fault> {
        let credit: ByteSize = self.host.rules.config.limits.credit;
        let credit = ToRouter::Credit {
            session: seat.session,
            bytes: u32::try_from(credit.get()).unwrap_or(u32::MAX),
        };
        seat.send(&mut vec![credit]).await.map_err(|_| LOST)
    }

    /// The owner's answer to what was just asked of it.
    pub(super) async fn heard(&mut self, seat: &Seat) -> Result<ToEdge, Fault> {
        let answered = timeout_at(self.answer_by(), seat.notice());
        match answered.await.map_err(|_| LATE)? {
            Notice::Edge(item) => Ok(item),
            Notice::Revoked => Err(super::REVOKED),
            // An owner that was lost may have heard or not: the client asks again.
            Notice::Attached(_)
            | Notice::Detached
            | Notice::Drained
            | Notice::Lost
            | Notice::Overflow => Err(LOST),
        }
    }
}

/// RFC 6120 7.1: nothing else before a resource is bound.
fn unbound() -> Refusal {
    Refusal::stream(StreamCondition::NotAuthorized, "bind a resource first")
}
