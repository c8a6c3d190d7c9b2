//! Where a record belongs, sealed to it: deployment, cluster, topic and partition.
//!
//! In: a payload. Out: the header that travels with it, and at a read the answer whether the two
//! belong here. The seals inside payloads say who wrote them; this one says that nobody moved them.
//!
//! **Invariants**
//! - The seal covers the header and the payload, so neither can be put beside another.
//! - Nothing of a record is used before its seal was checked.

use entente_core::{SealKey, TAG_BYTES};

const VERSION: u8 = 1;
/// Version, origin, partition.
const FIXED_BYTES: usize = 1 + TAG_BYTES + 4;
/// Other uses of the key begin with a version number below 32, so no seal of theirs is one of these.
const SEAL_LABEL: &[u8] = b"entente kafka record\0";
const ORIGIN_LABEL: &[u8] = b"entente kafka origin\0";

/// Seals and checks the records of one topic.
#[derive(Clone, Debug)]
pub struct Routing {
    key: SealKey,
    /// Names the deployment and the cluster without telling the key.
    origin: [u8; TAG_BYTES],
    topic: String,
}

/// Why a record does not belong where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Misrouted {
    /// The seal is wrong: made with another key, or header or payload changed.
    #[error("the seal does not match")]
    BadSeal,
    /// There is no header, or not one that can be read.
    #[error("there is no routing header")]
    NoHeader,
    /// Written by another deployment, or mirrored from another cluster, whose offsets differ.
    #[error("it is of another deployment or cluster")]
    OtherOrigin,
    /// It was written to another partition.
    #[error("it is of another partition")]
    OtherPartition,
    /// It was written to another topic.
    #[error("it is of another topic")]
    OtherTopic,
    /// Written by a version that this one does not know.
    #[error("its version is not known")]
    UnknownVersion,
}

impl Misrouted {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::BadSeal,
        Self::NoHeader,
        Self::OtherOrigin,
        Self::OtherPartition,
        Self::OtherTopic,
        Self::UnknownVersion,
    ];

    /// The word for a metric.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadSeal => "bad_seal",
            Self::NoHeader => "no_header",
            Self::OtherOrigin => "other_origin",
            Self::OtherPartition => "other_partition",
            Self::OtherTopic => "other_topic",
            Self::UnknownVersion => "unknown_version",
        }
    }
}

impl Routing {
    /// For a topic of a cluster, under the deployment's key.
    pub fn new(key: SealKey, cluster: &str, topic: &str) -> Self {
        let origin = key.tag_of(&[ORIGIN_LABEL, cluster.as_bytes()]);
        Self {
            key,
            origin,
            topic: topic.to_owned(),
        }
    }

    /// The name of the deployment in this cluster, as hexadecimal digits. It does not tell the key.
    #[cfg(feature = "client")]
    pub(crate) fn deployment(&self) -> String {
        self.origin
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The header for a payload that goes to a partition.
    pub fn header(&self, partition: u32, payload: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(FIXED_BYTES + self.topic.len() + TAG_BYTES);
        header.push(VERSION);
        header.extend_from_slice(&self.origin);
        header.extend_from_slice(&partition.to_be_bytes());
        header.extend_from_slice(self.topic.as_bytes());
        let tag = self.tag(&header, payload);
        header.extend_from_slice(&tag);
        header
    }

    /// Checks that a payload was written to this partition of this topic.
    ///
    /// # Errors
    /// [`Misrouted`]. Only [`Misrouted::BadSeal`] is proven; the others are what the header claims.
    pub fn check(
        &self,
        partition: u32,
        header: Option<&[u8]>,
        payload: &[u8],
    ) -> Result<(), Misrouted> {
        let header = header.ok_or(Misrouted::NoHeader)?;
        match header.first() {
            None => return Err(Misrouted::NoHeader),
            Some(version) if *version != VERSION => return Err(Misrouted::UnknownVersion),
            Some(_) => {}
        }
        let (claims, tag) = header
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(Misrouted::NoHeader)?;
        let (fixed, topic) = claims
            .split_at_checked(FIXED_BYTES)
            .ok_or(Misrouted::NoHeader)?;
        let (origin, place) = fixed.split_last_chunk::<4>().ok_or(Misrouted::NoHeader)?;
        if !origin.ends_with(&self.origin) {
            return Err(Misrouted::OtherOrigin);
        }
        if topic != self.topic.as_bytes() {
            return Err(Misrouted::OtherTopic);
        }
        if *place != partition.to_be_bytes() {
            return Err(Misrouted::OtherPartition);
        }
        if !self
            .key
            .is_tag_of_parts(tag, &[SEAL_LABEL, claims, &[0], payload])
        {
            return Err(Misrouted::BadSeal);
        }
        Ok(())
    }

    /// The topic ends the claims and has no zero byte, so claims and payload cannot be shifted.
    fn tag(&self, claims: &[u8], payload: &[u8]) -> [u8; TAG_BYTES] {
        self.key.tag_of(&[SEAL_LABEL, claims, &[0], payload])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routing(key: u8, cluster: &str, topic: &str) -> Routing {
        Routing::new(SealKey::new(&[key; 32]), cluster, topic)
    }

    /// T142: a record that was copied or mirrored to where it was not written is refused.
    #[test]
    fn a_record_belongs_where_it_was_written() {
        let here = routing(1, "c", "p.input");
        let header = here.header(3, b"payload");
        here.check(3, Some(&header), b"payload").unwrap();
        let elsewhere = [
            (routing(1, "c", "p.input"), 4, Misrouted::OtherPartition),
            (routing(1, "c", "p.wake"), 3, Misrouted::OtherTopic),
            (routing(1, "d", "p.input"), 3, Misrouted::OtherOrigin),
            (routing(2, "c", "p.input"), 3, Misrouted::OtherOrigin),
        ];
        for (there, partition, why) in elsewhere {
            assert_eq!(there.check(partition, Some(&header), b"payload"), Err(why));
        }
    }

    /// T142: every changed or missing byte, of header or payload, is refused.
    #[test]
    fn refuses_any_change() {
        let here = routing(1, "c", "p.input");
        let header = here.header(3, b"payload");
        for at in 0..header.len() {
            let mut changed = header.clone();
            changed[at] ^= 1;
            here.check(3, Some(&changed), b"payload").unwrap_err();
            here.check(3, header.get(..at), b"payload").unwrap_err();
        }
        for payload in [&b"Payload"[..], b"payloa", b"payload ", b""] {
            assert_eq!(
                here.check(3, Some(&header), payload),
                Err(Misrouted::BadSeal)
            );
        }
        assert_eq!(here.check(3, None, b"payload"), Err(Misrouted::NoHeader));
    }

    /// T152: a record of a later version is told apart from a broken one.
    #[test]
    fn later_versions_are_named() {
        let here = routing(1, "c", "p.input");
        let mut header = here.header(3, b"payload");
        header[0] = VERSION + 1;
        assert_eq!(
            here.check(3, Some(&header), b"payload"),
            Err(Misrouted::UnknownVersion)
        );
    }

    proptest! {
        #[test]
        fn no_header_panics(header: Vec<u8>, payload: Vec<u8>) {
            let refused = routing(1, "c", "p.input").check(0, Some(&header), &payload);
            prop_assert!(refused.is_err());
        }
    }
}
