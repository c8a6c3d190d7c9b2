//! Going on with a session whose connection died (XEP-0198 section 5).
//!
//! **Invariants**
//! - What the client holds is a secret of 128 bits that the owner compares; account and key must
//!   both be right (T26).
//! - `h` leaves here as the owner counts and comes back as the client counts.

use entente_proto::edge::{ToEdge, ToRouter};
use entente_stanza::{Element, ns};

use super::{Login, Negotiated, Talk};
use crate::events::{self, ResumeOutcome};
use crate::session::count::Counters;
use crate::session::{Me, Origin, Session, read_resume_id};

impl Talk<'_> {
    /// Resumes; otherwise the count of the client's stanzas that are surely handled, if it is known.
    pub(super) async fn resume(
        &mut self,
        request: &Element,
        login: &Login,
    ) -> Result<(Negotiated, Element), Option<u32>> {
        let outcome = self.try_resume(request, login).await;
        let counted = match &outcome {
            Ok(_) => ResumeOutcome::Done,
            Err(_) => ResumeOutcome::Unknown,
        };
        events::Resume(counted).emit(&self.host.meters);
        outcome
    }

    async fn try_resume(
        &mut self,
        request: &Element,
        login: &Login,
    ) -> Result<(Negotiated, Element), Option<u32>> {
        let previd = request.attribute("previd").ok_or(None)?;
        let (key, resource) = read_resume_id(previd).ok_or(None)?;
        let full = login.bare.with_resource(resource).map_err(|_| None)?;
        let h: u32 = request
            .attribute("h")
            .and_then(|h| h.trim().parse().ok())
            .ok_or(None)?;
        let first = self.host.rules.config.first_count;
        let seat = self.seat(login).await.map_err(|_| None)?;
        let ask = ToRouter::Resume {
            session: seat.session,
            account: login.account,
            resume: key.clone(),
            h: h.wrapping_sub(first),
        };
        seat.send(&mut vec![ask]).await.map_err(|_| None)?;
        let (epoch, handled, inbound, outbound, acked) =
            match self.heard(&seat).await.map_err(|_| None)? {
                ToEdge::Resumed {
                    epoch,
                    handled,
                    inbound,
                    outbound,
                    acked,
                    ..
                } => (epoch, handled, inbound, outbound, acked),
                ToEdge::Unresumable { h, .. } => return Err(h.map(|h| h.wrapping_add(first))),
                _ => return Err(None),
            };
        self.grant(&seat).await.map_err(|_| None)?;
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
