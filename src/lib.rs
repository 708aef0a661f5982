//! Gearhouse: a job server that speaks the Gearman protocol.
pub mod config;
pub mod engine;
pub mod protocol;
pub mod server;
pub mod types;
