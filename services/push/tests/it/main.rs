//! The push service over a log in memory: towards real receivers on loopback, and over hours of
//! paused time.

#![cfg(test)]

mod delivery;
mod failures;
mod receiver;
mod restart;
mod rig;
mod storms;
mod traces;
mod turns;
