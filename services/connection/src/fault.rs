//! One table each: what a fault of ours is called in a stanza error and in a stream error.

use entente_core::{FailReason, Fault, FaultKind};
use entente_stanza::{ErrorType, StanzaCondition, StanzaError};

/// The stanza error that tells a client of a fault.
pub(crate) fn stanza_error(fault: Fault) -> StanzaError {
    let (condition, type_) = match fault.kind() {
        FaultKind::Conflict => (StanzaCondition::Conflict, ErrorType::Cancel),
        FaultKind::Deadline => (StanzaCondition::RemoteServerTimeout, ErrorType::Wait),
        FaultKind::Forbidden => (StanzaCondition::Forbidden, ErrorType::Auth),
        FaultKind::Internal => (StanzaCondition::InternalServerError, ErrorType::Cancel),
        FaultKind::NotFound => (StanzaCondition::ItemNotFound, ErrorType::Cancel),
        FaultKind::Overloaded => (StanzaCondition::ResourceConstraint, ErrorType::Wait),
        FaultKind::PeerMisbehaved => (StanzaCondition::BadRequest, ErrorType::Modify),
        FaultKind::Unauthenticated => (StanzaCondition::NotAuthorized, ErrorType::Auth),
        // RFC 6120 8.3.2 `wait`: the same stanza may be sent again.
        FaultKind::Unavailable => (StanzaCondition::ServiceUnavailable, ErrorType::Wait),
    };
    StanzaError::new(condition)
        .with_type(type_)
        .with_text(fault.text())
}

/// The stanza error by which a sender learns that an accepted stanza will not arrive.
pub(crate) fn failure_error(why: FailReason) -> StanzaError {
    match why {
        FailReason::Expired => StanzaError::new(StanzaCondition::RecipientUnavailable)
            .with_type(ErrorType::Cancel)
            .with_text("the recipient was not there for too long"),
        FailReason::MailboxFull => StanzaError::new(StanzaCondition::ResourceConstraint)
            .with_text("the recipient has too much waiting"),
        // RFC 6121 8.5.1: the same for unknown and for unwilling.
        FailReason::Undeliverable => StanzaError::new(StanzaCondition::ServiceUnavailable)
            .with_text("the stanza cannot be delivered"),
    }
}
