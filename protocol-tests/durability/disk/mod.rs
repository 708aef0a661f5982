//! The bad disk: power cuts, full disks, failing and slow syncs, damaged files. How it works: README.md.

mod damage;
mod driver;
mod faults;
mod over_http;
mod page_cache;
mod power_cuts;
mod script;
mod server;
mod server_cuts;
mod serving;
mod shim;
mod trace;
mod watch;
