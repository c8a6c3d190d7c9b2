//! A scripted partner, a directory in memory and enlistment forms, for tests that stand on identity.

mod directory;
mod form;
mod issuer;

pub use directory::MemoryDirectory;
pub use form::{Client, body};
pub use issuer::{Claims, Issuer};
