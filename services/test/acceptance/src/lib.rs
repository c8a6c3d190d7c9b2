//! Stories of the whole gateway, told from outside: its own process, real sockets, a real disk.

pub mod disk;
pub mod history;
pub mod kills;
pub mod nodes;
pub mod rolling;
pub mod stand;
