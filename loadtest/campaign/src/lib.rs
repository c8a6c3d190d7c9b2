//! Campaigns: load while a process, its machine, its network and its clients fail, again and again; then
//! everything heals, drains, and its history is checked.
//!
//! In: a [`Campaign`] file, accounts, a process that serves them or a cluster of processes. Out: a [`Report`] with the verdict on
//! every message. The program lays the ground and says where things go.
//!
//! **Invariants**
//! - A file and a seed give the same faults, in the same order and at the same places of their rounds.
//! - Each fault is in the history from before its first effect until the process is well again.
//! - Every campaign ends: rounds, drain and close have limits, and whatever a fault left is mended.
//! - Held means that enough happened: a campaign that misses one of its minimums proves nothing.

mod between;
mod cluster;
mod conduct;
mod faults;
mod field;
mod file;
mod links;
mod parting;
mod preload;
mod proxy;
mod report;
mod schedule;

pub use between::Between;
pub use cluster::{Act, Cluster, Role};
pub use conduct::{Order, Tools, run};
pub use faults::{Cuts, Delays, Faults, Kills, Members, Shifts, Stops, Turn, Zombies};
pub use file::{Campaign, Source};
pub use links::Links;
pub use parting::{Pair, Ways};
pub use preload::Preload;
pub use proxy::Proxy;
pub use report::Report;
pub use schedule::{Deed, Round, Strike, schedule};
