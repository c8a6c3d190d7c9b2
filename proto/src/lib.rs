//! The seams between services: one trait a service, with a local and a remote client.
//!
//! A caller holds a handle (`RouterClient`, `DirectoryClient`, `IdentityClient`) and cannot tell
//! whether the service runs in the same process or behind gRPC; one suite runs over both.
//!
//! Stanzas never travel by unary calls: a connection node and the owner of a shard share one
//! bidirectional stream of batches ([`edge`]). Unary calls are for what happens once a login or once
//! an enlistment.

pub mod directory;
pub mod edge;
pub mod identity;
pub mod inspect;
pub mod intake;
pub mod owners;
#[cfg(feature = "wire")]
pub mod wire;

pub use directory::{Directory, DirectoryClient};
pub use edge::{EdgeId, Router, RouterClient};
pub use identity::{Identity, IdentityClient};
pub use inspect::{Inspect, InspectClient};
pub use intake::{Intake, IntakeClient};
pub use owners::{Owners, OwnersClient};
