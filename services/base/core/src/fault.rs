//! What went wrong, by who is to blame and what the caller may do about it.

use std::fmt;

/// The kind of a fault. One table each turns it into a stanza error, a gRPC code, an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum FaultKind {
    /// The state of the thing addressed does not allow it, or another one was first.
    Conflict,
    /// It took longer than the caller allowed; whether it happened is unknown.
    Deadline,
    /// The caller is known and may not do this.
    Forbidden,
    /// A bug or a broken invariant of ours.
    Internal,
    /// The thing addressed does not exist, as far as the caller may know.
    NotFound,
    /// A budget is used up; later is better.
    Overloaded,
    /// The caller sent what no honest caller sends.
    PeerMisbehaved,
    /// The caller has not shown who it is.
    Unauthenticated,
    /// A part that is needed does not answer; retrying with the same id is safe.
    Unavailable,
}

impl FaultKind {
    /// The label that metrics carry.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Deadline => "deadline",
            Self::Forbidden => "forbidden",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::Overloaded => "overloaded",
            Self::PeerMisbehaved => "peer_misbehaved",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A fault as it crosses a service seam: its kind and a fixed text without any identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    kind: FaultKind,
    text: &'static str,
}

impl Fault {
    /// The text is a constant of the program, so it cannot carry an identifier of a user.
    pub const fn new(kind: FaultKind, text: &'static str) -> Self {
        Self { kind, text }
    }

    /// Who is to blame, and whether to retry.
    pub const fn kind(self) -> FaultKind {
        self.kind
    }

    /// What to tell a person.
    pub const fn text(self) -> &'static str {
        self.text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl std::error::Error for Fault {}
