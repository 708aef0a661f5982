//! The tests that see the server from outside, and the simulation of its inside.
#![allow(missing_docs, unreachable_pub, reason = "nothing here is used from outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod command_line;
mod drain;
mod epoch;
mod errors;
mod examples;
mod fuzz_corpus;
mod gearmand;
mod grab;
mod hostile;
mod http;
mod limits;
mod metrics;
mod options;
mod order;
mod priority;
mod scale;
mod sched;
mod sim;
mod status;
mod submit;
mod support;
mod tidy;
mod timeouts;
mod traces;
mod transcripts;
mod unique;
mod wake;
mod work_updates;
mod wrong_in_gearmand;
