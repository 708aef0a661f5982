//! The hazards of gearmand's persistent queues, each as a test.
//!
//! With `GEARHOUSE_TEST_SERVER=/usr/sbin/gearmand` they run against gearmand and its SQLite queue, where those that
//! name a fault of gearmand's fail. What only Gearhouse can do is asked of Gearhouse whatever that variable says.

mod house;
mod identity;
mod jobs;
mod many;
mod operators;
mod order;
mod stops;
