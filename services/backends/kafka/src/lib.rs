//! The log of a cluster: Apache Kafka behind the port `entente_log::Log`.
//!
//! In: batches for a partition of one topic. Out: an `Appended` when every record of a batch is on all
//! replicas that are in sync, and the records in order, each checked against its seal.
//!
//! **Invariants**
//! - A batch is acknowledged from the delivery reports of all its records and from nothing else. Every
//!   other report is an unknown outcome: an attempt whose answer was lost may have been stored.
//! - A record may be stored more than once, acknowledged or not: with too few copies in sync a broker
//!   stores what it does not acknowledge, and a batch that timed out makes librdkafka begin a new sequence
//!   and send the others again. By the first sight of each, the order is that of the appends.
//! - What waits for brokers is bounded in bytes. What does not fit is refused before anything of it is
//!   sent.
//! - A record that another deployment, cluster, topic or partition sealed, or nobody, is not handed
//!   out. It is counted, and the records behind it are.
//! - A topic whose settings could lose records is refused at the start, with each setting named.
//! - Topics that another deployment has marked as its own are not used.
//!
//! Kafka syncs to disk when it likes. That an acknowledged record is not lost rests on
//! `min.insync.replicas` machines that do not fail in the same moment.

#[cfg(feature = "client")]
mod admin;
#[cfg(feature = "client")]
mod assign;
#[cfg(feature = "client")]
mod batch;
#[cfg(feature = "client")]
mod claim;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod cursor;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod group;
#[cfg(feature = "client")]
mod log;
#[cfg(feature = "client")]
mod outcome;
#[cfg(feature = "client")]
mod producer;
mod routing;
mod settings;
#[cfg(feature = "client")]
mod shared;
#[cfg(feature = "client")]
mod survey;
mod topic;
mod url;
#[cfg(feature = "client")]
mod watch;

#[cfg(feature = "client")]
pub use claim::claim;
#[cfg(feature = "client")]
pub use error::OpenError;
#[cfg(feature = "client")]
pub use group::{Assigned, Group};
#[cfg(feature = "client")]
pub use log::KafkaLog;
pub use routing::{Misrouted, Routing};
pub use settings::{Broker, Compression, Identity, Mechanism, Sasl, Settings, SettingsError, Tls};
#[cfg(feature = "client")]
pub use shared::Counts;
#[cfg(feature = "client")]
pub use survey::{Finding, survey};
pub use topic::{Difference, Differences, TopicRules};
