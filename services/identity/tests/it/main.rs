//! The identity service over a directory and a table in memory, and partners on loopback sockets.

#![cfg(test)]

mod aborted;
mod bench;
mod bundles;
mod enlist;
mod keys;
mod login;
mod partner;
mod tls;
