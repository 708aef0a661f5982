//! That nothing acknowledged is ever lost: kills, power cuts, full and failing disks, damaged files.
//!
//! Whatever a server acknowledged must be there, or have been done, after each of them.
#![allow(missing_docs, unreachable_pub, reason = "nothing here is used from outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods)] // deadlines of real processes are measured with the real clock

mod attempts;
mod conformance;
mod disk;
mod formats;
mod hazards;
mod kills;
mod libraries;
mod salvage;
mod space;

#[path = "../support/mod.rs"]
mod support;
