//! The command line as a user meets it: the real binary, its exit codes, and what it writes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod bench;
mod help;
pub mod run;
mod salvage;
mod serve;
mod server;
mod store;
mod submit;
mod work;
