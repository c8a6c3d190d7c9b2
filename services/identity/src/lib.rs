//! Who a client is: partners, their tokens and keys, enlistment, login, prekeys.
//!
//! In: a token signed by a partner, an enlistment form, uploads and requests of prekeys. Out: facts
//! of an account, and calls to the directory, which holds what must not be lost. This service keeps
//! nothing durable itself: what it holds can be fetched or derived again.
//!
//! **Invariants**
//! - The partner is chosen by the connection or the enlistment door and the token is compared with
//!   its record, never the other way round.
//! - A key or signature that was not checked here reaches no directory.
//! - Neither logs, metrics nor faults carry an identifier, a token or a key.
//!
//! It does not decide who may write to whom, nor does it store accounts: the router does both.

mod bundles;
mod clock;
mod config;
mod devices;
mod enlist;
mod error;
mod events;
mod jwks;
mod partners;
mod service;
#[cfg(any(test, feature = "test"))]
pub mod test;
mod verify;

pub use clock::Clock;
pub use config::{Config, ConfigError, FastSettings, JwksSettings};
pub use enlist::{Enlist, PATH, Reason};
pub use jwks::Jwks;
pub use partners::{
    Algorithm, Kid, Kind, Partner, PartnersError, Quotas, Registry, State, TokenType,
};
pub use service::{BuildError, Built, Deps, build, check, reload};
