//! Why the identity service refuses, and what of it a caller is told.
//!
//! **Invariants**
//! - Whatever is wrong with an account or its proof, a login is refused in the same words.
//! - A peer that is unknown, has blocked the requester or belongs to a stopped partner is not found.

use entente_core::{Fault, FaultKind};
use entente_table::TableError;

use crate::verify::TokenError;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A key or signature of an upload is bad, or an id stands twice.
    #[error("a key or signature is not valid")]
    BadKeys,
    /// A stored bundle does not hold what was checked when it was stored.
    #[error("a stored key does not verify")]
    BadBundle,
    /// The table of budgets does not answer, so nobody may go on.
    #[error("budget cannot be read")]
    BudgetUnknown,
    /// The budget is used up.
    #[error("budget is used up")]
    BudgetUsed,
    /// The login does not show who it is.
    #[error("login refused")]
    Denied(Denial),
    /// The directory refused or failed.
    #[error(transparent)]
    Directory(#[from] Fault),
    /// The partner's keys cannot be had now.
    #[error("keys of the partner are not available")]
    KeysUnavailable,
    /// There is no such account, as far as the caller may know.
    #[error("no such account")]
    NoAccount,
    /// The partner may not connect now.
    #[error("partner is not active")]
    NotActive,
    /// More keys than one upload may bring.
    #[error("too many keys at once")]
    TooManyKeys,
}

/// What exactly a login lacked; for the operator's counters, never for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// No such account.
    Account,
    /// The token is bound to another transport key.
    Binding,
    /// The FAST proof fits no secret that is good now.
    Fast,
    /// No such partner.
    Partner,
    /// The token is of another user of the partner.
    Subject,
    /// The token does not verify.
    Token(TokenError),
}

impl Error {
    /// Who is to blame, and whether to retry.
    pub(crate) const fn kind(self) -> FaultKind {
        match self {
            Self::BadBundle => FaultKind::Internal,
            Self::BadKeys => FaultKind::PeerMisbehaved,
            Self::BudgetUnknown | Self::BudgetUsed | Self::TooManyKeys => FaultKind::Overloaded,
            Self::Denied(_) => FaultKind::Unauthenticated,
            Self::Directory(fault) => fault.kind(),
            Self::KeysUnavailable => FaultKind::Unavailable,
            Self::NoAccount => FaultKind::NotFound,
            Self::NotActive => FaultKind::Forbidden,
        }
    }

    /// The label that metrics carry.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::BadBundle => "bad_bundle",
            Self::BadKeys => "bad_keys",
            Self::BudgetUnknown => "budget_unknown",
            Self::BudgetUsed => "budget_used",
            Self::Denied(denial) => denial.label(),
            Self::Directory(fault) => fault.kind().label(),
            Self::KeysUnavailable => "keys_unavailable",
            Self::NoAccount => "no_account",
            Self::NotActive => "not_active",
            Self::TooManyKeys => "too_many_keys",
        }
    }
}

impl Denial {
    const fn label(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Binding => "binding",
            Self::Fast => "fast",
            Self::Partner => "partner",
            Self::Subject => "subject",
            Self::Token(error) => error.label(),
        }
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::KeysUnavailable => Self::KeysUnavailable,
            other => Self::Denied(Denial::Token(other)),
        }
    }
}

impl From<TableError> for Error {
    fn from(_: TableError) -> Self {
        Self::BudgetUnknown
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text = match error {
            Error::BadBundle => "a stored key does not verify",
            Error::BadKeys => "a key or signature is not valid",
            Error::BudgetUnknown | Error::BudgetUsed => "too many requests",
            Error::Denied(_) => "login refused",
            Error::Directory(fault) => return fault,
            Error::KeysUnavailable => "keys of the partner are not available",
            Error::NoAccount => "no such account",
            Error::NotActive => "partner is not active",
            Error::TooManyKeys => "too many keys at once",
        };
        Self::new(error.kind(), text)
    }
}
