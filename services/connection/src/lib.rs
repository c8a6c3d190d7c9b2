//! The XMPP door: accepts clients, proves who they are, and carries their stanzas to and from the
//! owners of the shards.
//!
//! In: sockets. Out: [`entente_proto::edge`] streams, one to each shard; questions to the identity
//! service. Stages, one file each: accept, secure, negotiate, session, drive.
//!
//! **Invariants**
//! - A sender learns that a stanza is handled only from the owner ([`entente_proto::edge`]).
//! - Nothing of an unauthenticated client is kept when its connection is gone.
//! - Memory of a connection has a ceiling: one stanza, the credit, bounded queues.
//!
//! It never stores a stanza, never decides who may write to whom, and never opens a message.

mod accept;
mod config;
mod domain;
mod drain;
mod drive;
mod error;
mod events;
mod fault;
mod links;
mod negotiate;
mod pace;
mod rebind;
mod revoke;
mod secure;
mod session;
mod stream;
mod websocket;
mod wire;

pub use accept::{Built, Deps, build, check};
pub use config::{Config, ConfigError, DeadlinesConfig, LimitsConfig, TlsConfig, WebSocketConfig};
pub use domain::DomainCertificate;
pub use drain::{Elsewhere, ElsewhereError};
pub use error::BuildError;
pub use pace::PacingConfig;
pub use secure::SecureError;

use entente_core::ByteSize;
use entente_stanza::Limits;

/// The parser's limits around a size of stanza.
fn limits_of(stanza: ByteSize) -> Limits {
    Limits::with_stanza_bytes(stanza.get())
}

#[cfg(test)]
mod tests;
