//! The router over ports in memory, as connection nodes and the identity service use it.

mod gateway;
mod stories;
