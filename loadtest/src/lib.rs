//! Load for a gateway that runs on its own core, and what it cost there.
//!
//! In: the program `entente`, started here in a fresh folder. Out: figures: CPU time and memory of
//! that process for each message, login and idle session, with the generator's own CPU time beside
//! them, so that a figure that the generator limited can be told.
//!
//! **Invariants**
//! - A message counts when its recipient has it and the sender's `h` covers it, not before.
//! - What is lost, doubled or out of order is counted and shown, never left out.

pub mod line;
pub mod machine;
pub mod node;
pub mod report;
pub mod scenario;
pub mod users;
