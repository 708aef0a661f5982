//! The `gearhouse` command.
fn main() {}
