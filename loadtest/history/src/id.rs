//! The short names that events use: devices, messages, digests of bodies.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The number of a device of the run; a [`DeviceIs`](crate::DeviceIs) event says who it is.
pub type Device = u32;

/// The stanza id of a message. Unique per sender device.
///
/// Text and value are in one-to-one relation, so an id read back equals the id written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// An id that somebody else chose.
    Foreign(Box<str>),
    /// The `n`th message of a sender of ours, written `sender.n`.
    Own {
        /// The device that sent it.
        sender: Device,
        /// Counts its messages; the seed and these two give the body.
        n: u64,
    },
}

/// The first eight bytes of the SHA-256 of a body, big-endian: 16 hexadecimal digits as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u64);

impl Id {
    /// An id of our own traffic.
    pub const fn own(sender: Device, n: u64) -> Self {
        Self::Own { sender, n }
    }

    /// Reads an id from a stanza. Whatever is not exactly as we write ours is foreign.
    pub fn parse(text: &str) -> Self {
        match Self::parse_own(text) {
            Some((sender, n)) => Self::Own { sender, n },
            None => Self::Foreign(text.into()),
        }
    }

    fn parse_own(text: &str) -> Option<(Device, u64)> {
        let (sender, n) = text.split_once('.')?;
        Some((plain(sender)?.try_into().ok()?, plain(n)?))
    }
}

/// A number without sign or leading zeros: one text for each value.
fn plain(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    canonical.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(text) => out.write_str(text),
            Self::Own { sender, n } => write!(out, "{sender}.{n}"),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Foreign(text) => serializer.serialize_str(text),
            Self::Own { .. } => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Id;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the id of a message")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                Ok(Id::parse(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Digest;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("16 hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                if text.len() != 16 || text.starts_with('+') {
                    return Err(wrong());
                }
                u64::from_str_radix(text, 16)
                    .map(Digest)
                    .map_err(|_| wrong())
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        for text in ["0.0", "7.12", "4294967295.18446744073709551615"] {
            assert!(matches!(Id::parse(text), Id::Own { .. }), "{text}");
            assert_eq!(Id::parse(text).to_string(), text);
        }
        let foreign = [
            "",
            ".",
            "7.",
            ".7",
            "07.1",
            "7.01",
            "+7.1",
            "7.+1",
            "4294967296.1",
            "7.1.1",
            "ab\"c",
            "-1.2",
            "1.18446744073709551616",
            "00.1",
        ];
        for text in foreign {
            assert_eq!(Id::parse(text), Id::Foreign(text.into()));
            let json = serde_json::to_string(&Id::parse(text)).unwrap();
            assert_eq!(serde_json::from_str::<Id>(&json).unwrap(), Id::parse(text));
        }
    }

    #[test]
    fn a_digest_is_sixteen_digits() {
        let digest = Digest(0xab);
        assert_eq!(
            serde_json::to_string(&digest).unwrap(),
            "\"00000000000000ab\""
        );
        assert_eq!(
            serde_json::from_str::<Digest>("\"00000000000000ab\"").unwrap(),
            digest
        );
        for wrong in [
            "\"ab\"",
            "\"+0000000000000ab\"",
            "\"00000000000000zz\"",
            "3",
        ] {
            assert!(serde_json::from_str::<Digest>(wrong).is_err(), "{wrong}");
        }
    }
}
