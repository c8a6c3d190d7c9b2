//! The port for hints: values with an end of life that any node may read, and rate buckets.
//!
//! In: small keys and values. Out: what is probably there. The cluster's table may be wiped at any
//! moment, so nothing that a promise rests on is kept here; a wipe costs a detour, never a message.
//!
//! **Invariants**
//! - `insert_if_absent` answers `true` to one caller per key and life of the entry, as long as the
//!   table is not wiped.
//! - What cannot be stored is an error, never a silent success: replay guards fail closed.
//! - A value is not returned after its end of life.

#[cfg(any(test, feature = "test"))]
pub mod conformance;
mod memory;
mod rate;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::FaultKind;

pub use memory::{DEFAULT_MAX_ENTRIES, MemoryTable};
pub use rate::{Rate, Taken};

/// Longest key, in bytes: a prefix word and a digest or an internal id fit, a hostile string does not.
pub const MAX_KEY_BYTES: usize = 128;

/// Longest value, in bytes: a hint is an address or a counter, not a document.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Hints shared by the nodes of a deployment. Lossy by contract.
#[async_trait]
pub trait Table: Send + Sync {
    /// Stores the value unless the key has a live one; says whether it stored.
    ///
    /// An error leaves open whether it is stored. Callers that guard against replay refuse then.
    async fn insert_if_absent(
        &self,
        key: &Key,
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, TableError>;

    /// Returns the live value of the key.
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, TableError>;

    /// Stores the value, whatever was there.
    async fn put(&self, key: &Key, value: Bytes, ttl: Duration) -> Result<(), TableError>;

    /// Forgets the key; says whether it had a live value.
    async fn remove(&self, key: &Key) -> Result<bool, TableError>;

    /// Takes one token from the bucket of the key, which is full when it is first seen.
    ///
    /// Buckets and values do not share a key: what happens when they do is not specified.
    async fn take(&self, key: &Key, rate: Rate) -> Result<Taken, TableError>;
}

/// The name of an entry: 1 to [`MAX_KEY_BYTES`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// Takes the bytes in.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, TableError> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > MAX_KEY_BYTES {
            return Err(TableError::BadKey);
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Keys name users: only their length is shown.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

/// Why the table did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The key is empty or too long.
    #[error("table keys have 1 to {MAX_KEY_BYTES} bytes")]
    BadKey,
    /// The value is too long.
    #[error("table values have at most {MAX_VALUE_BYTES} bytes")]
    BadValue,
    /// It is full or does not answer; whether it did it is unknown.
    #[error("the table of hints is not available")]
    Unavailable,
}

impl TableError {
    /// Who is to blame, and whether to retry.
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::BadKey | Self::BadValue => FaultKind::Internal,
            Self::Unavailable => FaultKind::Unavailable,
        }
    }
}

/// Refuses values that no hint needs. Implementations call it before they store.
///
/// # Errors
/// When the value is too long.
pub fn check_value(value: &Bytes) -> Result<(), TableError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(TableError::BadValue);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_and_not_printed() {
        assert_eq!(Key::new(""), Err(TableError::BadKey));
        assert_eq!(
            Key::new(vec![b'a'; MAX_KEY_BYTES + 1]),
            Err(TableError::BadKey)
        );
        let key = Key::new(vec![b'a'; MAX_KEY_BYTES]).unwrap();
        assert_eq!(key.as_bytes().len(), MAX_KEY_BYTES);
        assert_eq!(format!("{key:?}"), "Key(128 bytes)");
    }
}
