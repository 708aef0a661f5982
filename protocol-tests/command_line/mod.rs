//! The command line as a user meets it: the real binary, its exit codes, and what it writes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod api;
mod bench;
mod generated;
mod help;
mod over_http;
pub mod run;
mod salvage;
mod serve;
mod server;
mod stand_in;
mod store;
mod submit;
mod top;
mod work;
