//! A fleet that is larger than any machine here: what its size does to ownership and to storms of
//! reconnects, as a simulation of discrete events.
//!
//! In: the sizes of a fleet, a seed, measured unit costs. Out: how long shards have no owner and sessions no
//! connection, what each kind of process has to do meanwhile, and what is full first.
//!
//! **Invariants**
//! - The same seed, fleet and costs give the same events and the same figures.
//! - A session is where it was, or comes back once, or is counted as lost; never two of these.
//! - Nothing is simulated that the gateway does not do: pauses, limits and who asks whom are its own.
//!
//! It does not simulate messages: what those cost grows with their number and not with that of the nodes, which
//! is what `ops/capacity/calculator` works out.

mod costs;
mod death;
mod figures;
mod fleet;
mod group;
mod places;
mod queue;
mod standing;
mod station;
mod storm;
mod survey;

pub use costs::{Costs, CostsError};
pub use death::Death;
pub use figures::{Figures, Load, Wall, table};
pub use fleet::{Fleet, FleetError};
pub use group::Rebalance;
pub use standing::Standing;
pub use station::Station;
pub use storm::{Pace, Storm};

/// Time since a simulation began, in microseconds.
pub type Micros = u64;

/// A second.
pub const SECOND: Micros = 1_000_000;
/// A millisecond.
pub const MILLI: Micros = 1_000;
