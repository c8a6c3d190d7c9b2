//! How the processes of a deployment find, reach and trust each other.
//!
//! In: who serves which role at which address, and a certificate that names this node. Out: gRPC
//! channels to roles and nodes, a gRPC server that knows who calls, and what is known of the health
//! of the others.
//!
//! **Invariants**
//! - Every connection is TLS 1.3 with a certificate on both sides, signed by the deployment's own
//!   authority, and each names its bearer as `entente://DEPLOYMENT/ROLE/NODE`.
//! - Who calls what is decided by that name and by nothing that a caller writes.
//! - A connection made after certificate files changed uses the new ones. Nothing is resumed from
//!   an earlier handshake.
//! - No wait is without a bound: dialling, handshakes, probes.
//!
//! What travels on the channels is not known here; the services' messages are `entente-proto`'s.

mod access;
mod authority;
mod credentials;
mod dial;
mod events;
mod listen;
mod membership;
mod mesh;
mod name;
mod peers;
mod verify;

pub use access::Access;
pub use authority::{Authority, Issued, Life};
pub use credentials::{CredentialFiles, Credentials, CredentialsError};
pub use dial::DialError;
pub use events::Events;
pub use listen::{MeshStream, Peer};
pub use membership::{Address, AddressError, Dns, Fixed, Membership, Node, Solo};
pub use mesh::{Mesh, Served, Target};
pub use name::{NameError, NodeName, Role, RoleError};
pub use peers::{Reach, reach};
pub use verify::Refused;
