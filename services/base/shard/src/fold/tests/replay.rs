//! Any schedule of checkpoints and reloads gives the same shard.
