//! gearmand's command line, tried on the program itself, by both its names, and beside Debian's gearmand.
#![allow(clippy::disallowed_methods, reason = "deadlines: what is waited for happens in another process")]
#![allow(clippy::unwrap_used, reason = "tests and what they share")]

mod check_args;
mod config_file;
mod daemon;
mod jobs;
mod process;
mod server;
mod start;
mod stop;
