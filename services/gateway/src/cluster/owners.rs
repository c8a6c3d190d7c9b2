//! Who owns which shard, as far as this process knows.
//!
//! Either the list in the configuration says so, or the routers share the shards among themselves, and
//! whoever wants one asks them. What was learned is kept until a call shows that it is not so.

use std::collections::{BTreeMap, BTreeSet};

use entente_core::{Epoch, ShardId};
use entente_mesh::Role;
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
    /// A router says nothing of shards, and another does.
    #[error("the router {0} has no `shards`: all have them, or none")]
    NoShards(String),
    /// Nobody says who owns what.
    #[error(
        "no router has `shards`, and they cannot share them: that takes `storage.log` on Kafka and \
         `storage.state` in a journal"
    )]
    NotShared,
    /// The list says who owns what, and so would the routers.
    #[error("the routers share the shards, for their rows are in a journal: none has `shards`")]
    Shared,
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

/// A node, and what it says that it owns.
pub(super) type Said = (Box<str>, Vec<(ShardId, Epoch)>);

/// See the module.
#[derive(Debug)]
pub struct OwnerMap {
    nodes: BTreeSet<Box<str>>,
    fixed: BTreeMap<ShardId, Box<str>>,
    told: Mutex<BTreeMap<ShardId, Box<str>>>,
}

impl OwnerMap {
    /// Takes the nodes of a mesh. If they do not share the shards, each shard has one owner there.
    ///
    /// # Errors
    /// [`OwnersError`].
    pub fn new(mesh: &MeshConfig, shards: u32, are_shared: bool) -> Result<Self, OwnersError> {
        let routers = || mesh.nodes.iter().filter(|node| node.role == Role::Router);
        let mut map = Self {
            nodes: BTreeSet::new(),
            fixed: BTreeMap::new(),
            told: Mutex::default(),
        };
        for entry in routers() {
            let node = entry.name.as_deref().ok_or(OwnersError::Nameless)?;
            map.nodes.insert(node.into());
        }
        match (are_shared, routers().any(|node| node.shards.is_some())) {
            (true, true) => return Err(OwnersError::Shared),
            (true, false) => return Ok(map),
            (false, false) if !map.nodes.is_empty() => return Err(OwnersError::NotShared),
            (false, _) => {}
        }
        for entry in routers() {
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
                if let Some(first) = map.fixed.insert(shard, node.as_str().into()) {
                    return Err(OwnersError::Twice {
                        shard,
                        first: first.into(),
                        second: node,
                    });
                }
            }
        }
        let mut all = (0..shards).map(ShardId::new);
        match all.find(|shard| !map.fixed.contains_key(shard)) {
            Some(shard) => Err(OwnersError::Unowned(shard)),
            None => Ok(map),
        }
    }

    /// The router nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| &**node)
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

    /// Keeps what nodes said of themselves, in place of everything that was said before. A shard that
    /// two have is the one's with the higher epoch.
    pub(super) fn learn(&self, said: &[Said]) {
        let mut newest = BTreeMap::<ShardId, (Epoch, &str)>::new();
        for (node, owned) in said {
            for (shard, epoch) in owned {
                let known = newest.entry(*shard).or_insert((*epoch, node));
                if known.0 < *epoch {
                    *known = (*epoch, node);
                }
            }
        }
        let newest = newest.into_iter();
        *self.told.lock() = newest
            .map(|(shard, (_, node))| (shard, node.into()))
            .collect();
    }

    /// Forgets that a node has a shard, if that was what was said of it.
    pub(super) fn forget(&self, shard: ShardId, node: &str) {
        let mut told = self.told.lock();
        if told.get(&shard).is_some_and(|owner| **owner == *node) {
            told.remove(&shard);
        }
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
        let listed = mesh(&[("r1", Some("0,2")), ("r2", Some("1,3"))]);
        let map = OwnerMap::new(&listed, 4, false).unwrap();
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
            (
                vec![("r1", Some("0-3")), ("r2", None)],
                "the router r2 has no `shards`: all have them, or none",
            ),
            (
                vec![("r1", None)],
                "no router has `shards`, and they cannot",
            ),
        ];
        for (routers, wanted) in cases {
            let refused = OwnerMap::new(&mesh(&routers), 4, false).unwrap_err();
            let refused = refused.to_string();
            assert!(refused.starts_with(wanted), "{refused}");
        }
    }

    #[test]
    fn who_share_the_shards_are_asked() {
        let refused = OwnerMap::new(&mesh(&[("r1", Some("0"))]), 1, true).unwrap_err();
        assert_eq!(refused, OwnersError::Shared);
        let map = OwnerMap::new(&mesh(&[("r1", None), ("r2", None)]), 3, true).unwrap();
        assert_eq!(map.nodes().collect::<Vec<_>>(), ["r1", "r2"]);
        assert_eq!(map.guess(ShardId::new(0)), None);
        let owned = |shards: &[(u32, u64)]| -> Vec<_> {
            let shard = |(shard, epoch): &(u32, u64)| (ShardId::new(*shard), Epoch::new(*epoch));
            shards.iter().map(shard).collect()
        };
        // Shard 0 is being taken over by one that was not told yet who else has it; shard 1 has a
        // newer owner.
        let said = [
            ("r1".into(), owned(&[(0, 7), (1, 8)])),
            ("r2".into(), owned(&[(0, 0), (1, 9), (2, 0)])),
        ];
        map.learn(&said);
        let guess = |shard| map.guess(ShardId::new(shard)).map(String::from);
        let guesses: Vec<_> = (0..3).map(guess).collect();
        assert_eq!(
            guesses,
            ["r1", "r2", "r2"].map(|node| Some(node.to_owned()))
        );
        map.forget(ShardId::new(1), "r1");
        assert_eq!(guess(1).as_deref(), Some("r2"));
        map.forget(ShardId::new(1), "r2");
        assert_eq!(guess(1), None);
    }
}
