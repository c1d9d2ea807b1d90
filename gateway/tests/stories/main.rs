//! Stories of the gateway, told from its two sides: real browsers' sockets on one, a room service that a test plays
//! line by line on the other.

// The helpers of tests may unwrap as tests do: the panic is the report.
#![allow(clippy::unwrap_used)]

mod api;
mod closes;
mod drain;
mod events;
mod frames;
mod link;
mod process;
mod slow;
mod socketio;
mod tls;
mod upgrades;
mod web;
mod world;
