//! What messages carry: bytes that follow from seed, sender and number, so that corruption,
//! truncation and mix-ups show at the receiver without any other knowledge.

use crate::scenario::Size;

/// Bytes of the block that bodies are cut from, twice the longest body.
const BLOCK: usize = 256 * 1024;
/// Where a body may begin in it.
const STARTS: u64 = 128 * 1024;
/// The mark at the front: the hash of seed, sender and number in hexadecimal.
const MARK: usize = 16;
const TEXT: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// All bodies of a run.
#[derive(Debug)]
pub struct Payloads {
    seed: u64,
    block: Box<[u8]>,
    sizes: Box<[(f64, usize)]>,
}

impl Payloads {
    /// Of a seed, with sizes by weight.
    pub fn new(seed: u64, sizes: &[Size]) -> Self {
        let mut state = seed;
        let mut block = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            state = state.wrapping_add(GAMMA);
            for byte in mix(state).to_be_bytes() {
                block.push(pick(TEXT, byte & 63));
            }
        }
        let total: f64 = sizes.iter().map(|size| size.weight).sum();
        let mut sum = 0.0;
        let sizes = sizes.iter().map(|size| {
            sum += size.weight / total;
            (sum, size.bytes)
        });
        Self {
            seed,
            sizes: sizes.collect(),
            block: block.into(),
        }
    }

    /// Appends the body of a sender's message.
    pub fn write(&self, sender: u32, n: u32, out: &mut Vec<u8>) {
        let hash = self.hash(sender, n);
        out.extend_from_slice(&mark(hash));
        out.extend_from_slice(self.tail(hash));
    }

    /// Whether a body is that of this message, whole.
    pub fn is_of(&self, sender: u32, n: u32, body: &[u8]) -> bool {
        let hash = self.hash(sender, n);
        body.split_at_checked(MARK)
            .is_some_and(|(front, tail)| front == mark(hash) && tail == self.tail(hash))
    }

    fn hash(&self, sender: u32, n: u32) -> u64 {
        let id = u64::from(sender) << 32 | u64::from(n);
        mix(mix(self.seed ^ GAMMA).wrapping_add(id.wrapping_mul(GAMMA)))
    }

    fn tail(&self, hash: u64) -> &[u8] {
        // Other bits than those that say where it begins.
        let [first, second, third, ..] = hash.to_be_bytes();
        let share = f64::from(u32::from_be_bytes([0, first, second, third])) / 16_777_216.0;
        let size = self.sizes.iter().find(|(sum, _)| share < *sum);
        let size = size.or(self.sizes.last()).map_or(0, |(_, bytes)| *bytes);
        let start = usize::try_from(hash % STARTS).unwrap_or(0);
        let end = start + size.saturating_sub(MARK);
        self.block.get(start..end).unwrap_or_default()
    }
}

fn mark(hash: u64) -> [u8; MARK] {
    let mut mark = [0; MARK];
    for (at, byte) in hash.to_be_bytes().into_iter().enumerate() {
        if let Some([high, low]) = mark.get_mut(at * 2..at * 2 + 2) {
            (*high, *low) = (pick16(byte >> 4), pick16(byte & 15));
        }
    }
    mark
}

fn pick(from: &[u8; 64], at: u8) -> u8 {
    from.get(usize::from(at)).copied().unwrap_or(b'A')
}

fn pick16(at: u8) -> u8 {
    HEX.get(usize::from(at)).copied().unwrap_or(b'0')
}

/// The increment of splitmix64.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finisher of splitmix64.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> Vec<Size> {
        let size = |bytes, weight| Size { bytes, weight };
        vec![size(16, 1.0), size(512, 2.0), size(131_072, 0.2)]
    }

    fn body(payloads: &Payloads, sender: u32, n: u32) -> Vec<u8> {
        let mut out = Vec::new();
        payloads.write(sender, n, &mut out);
        out
    }

    #[test]
    fn a_body_is_known_again_and_nothing_else_passes_for_it() {
        let payloads = Payloads::new(7, &sizes());
        for n in 0..500 {
            let good = body(&payloads, 3, n);
            assert!(payloads.is_of(3, n, &good));
            assert!(!payloads.is_of(4, n, &good), "another sender");
            assert!(!payloads.is_of(3, n + 1, &good), "another number");
            assert!(!payloads.is_of(3, n, &good[..good.len() - 1]), "truncated");
            assert!(
                !Payloads::new(8, &sizes()).is_of(3, n, &good),
                "another seed"
            );
            let mut bad = good;
            let last = bad.len() - 1;
            bad[last] ^= 1;
            assert!(!payloads.is_of(3, n, &bad), "one bit");
        }
    }

    #[test]
    fn sizes_come_as_often_as_their_weights_say() {
        let payloads = Payloads::new(1, &sizes());
        let lengths: Vec<usize> = (0..4_000).map(|n| body(&payloads, 1, n).len()).collect();
        let share = |bytes| lengths.iter().filter(|length| **length == bytes).count();
        assert!((1_150..1_350).contains(&share(16)), "{}", share(16));
        assert!((2_400..2_600).contains(&share(512)), "{}", share(512));
        assert!((190..310).contains(&share(131_072)), "{}", share(131_072));
    }
}
