//! The `gearhouse` command.
use gearhouse::config::Config;
use gearhouse::server::{Signals, Stop, run};
fn main() {
    let listen = std::env::args().nth(2).unwrap_or("127.0.0.1:4731".into()).parse().unwrap();
    let signals = Signals { term: Stop::Graceful, int: Stop::Graceful, usr1: Some(Stop::Drain), hup: || {} };
    run(Config { listen: vec![listen], ..Config::default() }, signals, |a| {
        println!("{a:?}");
        Ok(())
    })
    .unwrap();
}
