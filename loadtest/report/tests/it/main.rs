//! Results as files, and what is made of them.

mod sample;
mod schema;
