//! The program as a process, under hostile peers and a system that has too little of something.

#![cfg(test)]

mod canary;
mod collector;
mod descriptors;
mod foreign;
mod inspect;
mod killed;
mod memory;
mod raw;
mod repair;
mod slow;
mod stand;
mod traces;
