//! What tests, the demonstration and the load test stand on: an XMPP client that keeps its word
//! about XEP-0198, a stand-in partner, and the gateway as a process that can be killed.
//!
//! Everything is real on the wire; nothing in here reaches into the gateway.

pub mod client;
pub mod cluster;
pub mod device;
pub mod enlist;
pub mod http;
pub mod keys;
pub mod partner;
pub mod process;
pub mod signing;
pub mod trust;
