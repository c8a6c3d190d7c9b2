//! `entente-loadtest`: load for this gateway and for any XMPP server, and what became of it.
//!
//! In: a scenario. Out: a result with counts, latencies, costs and verdicts. The engine
//! (`entente-engine`) makes the load; here a server is started if one is wanted, users enlist, stages
//! follow each other, processes are watched, and the result is written.
//!
//! **Invariants**
//! - A message counts when its recipient has it and the sender's `h` covers it, not before.
//! - What is lost, doubled or out of order is counted and shown, never left out.
//! - A run that says nothing about the server says so, and exits with a status of its own.

pub mod cli;
pub mod cluster;
pub mod conduct;
pub mod ground;
pub mod line;
pub mod machine;
pub mod node;
pub mod outcome;
pub mod report;
pub mod scenario;
pub mod signal;
pub mod users;
pub mod view;
