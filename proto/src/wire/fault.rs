//! Faults as gRPC status and back.
//!
//! A fault's text is a constant of the program that made it. It crosses as text, and is taken only
//! when it is one of [`TEXTS`]; any other becomes the constant of its kind, so a peer of another
//! version, or one that misbehaves, cannot put words of its own in front of a user.
//!
//! A status that carries no mark of ours was made by the transport: the outcome is unknown, which is
//! `Unavailable`, unless it is known to be a deadline or a limit.

use entente_core::{Fault, FaultKind};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::wire::generated as proto;

/// The header that tells a fault of ours from what the transport says.
const MARK: &str = "entente-fault";

pub(super) const LATE: Fault = Fault::new(FaultKind::Deadline, "the answer took too long");
pub(super) const LOST: Fault = Fault::new(FaultKind::Unavailable, "the service cannot be reached");
pub(super) const NOT_TAKEN: Fault = Fault::new(FaultKind::Unavailable, "the owner does not answer");
pub(super) const BAD_REQUEST: Fault =
    Fault::new(FaultKind::PeerMisbehaved, "the message is malformed");
pub(super) const BAD_ANSWER: Fault = Fault::new(FaultKind::Internal, "the answer is malformed");
pub(super) const TOO_LARGE: Fault =
    Fault::new(FaultKind::Internal, "the message is larger than any may be");
pub(super) const BAD_SEAL: Fault =
    Fault::new(FaultKind::Unauthenticated, "envelope seal does not match");
pub(super) const NO_CREDIT: Fault = Fault::new(
    FaultKind::PeerMisbehaved,
    "the stream's credit was overdrawn",
);
pub(super) const REPLACED: Fault =
    Fault::new(FaultKind::Conflict, "the edge opened the stream anew");
pub(super) const ENDING: Fault = Fault::new(FaultKind::Unavailable, "the service is ending");
pub(super) const TOO_MANY: Fault = Fault::new(FaultKind::Overloaded, "too many streams are open");

/// Texts that cross. All are constants of services of this version; none holds an identifier.
const TEXTS: &[&str] = &[
    "the answer is malformed",
    "the answer took too long",
    "the edge opened the stream anew",
    "the owner does not answer",
    "the message is larger than any may be",
    "the message is malformed",
    "the service is ending",
    "the stream's credit was overdrawn",
    "too many streams are open",
    "envelope seal does not match",
    // Router and shard.
    "no such stanza is within the dedupe window",
    "the account is not enlisted",
    "the block list is full",
    "the fold gave another answer than asked",
    "the gateway cannot store anything now",
    "the gateway cannot store this now",
    "the number is taken: draw another",
    "the log never takes this",
    "the owner of the account is not available",
    "the shard has another owner",
    "the shard is being taken over",
    "there is no such shard",
    "too many one-time keys wait",
    // Identity.
    "a key or signature is not valid",
    "a stored key does not verify",
    "keys of the partner are not available",
    "login refused",
    "no such account",
    "partner is not active",
    "too many keys at once",
    "too many requests",
];

/// The text of a kind whose own text is not known.
pub(super) const fn text_of(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Conflict => "another one was first",
        FaultKind::Deadline => "it took too long",
        FaultKind::Forbidden => "not allowed",
        FaultKind::Internal => "an internal fault",
        FaultKind::NotFound => "not found",
        FaultKind::Overloaded => "too much at once",
        FaultKind::PeerMisbehaved => "not acceptable",
        FaultKind::Unauthenticated => "not authenticated",
        FaultKind::Unavailable => "not available now",
    }
}

/// A fault of this kind with the text if it is known, or else the kind's own.
fn known(kind: FaultKind, text: &str) -> Fault {
    let known = TEXTS.iter().copied().find(|known| *known == text);
    Fault::new(kind, known.unwrap_or_else(|| text_of(kind)))
}

/// The status that carries a fault.
pub(super) fn status_of(fault: Fault) -> Status {
    let mut status = Status::new(code_of(fault.kind()), fault.text());
    let mark = MetadataValue::from_static(fault.kind().label());
    status.metadata_mut().insert(MARK, mark);
    status
}

/// The fault that a status carries, or what the transport's own status comes to.
pub(super) fn fault_of(status: &Status) -> Fault {
    let mark = status.metadata().get(MARK);
    let marked = mark.and_then(|mark| {
        let label = mark.to_str().ok()?;
        KINDS.iter().copied().find(|kind| kind.label() == label)
    });
    if let Some(kind) = marked {
        return known(kind, status.message());
    }
    if mark.is_some() {
        // A later version's kind: its code still says the nearest one.
        return match kind_of(status.code()) {
            Some(kind) => known(kind, status.message()),
            None => Fault::new(FaultKind::Internal, text_of(FaultKind::Internal)),
        };
    }
    match status.code() {
        // Cancelled is what a client that timed out makes of it.
        Code::Cancelled | Code::DeadlineExceeded => LATE,
        Code::OutOfRange => TOO_LARGE,
        _ => LOST,
    }
}

/// The fault that the service itself told; none if the transport speaks.
pub(super) fn said_of(status: &Status) -> Option<Fault> {
    let is_marked = status.metadata().contains_key(MARK);
    is_marked.then(|| fault_of(status))
}

const KINDS: [FaultKind; 9] = [
    FaultKind::Conflict,
    FaultKind::Deadline,
    FaultKind::Forbidden,
    FaultKind::Internal,
    FaultKind::NotFound,
    FaultKind::Overloaded,
    FaultKind::PeerMisbehaved,
    FaultKind::Unauthenticated,
    FaultKind::Unavailable,
];

const fn code_of(kind: FaultKind) -> Code {
    match kind {
        FaultKind::Conflict => Code::Aborted,
        FaultKind::Deadline => Code::DeadlineExceeded,
        FaultKind::Forbidden => Code::PermissionDenied,
        FaultKind::Internal => Code::Internal,
        FaultKind::NotFound => Code::NotFound,
        FaultKind::Overloaded => Code::ResourceExhausted,
        FaultKind::PeerMisbehaved => Code::InvalidArgument,
        FaultKind::Unauthenticated => Code::Unauthenticated,
        FaultKind::Unavailable => Code::Unavailable,
    }
}

fn kind_of(code: Code) -> Option<FaultKind> {
    KINDS.iter().copied().find(|kind| code_of(*kind) == code)
}

pub(super) fn write(fault: Fault) -> proto::Fault {
    let kind = match fault.kind() {
        FaultKind::Conflict => proto::FaultKind::Conflict,
        FaultKind::Deadline => proto::FaultKind::Deadline,
        FaultKind::Forbidden => proto::FaultKind::Forbidden,
        FaultKind::Internal => proto::FaultKind::Internal,
        FaultKind::NotFound => proto::FaultKind::NotFound,
        FaultKind::Overloaded => proto::FaultKind::Overloaded,
        FaultKind::PeerMisbehaved => proto::FaultKind::PeerMisbehaved,
        FaultKind::Unauthenticated => proto::FaultKind::Unauthenticated,
        FaultKind::Unavailable => proto::FaultKind::Unavailable,
    };
    proto::Fault {
        kind: kind.into(),
        text: fault.text().to_owned(),
    }
}

pub(super) fn read(fault: &proto::Fault) -> Fault {
    let kind = match fault.kind() {
        proto::FaultKind::Conflict => FaultKind::Conflict,
        proto::FaultKind::Deadline => FaultKind::Deadline,
        proto::FaultKind::Forbidden => FaultKind::Forbidden,
        proto::FaultKind::Internal | proto::FaultKind::Unspecified => FaultKind::Internal,
        proto::FaultKind::NotFound => FaultKind::NotFound,
        proto::FaultKind::Overloaded => FaultKind::Overloaded,
        proto::FaultKind::PeerMisbehaved => FaultKind::PeerMisbehaved,
        proto::FaultKind::Unauthenticated => FaultKind::Unauthenticated,
        proto::FaultKind::Unavailable => FaultKind::Unavailable,
    };
    known(kind, &fault.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_as_status_and_as_message() {
        for kind in KINDS {
            let fault = Fault::new(kind, "the block list is full");
            assert_eq!(fault_of(&status_of(fault)), fault);
            assert_eq!(read(&write(fault)), fault);
        }
    }

    #[test]
    fn words_of_a_peer_are_not_repeated() {
        let status = status_of(Fault::new(FaultKind::NotFound, "call 555-0100 to win"));
        let fault = fault_of(&status);
        assert_eq!(fault.kind(), FaultKind::NotFound);
        assert_eq!(fault.text(), text_of(FaultKind::NotFound));
    }

    #[test]
    fn what_the_transport_says_is_not_the_service_speaking() {
        let cases = [
            (Code::Internal, FaultKind::Unavailable),
            (Code::NotFound, FaultKind::Unavailable),
            (Code::Unknown, FaultKind::Unavailable),
            (Code::Unimplemented, FaultKind::Unavailable),
            (Code::DeadlineExceeded, FaultKind::Deadline),
            (Code::Cancelled, FaultKind::Deadline),
            (Code::OutOfRange, FaultKind::Internal),
        ];
        for (code, kind) in cases {
            let fault = fault_of(&Status::new(code, "anything"));
            assert_eq!(fault.kind(), kind, "{code}");
        }
    }

    #[test]
    fn a_kind_of_a_later_version_falls_back_to_its_code() {
        let mut status = Status::new(Code::ResourceExhausted, "new words");
        status
            .metadata_mut()
            .insert(MARK, MetadataValue::from_static("weary"));
        assert_eq!(fault_of(&status).kind(), FaultKind::Overloaded);
    }
}
