//! What an answer means for the wake-up and for the partner.
//!
//! **Invariants**
//! - A wake-up retires on a 2xx, on a 410, or when nobody is left to wake; everything else is tried
//!   again until the bounds of age and attempts.
//!
//! A 410 ends this wake-up and needs no memory: the fold emits no further one before the user has
//! been connected again, which shows that it is not gone.

use std::time::Duration;

use entente_egress::{EgressError, StatusCode};

use crate::backoff::Signal;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The directory did not say who the account is.
    DirectoryDown,
    /// No whole answer.
    Failed(EgressError),
    /// The partner is not active now.
    Inactive,
    /// The partner has no push door.
    NoEndpoint,
    /// The account is gone.
    NotEnlisted,
    /// An HTTP status, and after how long to come back.
    Status(StatusCode, Option<Duration>),
    /// The signing library refused.
    Unsigned,
}

/// Why a wake-up is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    Delivered,
    GivenUp,
    Gone,
    NoEndpoint,
    NotEnlisted,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not sent; look again soon, which counts as no attempt.
    Later,
    /// The partner gets nothing for a while.
    Pause,
    /// It is over.
    Retire(Reason),
    /// Send again, not before the time that the partner named.
    Retry(Option<Duration>),
}

/// Judges an answer.
pub(crate) fn judge(answer: Answer) -> (Verdict, Signal) {
    match answer {
        Answer::DirectoryDown | Answer::Unsigned => (Verdict::Later, Signal::Silent),
        Answer::Inactive => (Verdict::Pause, Signal::Silent),
        Answer::NoEndpoint => (Verdict::Retire(Reason::NoEndpoint), Signal::Silent),
        Answer::NotEnlisted => (Verdict::Retire(Reason::NotEnlisted), Signal::Silent),
        Answer::Failed(error) => (Verdict::Retry(None), failed(error)),
        Answer::Status(status, named) => match status.as_u16() {
            200..300 => (Verdict::Retire(Reason::Delivered), Signal::Well),
            410 => (Verdict::Retire(Reason::Gone), Signal::Well),
            429 | 502 | 503 | 504 => (Verdict::Retry(named), Signal::Slow(named)),
            _ => (Verdict::Retry(named), Signal::Failed),
        },
    }
}

const fn failed(error: EgressError) -> Signal {
    match error {
        // These say that the server or the way to it has a fault, whoever is to be woken.
        EgressError::AddressRefused
        | EgressError::Deadline
        | EgressError::NameUnknown
        | EgressError::TargetRefused
        | EgressError::Tls
        | EgressError::Unreachable => Signal::Slow(None),
        EgressError::BadRequest
        | EgressError::BodyTooLarge
        | EgressError::Encoded
        | EgressError::Protocol
        | EgressError::Redirected => Signal::Failed,
    }
}

impl Answer {
    /// The label that metrics carry.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::DirectoryDown => "directory_down",
            Self::Failed(error) => error.label(),
            Self::Inactive => "inactive",
            Self::NoEndpoint => "no_endpoint",
            Self::NotEnlisted => "not_enlisted",
            Self::Status(status, _) => match status.as_u16() {
                200..300 => "ok",
                401 | 403 => "denied",
                410 => "gone",
                429 => "too_many",
                400..500 => "refused",
                502..505 => "overloaded",
                _ => "failed",
            },
            Self::Unsigned => "unsigned",
        }
    }
}

impl Reason {
    /// The label that metrics carry.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
            Self::Gone => "gone",
            Self::NoEndpoint => "no_endpoint",
            Self::NotEnlisted => "not_enlisted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_and_gone_end_a_wake_up_by_its_status() {
        for code in 200..600 {
            let status = StatusCode::from_u16(code).unwrap();
            let (verdict, _) = judge(Answer::Status(status, None));
            let ends = matches!(verdict, Verdict::Retire(_));
            assert_eq!(ends, (200..300).contains(&code) || code == 410, "{code}");
        }
    }

    #[test]
    fn overload_slows_the_partner_and_a_bad_status_counts_against_the_user() {
        let named = Some(Duration::from_secs(9));
        for code in [429, 502, 503, 504] {
            let status = StatusCode::from_u16(code).unwrap();
            let judged = judge(Answer::Status(status, named));
            assert_eq!(judged, (Verdict::Retry(named), Signal::Slow(named)));
        }
        for code in [400, 401, 403, 404, 500, 501] {
            let status = StatusCode::from_u16(code).unwrap();
            let judged = judge(Answer::Status(status, None));
            assert_eq!(judged, (Verdict::Retry(None), Signal::Failed));
        }
    }
}
