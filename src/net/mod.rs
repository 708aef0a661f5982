//! Sockets: who may connect, and the loop of one connection.

mod connection;
mod listener;
mod read;

pub use self::connection::{Rules, serve};
pub use self::listener::{accept, bind};
