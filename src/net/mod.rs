//! Sockets: who may connect, and the loop of one connection.

mod connection;
mod door;
mod input;
mod listener;

pub use self::connection::Rules;
pub use self::door::Door;
pub use self::listener::{accept, bind};
