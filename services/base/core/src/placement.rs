//! Which shard holds what. The same answer on every node, for the life of a deployment.

use ring::hmac;

use crate::{AccountId, PartnerId, ShardId};

/// The number of shards and the key of the placement hash, both fixed when a deployment is created.
///
/// The hash is keyed, so an internal id, which is drawn until it falls in the shard of its visible
/// id, tells nothing about that visible id to anyone without the key.
#[derive(Clone)]
pub struct Placement {
    shards: u32,
    key: hmac::Key,
}

impl Placement {
    /// Places over `shards` shards (at least one) with a 16-byte key.
    pub fn new(shards: u32, key: &[u8; 16]) -> Self {
        Self {
            shards: shards.max(1),
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The number of shards.
    pub const fn shards(&self) -> u32 {
        self.shards
    }

    /// The shard that holds everything of an account.
    pub fn of_account(&self, account: AccountId) -> ShardId {
        let mut data = [0; 11];
        let (tag, rest) = data.split_at_mut(1);
        tag.fill(b'a');
        let (partner, number) = rest.split_at_mut(2);
        partner.copy_from_slice(&account.partner().number().to_be_bytes());
        number.copy_from_slice(&account.number().to_be_bytes());
        self.place(&data)
    }

    /// The shard that holds the index entry of a visible id; its account is drawn to be there too.
    pub fn of_visible(&self, partner: PartnerId, visible: &str) -> ShardId {
        let mut data = Vec::with_capacity(3 + visible.len());
        data.push(b'v');
        data.extend_from_slice(&partner.number().to_be_bytes());
        data.extend_from_slice(visible.as_bytes());
        self.place(&data)
    }

    fn place(&self, data: &[u8]) -> ShardId {
        let tag = hmac::sign(&self.key, data);
        let head = tag.as_ref().first_chunk::<8>().copied().unwrap_or_default();
        let index = u64::from_be_bytes(head) % u64::from(self.shards);
        ShardId::new(u32::try_from(index).unwrap_or_default())
    }
}

impl std::fmt::Debug for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placement")
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_evenly_and_stays() {
        let placement = Placement::new(8, &[1; 16]);
        let partner = PartnerId::new(1).unwrap();
        let mut counts = [0_u32; 8];
        for number in 0..8000 {
            let shard = placement.of_account(AccountId::new(partner, number));
            assert_eq!(shard, placement.of_account(AccountId::new(partner, number)));
            counts[usize::try_from(shard.index()).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }
}
