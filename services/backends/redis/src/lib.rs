//! The table of hints in Redis, shared by the nodes of a deployment: one server, or a Redis Cluster.
//!
//! In: a URL. Out: a `entente_table::Table`, with the feature `client`.
//!
//! Redis may be away, slow, wiped or failed over with loss: a call then ends within a stated time
//! with `Unavailable`, and what was lost costs its callers a detour. Nothing here waits for Redis to
//! come back, and a process starts without it.

#[cfg(feature = "client")]
mod connect;
#[cfg(feature = "client")]
mod function;
mod settings;
#[cfg(feature = "client")]
mod survey;
#[cfg(feature = "client")]
mod table;
mod url;

pub use settings::{Node, Settings, SettingsError};
#[cfg(feature = "client")]
pub use survey::{Finding, SurveyError};
#[cfg(feature = "client")]
pub use table::{OpenError, RedisTable};
