//! Load for any XMPP server: scenarios, clients and arrivals.
//!
//! In: a scenario (who writes what to whom, when, and how one gets in) and accounts. Out: what was
//! sent, accepted, delivered, lost, doubled, late, with latencies from the moment at which each thing
//! was due. It judges nothing and writes no files: the program does.
//!
//! **Invariants**
//! - In an open loop, arrivals are made whatever the server does, and latency counts from when they
//!   were due: a server that stalls cannot hide it.
//! - Every message is accounted for: delivered, refused, lost or unknown.
//! - Bytes from the server under test are hostile until they are framed; nothing here panics on them.

pub mod account;
mod arrivals;
mod calls;
pub mod control;
mod device;
pub mod engine;
pub mod limits;
pub mod login;
pub mod payload;
mod plan;
pub mod scenario;
pub mod seal;
pub mod tally;
pub mod wire;
mod worker;
pub mod xml;
