//! The program: configuration, backends and roles. The only crate that names services and backends.
//!
//! In: a configuration file and the command line. Out: a running node. Every role is built from its
//! own `Config` and `Deps`; [`compose`] is the one list of who stands on what.

pub mod backends;
pub mod cluster;
pub mod compose;
pub mod config;
pub mod deployment;
mod door;
mod endpoints;
pub mod init;
mod inspect;
pub mod keyfiles;
pub mod preflight;
pub mod repair;
pub mod secrets;
