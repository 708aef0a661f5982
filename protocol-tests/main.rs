//! The tests that see the server from outside, and the simulation of its inside.

mod sim;
mod tidy;
