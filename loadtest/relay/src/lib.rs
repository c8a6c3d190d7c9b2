//! A TLS relay: what TLS, system calls and the runtime cost alone.
//!
//! In: clients over TLS 1.3 from the first byte, that log in with SASL PLAIN, bind, turn XEP-0198
//! on and send messages. Out: each message on the connection of the user in its `to`, with the
//! sender in `from`; an answer to every `<r/>`. It is the floor under the figures of real servers.
//!
//! **Invariants**
//! - Messages between two users keep their order; none is dropped while both are connected.
//! - Every queue is bounded: whoever sends to a user who does not read waits.
//! - Of a stanza nothing is read but its start tag, once the framer has found its end.
//!
//! It is no server: anybody is let in under any name, a user has one connection that counts, the
//! last, and an acknowledgement says that a stanza was taken, not that it was written down.

mod hub;
mod session;
mod tag;
mod tls;

pub use hub::{Options, Relay};
pub use tls::{Authority, load};
