//! The port to durable order: partitions of records, appended once and read from any offset.
//!
//! In: batches of opaque payloads. Out: an [`Appended`] when a batch is durable, and the records in
//! order. What is in here is the port itself ([`Log`]), a cursor over it ([`Tail`]), and the two
//! embedded implementations: [`MemoryLog`] and [`SegmentLog`]. The cluster's log is a backend.
//!
//! **Invariants**
//! - A sender is acknowledged from an [`Appended`] and from nothing else, so an ack means durable.
//! - Records of a partition have rising offsets; a reader tolerates holes and repeated payloads.
//! - A log that cannot promise durability refuses: it never accepts and hopes.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod memory;
mod port;
pub mod segment;
mod tail;

pub use error::LogError;
pub use memory::{Faults, MemoryLog};
pub use port::{Append, Appended, Health, Log, Record};
pub use segment::{Fsync, OpenError, Recovered, SegmentConfig, SegmentLog};
pub use tail::Tail;
