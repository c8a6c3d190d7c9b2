//! Identifiers. Each is a plain number with a meaning; parsing is strict and happens at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of a partner (or of the host's own partner record), 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartnerId(u16);

impl PartnerId {
    /// Accepts 1 to 65535; 0 is no partner.
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The number as it stands in an internal id.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PartnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An enlisted account: the internal id `<partner>-<number>`, without any domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId {
    partner: PartnerId,
    number: u64,
}

impl AccountId {
    /// Joins a partner and a number that the gateway drew for one of its users.
    pub const fn new(partner: PartnerId, number: u64) -> Self {
        Self { partner, number }
    }

    /// The partner to which the account belongs.
    pub const fn partner(self) -> PartnerId {
        self.partner
    }

    /// The number within the partner.
    pub const fn number(self) -> u64 {
        self.number
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partner.0, self.number)
    }
}

impl FromStr for AccountId {
    type Err = IdError;

    /// Accepts only the canonical form: ASCII digits, no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (partner, number) = text.split_once('-').ok_or(IdError)?;
        let partner = canonical(partner)?;
        let partner = u16::try_from(partner).map_err(|_| IdError)?;
        let partner = PartnerId::new(partner).ok_or(IdError)?;
        Ok(Self::new(partner, canonical(number)?))
    }
}

fn canonical(digits: &str) -> Result<u64, IdError> {
    let plain = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    if plain {
        digits.parse().map_err(|_| IdError)
    } else {
        Err(IdError)
    }
}

/// The text is not an internal id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an internal id")]
pub struct IdError;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(u64);

        impl $name {
            /// Wraps the plain number.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The plain number.
            pub const fn value(self) -> u64 {
                self.0
            }

            /// The one that follows.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

counters! {
    /// The place of a record in its partition. Later records have higher offsets; there may be holes.
    Offset,
    /// A fencing number: what holds a higher epoch has replaced what holds a lower one.
    Epoch,
    /// The place of a stanza in a device's mailbox, given by the fold. The first is 1.
    Sequence,
    /// The count of stanzas of one session in one direction, as XEP-0198 counts them but in 64 bits.
    Position,
    /// A dense counter of outputs from one shard to another. The first is 1.
    Counter,
    /// A session of one device. Drawn at random by the edge; a session is not a connection.
    SessionId,
}

/// One partition of the input log, and the state folded from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(u32);

impl ShardId {
    /// Wraps a partition number.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The partition number.
    pub const fn index(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids_have_one_spelling() {
        let id: AccountId = "1-10853634039893".parse().unwrap();
        assert_eq!(id.to_string(), "1-10853634039893");
        for bad in [
            "", "1", "1-", "-1", "0-1", "01-1", "1-01", "1--1", "+1-1", "1-+1", "65536-1", "1-1 ",
            "１-1",
        ] {
            assert_eq!(bad.parse::<AccountId>(), Err(IdError), "{bad}");
        }
    }
}
