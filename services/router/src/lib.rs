//! The router: owns shards, takes stanzas to the log, and brings what the log holds to devices.
//!
//! In: sessions' stanzas and acknowledgements from connection nodes, calls of the identity service.
//! Out: records in the log, deliveries to sessions, wake-ups for push.
//!
//! One task owns one shard (`owner`); its stages are files: `admit`, `lane`, `append`, `apply`,
//! `deliver`, `settle`. Nothing is shared between shards but the log.
//!
//! **Invariants**
//! - A stanza is acknowledged from an `Appended` of the log and from nothing else.
//! - Everything that an owner causes goes through its own fold, fenced by its epoch.
//! - A session that lost its place gets nothing more, and what it still sends is ignored.
//! - An owner that cannot tell what became of a record of its own gives the shard up and claims it
//!   anew. One whose log has failed ends, and with it the process: only opening the log anew helps.

mod admit;
mod append;
mod apply;
mod config;
mod deliver;
mod directory;
mod edges;
mod error;
mod events;
mod health;
mod held;
mod inspect;
mod intake;
mod keep;
mod lane;
mod look;
mod owner;
mod reattach;
mod resume;
mod service;
mod settle;
mod sweep;
mod takeover;
mod twin;

pub use config::Config;
pub use error::RouterError;
pub use events::Events;
pub use health::Takes;
pub use service::{Built, Deps, Service, build};
