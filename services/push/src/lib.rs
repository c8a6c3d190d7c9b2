//! Wake-ups: tells a partner that something waits for one of its users who is not connected.
//!
//! In: the wake-up log, to which shard owners append. Out: `POST {push base}/push` with the user's
//! visible id and a token that the gateway signed, until the partner answers 2xx or the wake-up is
//! given up. The rooms: consume, coalesce, dispatch, backoff, retire; the desk runs them, and a
//! checkpoint keeps what a restart needs.
//!
//! **Invariants**
//! - At least once: a wake-up is in the log or in a row until a 2xx, a 410, or the bounds of age
//!   and attempts. All attempts of one carry one id.
//! - One user has one pending wake-up; its payload says who and nothing else.
//! - Partners do not share queues: one that hangs costs the others nothing.
//!
//! It does not decide who is to be woken: the fold does, once for each time that a user is away.

mod backoff;
mod checkpoint;
mod coalesce;
mod config;
mod consume;
mod desk;
mod dispatch;
mod error;
mod events;
mod retire;
mod service;
mod sign;

pub use config::{Config, ConfigError};
pub use dispatch::{Endpoint, Endpoints};
pub use error::BuildError;
pub use service::{Built, Deps, build};
pub use sign::{JWKS_PATH, KeyError, SigningKey};
