//! Items of the stream: [`ToRouter`] and [`ToEdge`] as messages and back.
//!
//! **Invariants**
//! - An item read is the item written, but for texts of faults (see `fault`).
//! - Reading allocates no more than what arrived.

use std::sync::Arc;

use bytes::Bytes;
use entente_core::{
    Content, Delivered, Envelope, EnvelopeError, Epoch, FailReason, Failed, Fault, Position,
    SealKey, Sequence, SessionId, Timestamp, TraceContext,
};

use crate::edge::{CloseReason, Refusal, ResumeKey, ToEdge, ToRouter, Unresumable};
use crate::wire::Malformed;
use crate::wire::fault::{self, BAD_REQUEST, BAD_SEAL};
use crate::wire::generated as proto;
use crate::wire::report;
use crate::wire::words::{account, exact, read_account};

/// What the edge's side writes.
pub(super) fn to_router(item: ToRouter, seal: &SealKey) -> proto::ToRouter {
    use proto::to_router::Item;
    let session = item.session().value();
    let item = match item {
        ToRouter::Acked { through, .. } => Item::Acked(through.value()),
        ToRouter::Bind { account: of, .. } => Item::Bind(account(of)),
        ToRouter::Credit { bytes, .. } => Item::Credit(bytes),
        ToRouter::Detach { .. } => Item::Detach(proto::Nothing {}),
        ToRouter::Enable {
            inbound, resume, ..
        } => Item::Enable(proto::Enable {
            inbound: inbound.value(),
            resume: resume.as_ref().map(resume_key),
        }),
        ToRouter::End { .. } => Item::End(proto::Nothing {}),
        ToRouter::Handled { position, .. } => Item::Handled(position.value()),
        ToRouter::Local { .. } => Item::Local(proto::Nothing {}),
        ToRouter::Reattach { report: of, .. } => Item::Reattach(report::write(*of)),
        ToRouter::Resume {
            account: of,
            resume,
            h,
            ..
        } => Item::Resume(proto::Resume {
            account: Some(account(of)),
            resume: Some(resume_key(&resume)),
            h,
        }),
        ToRouter::Start { .. } => Item::Start(proto::Nothing {}),
        ToRouter::Submit { envelope, .. } => Item::Submit(envelope.seal(seal)),
    };
    proto::ToRouter {
        session,
        item: Some(item),
    }
}

/// What the owner's side reads. A broken seal is told apart from a broken message.
pub(super) fn read_to_router(message: proto::ToRouter, seal: &SealKey) -> Result<ToRouter, Fault> {
    let session = SessionId::new(message.session);
    if let Some(proto::to_router::Item::Submit(record)) = &message.item {
        let envelope = Envelope::open(record, seal).map_err(|error| match error {
            EnvelopeError::BadSeal => BAD_SEAL,
            EnvelopeError::Malformed | EnvelopeError::UnknownVersion => BAD_REQUEST,
        })?;
        let envelope = Arc::new(envelope);
        return Ok(ToRouter::Submit { session, envelope });
    }
    read_plain(message).map_err(|Malformed| BAD_REQUEST)
}

fn read_plain(message: proto::ToRouter) -> Result<ToRouter, Malformed> {
    use proto::to_router::Item;
    let session = SessionId::new(message.session);
    Ok(match message.item.ok_or(Malformed)? {
        Item::Acked(through) => ToRouter::Acked {
            session,
            through: Position::new(through),
        },
        Item::Bind(of) => ToRouter::Bind {
            session,
            account: read_account(Some(of))?,
        },
        Item::Credit(bytes) => ToRouter::Credit { session, bytes },
        Item::Detach(_) => ToRouter::Detach { session },
        Item::Enable(enable) => ToRouter::Enable {
            session,
            inbound: Position::new(enable.inbound),
            resume: enable.resume.map(read_resume_key).transpose()?,
        },
        Item::End(_) => ToRouter::End { session },
        Item::Handled(position) => ToRouter::Handled {
            session,
            position: Position::new(position),
        },
        Item::Local(_) => ToRouter::Local { session },
        Item::Reattach(of) => ToRouter::Reattach {
            session,
            report: Box::new(report::read(of)?),
        },
        Item::Resume(resume) => ToRouter::Resume {
            session,
            account: read_account(resume.account)?,
            resume: read_resume_key(resume.resume.ok_or(Malformed)?)?,
            h: resume.h,
        },
        Item::Start(_) => ToRouter::Start { session },
        // Opened by the caller, which holds the key.
        Item::Submit(_) => return Err(Malformed),
    })
}

/// What the owner's side writes.
pub(super) fn to_edge(item: ToEdge) -> proto::ToEdge {
    use proto::to_edge::Item;
    let session = item.session().value();
    let item = match item {
        ToEdge::Bound { epoch, waiting, .. } => Item::Bound(proto::Bound {
            epoch: epoch.value(),
            waiting,
        }),
        ToEdge::Closed { why, .. } => Item::Closed(close_reason(why).into()),
        ToEdge::Deliver {
            position,
            sequence,
            content: what,
            delayed,
            trace,
            ..
        } => Item::Deliver(proto::Deliver {
            position: position.value(),
            sequence: sequence.map(Sequence::value),
            delayed: delayed.map(Timestamp::millis),
            content: Some(content(what)),
            trace: trace.map(|trace| Bytes::copy_from_slice(&trace.to_bytes())),
        }),
        ToEdge::Enabled {
            inbound, outbound, ..
        } => Item::Enabled(proto::Enabled {
            inbound: inbound.value(),
            outbound: outbound.value(),
        }),
        ToEdge::Handled { through, .. } => Item::Handled(through.value()),
        ToEdge::Reattached { .. } => Item::Reattached(proto::Nothing {}),
        ToEdge::Refused { refusal, .. } => Item::Refused(refused(refusal)),
        ToEdge::Resumed {
            epoch,
            handled,
            inbound,
            outbound,
            acked,
            ..
        } => Item::Resumed(proto::Resumed {
            epoch: epoch.value(),
            handled: handled.value(),
            inbound: inbound.value(),
            outbound: outbound.value(),
            acked: acked.value(),
        }),
        ToEdge::Slot { position, .. } => Item::Slot(position.value()),
        ToEdge::Unresumable { h, why, .. } => Item::Unresumable(proto::UnresumableItem {
            h,
            why: unresumable(why).into(),
        }),
    };
    proto::ToEdge {
        session,
        item: Some(item),
    }
}

/// What the edge's side reads.
pub(super) fn read_to_edge(message: proto::ToEdge) -> Result<ToEdge, Malformed> {
    use proto::to_edge::Item;
    let session = SessionId::new(message.session);
    Ok(match message.item.ok_or(Malformed)? {
        Item::Bound(bound) => ToEdge::Bound {
            session,
            epoch: Epoch::new(bound.epoch),
            waiting: bound.waiting,
        },
        Item::Closed(why) => ToEdge::Closed {
            session,
            why: read_close_reason(why),
        },
        Item::Deliver(deliver) => ToEdge::Deliver {
            session,
            position: Position::new(deliver.position),
            sequence: deliver.sequence.map(Sequence::new),
            content: read_content(deliver.content.ok_or(Malformed)?)?,
            delayed: deliver.delayed.map(Timestamp::from_millis),
            trace: deliver.trace.as_deref().and_then(TraceContext::from_bytes),
        },
        Item::Enabled(enabled) => ToEdge::Enabled {
            session,
            inbound: Position::new(enabled.inbound),
            outbound: Position::new(enabled.outbound),
        },
        Item::Handled(through) => ToEdge::Handled {
            session,
            through: Position::new(through),
        },
        Item::Reattached(_) => ToEdge::Reattached { session },
        Item::Refused(refused) => ToEdge::Refused {
            session,
            refusal: read_refused(refused)?,
        },
        Item::Resumed(resumed) => ToEdge::Resumed {
            session,
            epoch: Epoch::new(resumed.epoch),
            handled: Position::new(resumed.handled),
            inbound: Position::new(resumed.inbound),
            outbound: Position::new(resumed.outbound),
            acked: Position::new(resumed.acked),
        },
        Item::Slot(position) => ToEdge::Slot {
            session,
            position: Position::new(position),
        },
        Item::Unresumable(item) => ToEdge::Unresumable {
            session,
            h: item.h,
            why: match item.why() {
                proto::Unresumable::BadCount => Unresumable::BadCount,
                proto::Unresumable::Unknown | proto::Unresumable::Unspecified => {
                    Unresumable::Unknown
                }
            },
        },
    })
}

pub(super) fn refused(refusal: Refusal) -> proto::Refused {
    proto::Refused {
        position: refusal.position.value(),
        inbound: refusal.inbound.value(),
        id: refusal.id,
        to: Some(account(refusal.to)),
        fault: Some(fault::write(refusal.fault)),
    }
}

pub(super) fn read_refused(refused: proto::Refused) -> Result<Refusal, Malformed> {
    Ok(Refusal {
        position: Position::new(refused.position),
        inbound: Position::new(refused.inbound),
        id: refused.id,
        to: read_account(refused.to)?,
        fault: fault::read(&refused.fault.ok_or(Malformed)?),
    })
}

pub(super) fn resume_key(key: &ResumeKey) -> proto::ResumeKey {
    proto::ResumeKey {
        key: Bytes::copy_from_slice(&key.0),
    }
}

pub(super) fn read_resume_key(key: proto::ResumeKey) -> Result<ResumeKey, Malformed> {
    exact(&key.key).map(ResumeKey)
}

const fn close_reason(why: CloseReason) -> proto::CloseReason {
    match why {
        CloseReason::Conflict => proto::CloseReason::Conflict,
        CloseReason::Full => proto::CloseReason::Full,
        CloseReason::Revoked => proto::CloseReason::Revoked,
        CloseReason::Stalled => proto::CloseReason::Stalled,
        CloseReason::Unavailable => proto::CloseReason::Unavailable,
    }
}

fn read_close_reason(why: i32) -> CloseReason {
    match proto::CloseReason::try_from(why) {
        Ok(proto::CloseReason::Conflict) => CloseReason::Conflict,
        Ok(proto::CloseReason::Full) => CloseReason::Full,
        Ok(proto::CloseReason::Revoked) => CloseReason::Revoked,
        Ok(proto::CloseReason::Stalled) => CloseReason::Stalled,
        Ok(proto::CloseReason::Unavailable | proto::CloseReason::Unspecified) | Err(_) => {
            CloseReason::Unavailable
        }
    }
}

const fn unresumable(why: Unresumable) -> proto::Unresumable {
    match why {
        Unresumable::BadCount => proto::Unresumable::BadCount,
        Unresumable::Unknown => proto::Unresumable::Unknown,
    }
}

fn content(content: Content) -> proto::deliver::Content {
    use proto::deliver::Content as Item;
    match content {
        Content::Delivered(delivered) => Item::Delivered(proto::Delivered {
            by: Some(account(delivered.by)),
            ids: delivered.ids,
            at: delivered.at.millis(),
        }),
        Content::Failed(failed) => Item::Failed(proto::Failed {
            to: Some(account(failed.to)),
            id: failed.id,
            why: match failed.why {
                FailReason::Expired => proto::FailReason::Expired,
                FailReason::MailboxFull => proto::FailReason::MailboxFull,
                FailReason::Undeliverable => proto::FailReason::Undeliverable,
            }
            .into(),
        }),
        Content::IdentityChanged { of } => Item::IdentityChanged(account(of)),
        Content::Stanza(payload) => Item::Stanza(payload),
    }
}

fn read_content(content: proto::deliver::Content) -> Result<Content, Malformed> {
    use proto::deliver::Content as Item;
    Ok(match content {
        Item::Delivered(delivered) => Content::Delivered(Delivered {
            by: read_account(delivered.by)?,
            ids: delivered.ids,
            at: Timestamp::from_millis(delivered.at),
        }),
        Item::Failed(failed) => Content::Failed(Failed {
            to: read_account(failed.to)?,
            why: match failed.why() {
                proto::FailReason::Expired => FailReason::Expired,
                proto::FailReason::MailboxFull => FailReason::MailboxFull,
                proto::FailReason::Undeliverable | proto::FailReason::Unspecified => {
                    FailReason::Undeliverable
                }
            },
            id: failed.id,
        }),
        Item::IdentityChanged(of) => Content::IdentityChanged {
            of: read_account(Some(of))?,
        },
        Item::Stanza(payload) => Content::Stanza(payload),
    })
}
