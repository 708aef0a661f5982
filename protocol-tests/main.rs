//! The tests that see the server from outside, and the simulation of its inside.
#![allow(missing_docs, unreachable_pub, reason = "nothing here is used from outside")]

mod command_line;
mod tidy;
