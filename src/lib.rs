//! Gearhouse: a job server that speaks the Gearman protocol.
//!
//! The modules, in the order in which a newcomer should read them. Each may use only those that
//! docs/ARCHITECTURE.md allows it; a test holds the code against that table.

pub mod types;

pub mod trace_context;

pub mod protocol;

pub mod policy;

pub mod engine;

pub mod store;

pub mod outbox;

pub mod broker;

pub mod clock;

pub mod config;

pub mod machine;

pub mod logging;

pub mod net;

pub mod history;
pub mod http;

pub mod traces;

pub mod observe;

pub mod server;

pub mod client;

pub mod load;

pub mod cli;

pub mod gearmand;
