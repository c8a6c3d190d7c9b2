//! Maps whose keys this program drew or hashed itself: account and session numbers, fingerprints.
//!
//! Their hash is quicker than the standard one by an order of magnitude, and keyed anew in each
//! process. Whoever can choose the keys of a map belongs into a map of the standard library, whose
//! hash is made to withstand that.

use std::collections::{HashMap, HashSet};

use foldhash::quality::RandomState;

/// A map by ids of ours; made by `default()`.
pub type IdMap<K, V> = HashMap<K, V, RandomState>;
/// A set of ids of ours; made by `default()`.
pub type IdSet<K> = HashSet<K, RandomState>;
