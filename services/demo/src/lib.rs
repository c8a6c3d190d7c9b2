//! The demonstration behind `entente demo`: a gateway process, two partners, a host, real Signal
//! messages, two kills, and a count of what was lost.

pub mod signal;
