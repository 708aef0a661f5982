//! The bad disk: power cuts, full disks, failing and slow syncs, damaged files. How it works: README.md.

mod driver;
mod faults;
mod page_cache;
mod power_cuts;
mod script;
mod server;
mod serving;
mod shim;
mod trace;
mod watch;
