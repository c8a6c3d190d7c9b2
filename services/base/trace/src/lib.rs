//! Traces of sampled messages: who had the message, how long, and what came of it.
//!
//! In: stages of services. Out: finished spans on a bounded queue, which [`otlp`] (feature `otlp`)
//! sends to a collector. A service links the queue, not the exporter.
//!
//! **Invariants**
//! - Whether a message is sampled is decided once, where it enters ([`Tracer::root`]), before any id
//!   or attribute is made. One that is not sampled carries nothing.
//! - Ids are drawn here. Nothing that a client sent becomes part of one.
//! - What a span says is a closed set of words and a shard's number ([`Span`]): there is no field
//!   that could hold an address, a stanza id or an account.
//! - Nobody waits for a collector: a span that finds the queue full is counted and dropped.

#[cfg(feature = "otlp")]
pub mod otlp;
mod settings;
mod span;
mod tracer;

pub use settings::{Settings, SettingsError};
pub use span::{Outcome, Span, Stage};
pub use tracer::{Dropped, Open, Spans, Tracer};
