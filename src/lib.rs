//! Gearhouse: a job server that speaks the Gearman protocol.
pub mod types;
pub mod config;
pub mod engine;
pub mod server;
