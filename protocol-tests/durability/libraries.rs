//! kill -9 under the load of unchanged client libraries: what they were told is acknowledged must be there.
//!
//! The players are those of `protocol-tests/load` (its README.md tells what their journals mean): clients that note
//! each acknowledgement, workers that note each end before they send it. The number of kills:
//! `GEARHOUSE_LIBRARY_KILLS` (20), taken in turn by the libraries.

mod accounts;
mod players;

use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::kills::setting;
use crate::support::{Server, eventually};

use self::accounts::Accounts;
use self::players::{Library, Player};

#[test]
fn what_unchanged_libraries_were_told_is_acknowledged_outlives_kills() {
    let libraries = players::all();
    let directory = tempfile::tempdir().unwrap();
    let mut accounts = Accounts::default();
    for round in 0..setting("GEARHOUSE_LIBRARY_KILLS", 20) {
        let library = &libraries[round as usize % libraries.len()];
        let files = tempfile::tempdir().unwrap();
        accounts.begin(round, library.name);
        play(&mut accounts, library, round, directory.path().to_str().unwrap(), files.path());
        // What is there now, and was it submitted, acknowledged, ended?
        let mut server = Server::serve(&["--data-dir", directory.path().to_str().unwrap()]);
        accounts.settle(&server);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0));
    }
    eprintln!("{accounts}");
}

/// One life of the server, from the first acknowledgement to the kill.
fn play(accounts: &mut Accounts, library: &Library, round: u64, data: &str, files: &std::path::Path) {
    let mut random = Rng::with_seed(round);
    let server = Server::serve(&["--data-dir", data]);
    let mut players: Vec<Player> = (0..2)
        .map(|client| {
            let plan = accounts.plan(client, library, &mut random);
            Player::client(library, server.address(), files, client, &plan)
        })
        .collect();
    players.push(Player::worker(library, server.address(), files, &accounts::FUNCTIONS));
    eventually("a client is told of its first job", || {
        let told = players.iter().any(|player| player.journal().lines().any(|line| line.starts_with("a ")));
        let ended = players.iter_mut().any(Player::has_ended);
        assert!(
            !ended || told,
            "{}: {}",
            library.name,
            players.iter_mut().map(Player::said).collect::<String>()
        );
        told.then_some(())
    });
    std::thread::sleep(Duration::from_micros(random.u64(..300_000)));
    drop(server);
    for player in &mut players {
        player.kill();
        accounts.read(&player.journal());
    }
}
