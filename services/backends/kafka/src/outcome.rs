//! What an error of librdkafka means for an append, and what else it calls for.

use entente_log::LogError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What a failed report says beside that the outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The producer can do nothing any more: another one takes its place.
    Fatal,
    /// It was purged, as its producer was replaced or the log closed.
    Purged,
    /// The cluster does not let this program do that. Retrying is for when a person has looked.
    Refused,
    /// Retried for as long as it was worth, with no answer.
    TimedOut,
    /// Anything else.
    Unclear,
}

/// Reads the error of a delivery report.
///
/// None of them says that nothing was appended. That the last attempt was refused says nothing of the
/// first, whose answer may have been lost on the way.
pub(crate) fn report(error: &KafkaError) -> Report {
    match error.rdkafka_error_code() {
        Some(code) if ends_the_producer(code) => Report::Fatal,
        Some(code) if is_refusal(code) => Report::Refused,
        Some(Code::MessageTimedOut | Code::RequestTimedOut) => Report::TimedOut,
        Some(Code::PurgeQueue | Code::PurgeInflight) => Report::Purged,
        _ => Report::Unclear,
    }
}

/// Whether an error leaves a producer that cannot go on: it was fenced, or what it knows of its own
/// sequence is not what the cluster knows.
pub(crate) const fn ends_the_producer(code: Code) -> bool {
    matches!(
        code,
        Code::Fatal
            | Code::Fenced
            | Code::GaplessGuarantee
            | Code::Inconsistent
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::OutOfOrderSequenceNumber
            | Code::ProducerFenced
            | Code::UnknownProducerId
    )
}

/// Whether an error is about what this program may do.
pub(crate) const fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::ClusterAuthorizationFailed
            | Code::InvalidRecord
            | Code::MessageSizeTooLarge
            | Code::PolicyViolation
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
    )
}

/// Why librdkafka took nothing of a record: it did not leave this process.
pub(crate) fn not_taken(error: &KafkaError) -> LogError {
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => LogError::Busy,
        Some(Code::MessageSizeTooLarge) => LogError::TooLarge,
        _ => LogError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_one_meaning() {
        let of = |code| report(&KafkaError::MessageProduction(code));
        assert_eq!(of(Code::UnknownProducerId), Report::Fatal);
        assert_eq!(of(Code::TopicAuthorizationFailed), Report::Refused);
        assert_eq!(of(Code::MessageTimedOut), Report::TimedOut);
        assert_eq!(of(Code::PurgeInflight), Report::Purged);
        assert_eq!(of(Code::NotLeaderForPartition), Report::Unclear);
        assert_eq!(report(&KafkaError::Canceled), Report::Unclear);
        let full = KafkaError::MessageProduction(Code::QueueFull);
        assert_eq!(not_taken(&full), LogError::Busy);
    }
}
