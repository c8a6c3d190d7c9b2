//! The table against Redis itself: `redis-server` and `redis-cli` have to be installed.

#[cfg(test)]
mod away;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod server;
#[cfg(test)]
mod suite;
