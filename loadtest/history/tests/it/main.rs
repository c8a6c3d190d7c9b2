//! Histories on paper: clean ones pass, each seeded fault is found by its rule, and broken files are
//! told of.

mod clean;
mod faults;
mod mutations;
mod sample;
