//! Why a log in a cluster does not open.

use std::io;

use entente_log::LogError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::topic::Differences;

/// Why a log does not open. Names brokers' answers, topics and files, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// librdkafka does not take the settings, or a broker refused a request.
    #[error("{0}")]
    Client(#[from] KafkaError),
    /// The topic is not there and cannot be made.
    #[error("topic {topic} cannot be made: {code}")]
    Create {
        /// Its name.
        topic: String,
        /// What the cluster answered.
        code: RDKafkaErrorCode,
    },
    /// The topic is there, and a log on it could lose records.
    #[error("topic {topic} is not fit for a log: {differences}")]
    Differs {
        /// Its name.
        topic: String,
        /// Everything that is wrong.
        differences: Differences,
    },
    /// Where a partition ends cannot be found out.
    #[error("the end of a partition of topic {topic} is not found: {source}")]
    End {
        /// Its name.
        topic: String,
        /// Why.
        source: LogError,
    },
    /// A file of a secret cannot be read.
    #[error("{file}: {source}")]
    Secret {
        /// The file.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another deployment has its records under this prefix.
    #[error(
        "the topics {prefix}.… are another deployment's, which has marked them by the topic {mark}: \
         take another prefix, or remove that topic if the deployment is gone"
    )]
    Taken {
        /// What the names of the topics begin with.
        prefix: String,
        /// The topic that is its mark.
        mark: String,
    },
    /// A thread cannot be started.
    #[error("a thread of the log does not start: {0}")]
    Thread(io::Error),
    /// The cluster does not tell of the topic.
    #[error("topic {topic} cannot be looked at: {source}")]
    Look {
        /// Its name.
        topic: String,
        /// Why.
        source: KafkaError,
    },
    /// No broker answers, or none lets this program in.
    #[error("none of the brokers {brokers} answers: {reason}")]
    Unreachable {
        /// Those that were asked.
        brokers: String,
        /// What librdkafka says of the first of its connections.
        reason: String,
    },
}
