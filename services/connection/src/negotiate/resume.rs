//! Going on with a session whose connection died (XEP-0198 section 5).
//!
//! **Invariants**
//! - What the client holds is a secret of 128 bits that the owner compares; account and key must
//!   both be right (T26).
//! - `h` leaves here as the owner counts and comes back as the client counts.
//! - `<failed/>` is the owner's word. Many clients forget a session when they hear it, so one whose
//!   owner cannot be asked is not said to be over: its stream ends, and the client comes again.

use entente_core::{Fault, FaultKind};
use entente_proto::edge::{CloseReason, ToEdge, ToRouter};
use entente_stanza::{Element, StreamCondition, ns};

use super::{Login, Negotiated, Refusal, Talk};
use crate::events::{self, ResumeOutcome};
use crate::session::count::Counters;
use crate::session::{Me, Origin, Session, read_resume_id};

/// Why a session does not go on.
enum Unresumed {
    /// Nobody can be asked now.
    Away,
    /// It is over. With the count of the client's stanzas that are surely handled, if it is known.
    Over(Option<u32>),
}

impl From<Fault> for Unresumed {
    fn from(fault: Fault) -> Self {
        match fault.kind() {
            FaultKind::Deadline | FaultKind::Overloaded | FaultKind::Unavailable => Self::Away,
            _ => Self::Over(None),
        }
    }
}

const OVER: Unresumed = Unresumed::Over(None);

impl Talk<'_> {
    /// Resumes; otherwise the count of the client's stanzas that are surely handled, if it is known.
    pub(super) async fn resume(
        &mut self,
        request: &Element,
        login: &Login,
    ) -> Result<Result<(Negotiated, Element), Option<u32>>, Refusal> {
        let outcome = self.try_resume(request, login).await;
        let counted = match &outcome {
            Ok(_) => ResumeOutcome::Done,
            Err(Unresumed::Away) => ResumeOutcome::Away,
            Err(Unresumed::Over(_)) => ResumeOutcome::Unknown,
        };
        events::Resume(counted).emit(&self.host.meters);
        match outcome {
            Ok(resumed) => Ok(Ok(resumed)),
            Err(Unresumed::Over(h)) => Ok(Err(h)),
            Err(Unresumed::Away) => Err(Refusal::stream(
                StreamCondition::ResourceConstraint,
                "the session cannot be reached now: resume it later",
            )),
        }
    }

    async fn try_resume(
        &mut self,
        request: &Element,
        login: &Login,
    ) -> Result<(Negotiated, Element), Unresumed> {
        let previd = request.attribute("previd").ok_or(OVER)?;
        let (key, resource) = read_resume_id(previd).ok_or(OVER)?;
        let full = login.bare.with_resource(resource).map_err(|_| OVER)?;
        let h: u32 = request
            .attribute("h")
            .and_then(|h| h.trim().parse().ok())
            .ok_or(OVER)?;
        let first = self.host.rules.config.first_count;
        let _under_way = self.host.rules.pace.begin();
        let seat = self.seat(login).await?;
        let ask = ToRouter::Resume {
            session: seat.session,
            account: login.account,
            resume: key.clone(),
            h: h.wrapping_sub(first),
        };
        let gone = |_| Unresumed::Away;
        seat.send(&mut vec![ask]).await.map_err(gone)?;
        let (epoch, handled, inbound, outbound, acked) = match self.heard(&seat).await? {
            ToEdge::Resumed {
                epoch,
                handled,
                inbound,
                outbound,
                acked,
                ..
            } => (epoch, handled, inbound, outbound, acked),
            ToEdge::Unresumable { h, .. } => {
                return Err(Unresumed::Over(h.map(|h| h.wrapping_add(first))));
            }
            ToEdge::Closed {
                why: CloseReason::Unavailable,
                ..
            } => return Err(Unresumed::Away),
            _ => return Err(OVER),
        };
        self.grant(&seat).await?;
        let count = Counters::new(inbound, outbound, first).h(handled);
        let resumed = Element::new("resumed", ns::SM)
            .with_attribute("previd", previd)
            .with_attribute("h", count.to_string());
        let origin = Origin::Resumed {
            handled,
            inbound,
            outbound,
            acked,
            key,
        };
        let me = Me::new(login.account, full);
        let session = Session::new(self.host.rules.clone(), me, seat.session, epoch, origin);
        Ok((
            Negotiated {
                seat,
                session,
                resumed: true,
            },
            resumed,
        ))
    }
}
