//! The `gearhouse` command.
use gearhouse::config::{Config, StoreConfig};
use gearhouse::server::{Signals, Stop, run};
fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(2);
    let listen = args.next().unwrap_or("127.0.0.1:4731".into()).parse().expect("addr");
    let store = args.next().map(|d| StoreConfig { directory: d.into(), salvage: false });
    let signals = Signals { term: Stop::Graceful, int: Stop::Graceful, usr1: Some(Stop::Drain), hup: || {} };
    run(Config { listen: vec![listen], store, ..Config::default() }, signals, |a| {
        println!("{a:?}");
        Ok(())
    })
    .expect("run");
}
