//! HTTP to parties outside: key sets, push endpoints and media of partners.
//!
//! In: a [`Request`] to a [`Target`] that a partner registered. Out: a small [`Response`], or a
//! typed reason. Partners choose the names, so the names are hostile: what a partner's DNS, server
//! or certificate does may cost one bounded request and reaches nothing inside.
//!
//! **Invariants**
//! - A connection is opened only to an address that was judged after resolution, and to that very
//!   address. One refused address refuses the whole host.
//! - `https` only, to listed ports, with verified certificates. Redirects are errors. The proxy
//!   variables of the environment are not read.
//! - A request costs at most its deadline and its `max_body`; nothing is decompressed.
//!
//! Whether to try again, and when, is the caller's to decide.

mod address;
mod client;
mod connect;
mod error;
mod message;
#[cfg(test)]
mod origin;
mod pool;
mod settings;
mod target;
#[cfg(any(test, feature = "test"))]
pub mod test;

pub use address::{Net, NetError};
pub use client::Client;
pub use error::EgressError;
pub use http::{HeaderName, HeaderValue, StatusCode};
pub use message::{Http, Method, Request, Response};
pub use settings::{MinimumTls, Policy, Settings, SettingsError};
pub use target::{Base, Target, TargetError};
