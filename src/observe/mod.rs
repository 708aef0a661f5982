//! What the server tells those who watch it: a table of all functions kept up to date by small readings, and the
//! metrics page made from it.
//!
//! Nothing here is asked by the threads that serve connections, and nothing is read that did not change.

mod metrics;
mod names;
mod sampler;
mod table;

pub use self::metrics::{Format, render};
pub use self::sampler::{run_sampler, sample};
pub use self::table::{Change, Changes, Function, Snapshot, Watch};
