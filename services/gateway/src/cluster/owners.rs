//! Who owns which shard, in this deployment: the list in the configuration.
//!
//! The one place that decides it. What another node said about a shard that it was wrongly asked for
//! is remembered, so that only the first call takes the detour.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use entente_core::{Fault, ShardId};
use entente_mesh::Role;
use entente_proto::Owners;
use parking_lot::Mutex;

use super::settings::MeshConfig;

/// Why the list does not say who owns what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnersError {
    /// A shard is not there.
    #[error("{node} owns shard {shard}, and storage.shards is {shards}")]
    Beyond {
        /// The node.
        node: String,
        /// The shard.
        shard: ShardId,
        /// How many there are.
        shards: u32,
    },
    /// A router says nothing of shards.
    #[error("the router {0} has no `shards`")]
    NoShards(String),
    /// A router has no name.
    #[error("a router has no `name`")]
    Nameless,
    /// Nobody owns a shard.
    #[error("nobody owns shard {0}")]
    Unowned(ShardId),
    /// Two nodes own a shard.
    #[error("shard {shard} is owned by {first} and by {second}")]
    Twice {
        /// The shard.
        shard: ShardId,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
}

/// See the module.
#[derive(Debug)]
pub struct OwnerMap {
    fixed: BTreeMap<ShardId, Box<str>>,
    told: Mutex<BTreeMap<ShardId, Box<str>>>,
}

impl OwnerMap {
    /// Takes the list, in which every shard has one owner.
    ///
    /// # Errors
    /// [`OwnersError`].
    pub fn new(mesh: &MeshConfig, shards: u32) -> Result<Self, OwnersError> {
        let mut fixed = BTreeMap::<ShardId, Box<str>>::new();
        for entry in mesh.nodes.iter().filter(|node| node.role == Role::Router) {
            let node = entry.name.clone().ok_or(OwnersError::Nameless)?;
            let owned = entry.shards.as_ref();
            let owned = owned.ok_or_else(|| OwnersError::NoShards(node.clone()))?;
            for shard in owned.iter() {
                if shard.index() >= shards {
                    return Err(OwnersError::Beyond {
                        node,
                        shard,
                        shards,
                    });
                }
                if let Some(first) = fixed.insert(shard, node.as_str().into()) {
                    return Err(OwnersError::Twice {
                        shard,
                        first: first.into(),
                        second: node,
                    });
                }
            }
        }
        let unowned = (0..shards).map(ShardId::new);
        match unowned.into_iter().find(|shard| !fixed.contains_key(shard)) {
            Some(shard) => Err(OwnersError::Unowned(shard)),
            None => Ok(Self {
                fixed,
                told: Mutex::default(),
            }),
        }
    }

    /// The router nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        let nodes: BTreeSet<&str> = self.fixed.values().map(|node| &**node).collect();
        nodes.into_iter()
    }

    /// What a node owns.
    pub fn owned_by(&self, node: &str) -> BTreeSet<ShardId> {
        let of_node = self.fixed.iter().filter(|(_, owner)| &***owner == node);
        of_node.map(|(shard, _)| *shard).collect()
    }

    /// Who is to be called first for a shard.
    pub(super) fn guess(&self, shard: ShardId) -> Option<Box<str>> {
        let told = self.told.lock().get(&shard).cloned();
        told.or_else(|| self.fixed.get(&shard).cloned())
    }

    /// Remembers what a node said of a shard.
    pub(super) fn learn(&self, shard: ShardId, owner: Box<str>) {
        let mut told = self.told.lock();
        if self.fixed.get(&shard) == Some(&owner) {
            told.remove(&shard);
        } else if self.fixed.contains_key(&shard) {
            told.insert(shard, owner);
        }
    }
}

#[async_trait]
impl Owners for OwnerMap {
    async fn owner(&self, shard: ShardId) -> Result<Option<Box<str>>, Fault> {
        Ok(self.fixed.get(&shard).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(routers: &[(&str, Option<&str>)]) -> MeshConfig {
        let mut text = String::new();
        for (name, shards) in routers {
            let shards = shards.map(|shards| format!("shards = \"{shards}\"\n"));
            let shards = shards.unwrap_or_default();
            text += &format!(
                "[[nodes]]\nrole = \"router\"\nname = \"{name}\"\naddress = \"a:1\"\n{shards}"
            );
        }
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn every_shard_has_one_owner() {
        let map = OwnerMap::new(&mesh(&[("r1", Some("0,2")), ("r2", Some("1,3"))]), 4).unwrap();
        assert_eq!(map.nodes().collect::<Vec<_>>(), ["r1", "r2"]);
        assert_eq!(map.guess(ShardId::new(3)).as_deref(), Some("r2"));
        let owned = map.owned_by("r1").into_iter().map(ShardId::index);
        assert_eq!(owned.collect::<Vec<_>>(), [0, 2]);
        let cases = [
            (vec![("r1", Some("0-2"))], "nobody owns shard 3"),
            (
                vec![("r1", Some("0-2")), ("r2", Some("2-3"))],
                "shard 2 is owned by r1 and by r2",
            ),
            (
                vec![("r1", Some("0-4"))],
                "r1 owns shard 4, and storage.shards is 4",
            ),
            (vec![("r1", None)], "the router r1 has no `shards`"),
        ];
        for (routers, wanted) in cases {
            let refused = OwnerMap::new(&mesh(&routers), 4).unwrap_err();
            assert_eq!(refused.to_string(), wanted);
        }
    }

    #[test]
    fn what_was_told_is_the_next_guess_until_it_is_what_the_list_says() {
        let map = OwnerMap::new(&mesh(&[("r1", Some("0")), ("r2", Some("1"))]), 2).unwrap();
        let shard = ShardId::new(0);
        map.learn(shard, "r2".into());
        assert_eq!(map.guess(shard).as_deref(), Some("r2"));
        map.learn(shard, "r1".into());
        assert_eq!(map.guess(shard).as_deref(), Some("r1"));
        map.learn(ShardId::new(9), "r1".into());
        assert_eq!(map.guess(ShardId::new(9)), None);
    }
}
