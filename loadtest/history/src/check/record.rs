//! What of an event goes to the partitions, packed small.

use std::hash::BuildHasher;

use crate::id::{Device, Digest, Id};

/// A line of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub file: u16,
    pub line: u32,
}

/// A message: unique over the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub sender: Device,
    /// Its count, or the hash of a foreign id.
    pub n: u64,
    pub foreign: bool,
}

/// What a sender learned of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Fail,
    Info,
    Ok,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Deliver(Delivery),
    Invoke(Invocation),
    Notice {
        key: Key,
        to: Device,
        epoch: u32,
    },
    Prekey {
        target: Device,
        key: u64,
    },
    Push {
        wake: u64,
        to: Device,
        endpoint: u64,
        attempt: u32,
    },
    Receipt {
        key: Key,
        to: Device,
        of: Device,
        epoch: u32,
    },
    Settle {
        key: Key,
        outcome: Outcome,
        at: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    pub key: Key,
    pub to: Device,
    pub digest: Digest,
    pub at: u64,
    pub epoch: u32,
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub key: Key,
    pub from: Device,
    pub to: Device,
    pub digest: Digest,
    pub at: u64,
    pub epoch: u32,
    /// The line of the acknowledgement that covers it; 0 if none does.
    pub acked: u32,
    pub delayed: bool,
    pub copy: bool,
}

impl Key {
    /// `sender` is who sent it, or who is said to have.
    pub(super) fn new(id: &Id, sender: Device) -> Self {
        match id {
            Id::Foreign(text) => Self {
                sender,
                n: hash(text),
                foreign: true,
            },
            Id::Own { sender, n } => Self {
                sender: *sender,
                n: *n,
                foreign: false,
            },
        }
    }
}

/// The same in every run, so that a check repeats itself.
pub(super) fn hash(text: &str) -> u64 {
    foldhash::quality::FixedState::with_seed(0x656e_7465).hash_one(text)
}

/// Spreads numbers that lie close together.
pub(super) const fn hash_number(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

const KIND: u8 = 0x0f;
const FOREIGN: u8 = 0x10;
const FIRST: u8 = 0x20;
const SECOND: u8 = 0x40;

/// A record taken apart: its tag, the key, and as many words as its kind has.
type Parts = (u8, Key, [u32; 8]);

/// By kind.
const WORDS: [usize; 7] = [8, 6, 2, 0, 4, 3, 2];

impl Record {
    pub(super) fn pack(&self, spot: Spot, out: &mut Vec<u8>) {
        let (tag, key, words) = self.parts();
        out.push(tag | flag(key.foreign, FOREIGN));
        out.extend_from_slice(&spot.file.to_le_bytes());
        out.extend_from_slice(&spot.line.to_le_bytes());
        out.extend_from_slice(&key.sender.to_le_bytes());
        out.extend_from_slice(&key.n.to_le_bytes());
        let used = WORDS.get(usize::from(tag & KIND)).copied();
        for word in words.iter().take(used.unwrap_or_default()) {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Takes the first record off packed bytes; none if they are not whole.
    pub(super) fn unpack(bytes: &mut &[u8]) -> Option<(Spot, Self)> {
        let [tag] = take(bytes)?;
        let spot = Spot {
            file: u16::from_le_bytes(take(bytes)?),
            line: u32::from_le_bytes(take(bytes)?),
        };
        let key = Key {
            sender: u32::from_le_bytes(take(bytes)?),
            n: u64::from_le_bytes(take(bytes)?),
            foreign: tag & FOREIGN != 0,
        };
        let mut words = [0; 8];
        let used = *WORDS.get(usize::from(tag & KIND))?;
        for word in words.iter_mut().take(used) {
            *word = u32::from_le_bytes(take(bytes)?);
        }
        Some((spot, Self::from_parts((tag, key, words))?))
    }

    fn parts(&self) -> Parts {
        let plain = |sender, n| Key {
            sender,
            n,
            foreign: false,
        };
        match *self {
            Self::Deliver(it) => {
                let ([a, b], [c, d]) = (halves(it.digest.0), halves(it.at));
                let words = [it.from, it.to, it.epoch, it.acked, a, b, c, d];
                let flags = flag(it.delayed, FIRST) | flag(it.copy, SECOND);
                (flags, it.key, words)
            }
            Self::Invoke(it) => {
                let ([a, b], [c, d]) = (halves(it.digest.0), halves(it.at));
                let words = [it.to, it.epoch, a, b, c, d, 0, 0];
                (1 | flag(it.quiet, FIRST), it.key, words)
            }
            Self::Notice { key, to, epoch } => (2, key, [to, epoch, 0, 0, 0, 0, 0, 0]),
            Self::Prekey { target, key } => (3, plain(target, key), [0; 8]),
            Self::Push {
                wake,
                to,
                endpoint,
                attempt,
            } => {
                let [a, b] = halves(endpoint);
                (4, plain(0, wake), [to, attempt, a, b, 0, 0, 0, 0])
            }
            Self::Receipt { key, to, of, epoch } => (5, key, [to, of, epoch, 0, 0, 0, 0, 0]),
            Self::Settle { key, outcome, at } => {
                let [a, b] = halves(at);
                let flags = match outcome {
                    Outcome::Fail => 0,
                    Outcome::Info => FIRST,
                    Outcome::Ok => SECOND,
                };
                (6 | flags, key, [a, b, 0, 0, 0, 0, 0, 0])
            }
        }
    }

    fn from_parts((tag, key, words): Parts) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = words;
        let (first, second) = (tag & FIRST != 0, tag & SECOND != 0);
        Some(match tag & KIND {
            0 => Self::Deliver(Delivery {
                key,
                from: a,
                to: b,
                epoch: c,
                acked: d,
                digest: Digest(whole(e, f)),
                at: whole(g, h),
                delayed: first,
                copy: second,
            }),
            1 => Self::Invoke(Invocation {
                key,
                to: a,
                epoch: b,
                digest: Digest(whole(c, d)),
                at: whole(e, f),
                quiet: first,
            }),
            2 => Self::Notice {
                key,
                to: a,
                epoch: b,
            },
            3 => Self::Prekey {
                target: key.sender,
                key: key.n,
            },
            4 => Self::Push {
                wake: key.n,
                to: a,
                attempt: b,
                endpoint: whole(c, d),
            },
            5 => Self::Receipt {
                key,
                to: a,
                of: b,
                epoch: c,
            },
            6 => Self::Settle {
                key,
                outcome: match (first, second) {
                    (true, _) => Outcome::Info,
                    (_, true) => Outcome::Ok,
                    _ => Outcome::Fail,
                },
                at: whole(a, b),
            },
            _ => return None,
        })
    }
}

const fn flag(on: bool, bit: u8) -> u8 {
    if on { bit } else { 0 }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

const fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

const fn whole(low: u32, high: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (low.to_le_bytes(), high.to_le_bytes());
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let key = Key {
            sender: 7,
            n: u64::MAX - 1,
            foreign: true,
        };
        let own = Key {
            foreign: false,
            ..key
        };
        let delivery = Delivery {
            key,
            from: 1,
            to: 2,
            digest: Digest(u64::MAX / 3),
            at: 1 << 40,
            epoch: 3,
            acked: 9,
            delayed: true,
            copy: false,
        };
        let copy = Delivery {
            copy: true,
            delayed: false,
            key: own,
            ..delivery
        };
        let invoked = Invocation {
            key: own,
            to: 5,
            digest: Digest(77),
            at: u64::MAX,
            epoch: 8,
            quiet: true,
        };
        let (to, epoch, target) = (4, 6, 3);
        let notice = Record::Notice { key, to, epoch };
        let prekey = Record::Prekey { target, key: 9 };
        let settle = |outcome| Record::Settle {
            key,
            outcome,
            at: 5 << 33,
        };
        let mut records = vec![
            Record::Deliver(delivery),
            Record::Deliver(copy),
            Record::Invoke(invoked),
            notice,
            prekey,
            Record::Push {
                wake: 1 << 61,
                to: 9,
                endpoint: 1 << 62,
                attempt: 2,
            },
            Record::Receipt {
                key: own,
                to: 1,
                of: 2,
                epoch: 3,
            },
        ];
        records.extend([Outcome::Fail, Outcome::Info, Outcome::Ok].map(settle));
        let spot = Spot {
            file: 300,
            line: 70_000,
        };
        let mut bytes = Vec::new();
        for record in &records {
            record.pack(spot, &mut bytes);
        }
        let mut rest = bytes.as_slice();
        for record in &records {
            assert_eq!(Record::unpack(&mut rest), Some((spot, *record)));
        }
        assert!(rest.is_empty());
        let mut cut = bytes.get(..bytes.len() - 1).unwrap();
        assert_eq!(std::iter::from_fn(|| Record::unpack(&mut cut)).count(), 9);
    }
}
