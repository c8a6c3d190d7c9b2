//! The service over stub neighbours: a router that keeps its half of the seam in memory, an identity
//! service that knows one token, and a client that says exactly what a test wants.

mod callers;
mod client;
mod drain;
mod hostile;
mod login;
mod manage;
mod messages;
mod pace;
mod reattach;
mod router;
mod secure;
mod stub;
mod websocket;
