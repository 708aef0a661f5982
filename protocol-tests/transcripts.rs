//! Dialogues recorded from gearmand, replayed byte for byte.
//!
//! `transcripts/gearmand.json` holds what gearmand said; [`DIFFERENCES`] holds every place where Gearhouse answers
//! otherwise, and why. Both are asserted, so a difference that has vanished fails as well.
//!
//! ```sh
//! cargo test --test protocol transcripts                                      # Gearhouse
//! GEARHOUSE_TEST_SERVER=/usr/sbin/gearmand cargo test --test protocol transcripts   # another program
//! GEARHOUSE_TEST_ADDRESS=127.0.0.1:4730 cargo test --test protocol one_after_another
//! ```
//!
//! The last form wants a fresh, empty server that nobody else uses. It replays the dialogues that need no special
//! flags, empties the server between them through the protocol itself, and says so when that is not possible.
//! Whether the server is Gearhouse is asked with the admin command `help`, which gearmand does not have.

mod dialogue;
mod differences;
mod replay;

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::support::{Peer, Server, kind, now};
use dialogue::{Dialogue, all};
use differences::DIFFERENCES;
use replay::replay;

macro_rules! one_test_each {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { replay_on_a_fresh_server(stringify!($name)); })*
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

one_test_each! {
    echo_roundtrip,
    text_version_getpid_verbose,
    text_errors,
    foreground_job_full_cycle,
    background_job_status,
    priority_and_fifo_one_function,
    grab_variants_and_reducer,
    coalesce_foreground,
    coalesce_dash_and_empty,
    work_fail,
    exceptions_option,
    error_packets,
    bad_header_closes,
    worker_dies_job_requeued,
    job_retries_1_fails_client,
    can_do_timeout_expiry,
    pre_sleep_with_job_waiting,
    noop_rules,
    worker_wakeup_1,
    abilities_and_status_counts,
    maxqueue,
    admin_listings,
    cancel_job_queued,
    get_status_unique,
    pipelined_mixed_text_and_binary,
    epoch_job,
    status_text_forwarded_number_stored,
    worker_submits_on_same_connection,
    wart_exception_without_option_has_trailing_nul,
    wart_coalesce_onto_abandoned_job,
    wart_background_job_lost_when_attached_client_leaves,
    wart_lost_wakeup_after_unanswered_noop,
    wart_unique_of_64_bytes_is_corrupted,
    wart_create_function_drops_last_byte,
}

#[test]
fn every_recorded_dialogue_has_a_test() {
    let recorded: Vec<String> = all().into_iter().map(|dialogue| dialogue.name).collect();
    assert_eq!(NAMES, recorded);
}

#[test]
fn every_difference_names_a_step_that_expects_something() {
    for difference in DIFFERENCES {
        let dialogue = Dialogue::named(difference.dialogue);
        let step =
            dialogue.steps.get(difference.step).unwrap_or_else(|| panic!("no such step: {difference:?}"));
        assert!(step.expect.is_some() || step.expect_nothing_ms.is_some(), "expects nothing: {difference:?}");
    }
}

#[test]
fn gearmand_itself_matches_the_golden_transcripts() {
    // Four at a time: most of a replay is waiting for nothing to happen.
    let dialogues = all();
    std::thread::scope(|scope| {
        for share in dialogues.chunks(dialogues.len().div_ceil(4)) {
            scope.spawn(move || {
                share.iter().for_each(matches_gearmand);
            });
        }
    });
}

/// gearmand stops listing a closed connection before another of its threads drops what that connection waited for, and
/// nothing outside shows when. A dialogue about its faults in just that may come too early, and is held again.
fn matches_gearmand(dialogue: &Dialogue) {
    const TRIES: usize = 5;
    let closes = dialogue.steps.iter().any(|step| step.close);
    let tries = if dialogue.name.starts_with("wart_") && closes { TRIES } else { 1 };
    for left in (0..tries).rev() {
        let held = std::panic::catch_unwind(|| {
            let mut server = Server::reference(&dialogue.flags());
            replay(dialogue, server.address(), &[]);
            assert_eq!(server.is_running(), dialogue.server_alive_after, "{}", dialogue.name);
        });
        match held {
            Ok(()) => return,
            Err(failure) if left == 0 => std::panic::resume_unwind(failure),
            Err(_) => {}
        }
    }
}

#[test]
fn the_transcripts_match_one_after_another_on_one_server() {
    let (address, _server) = match std::env::var("GEARHOUSE_TEST_ADDRESS") {
        Ok(text) => (resolve(&text), None),
        Err(_) => {
            let server = Server::start();
            (server.address(), Some(server))
        }
    };
    let fresh = nothing_is_there(address);
    assert!(fresh.is_ok(), "the server at {address} is not fresh and unused: {fresh:?}");
    let differences = differences_of(address);
    // What is delayed for ever can't be drained from gearmand, so that dialogue comes last.
    let (last, first): (Vec<Dialogue>, _) = all()
        .into_iter()
        .filter(|dialogue| dialogue.class == "golden" && dialogue.server_flags.is_empty())
        .partition(|dialogue| dialogue.name == "epoch_job");
    for dialogue in first.iter().chain(&last) {
        replay(dialogue, address, differences);
        empty(address);
        let found = nothing_is_there(address);
        let is_last = last.iter().any(|other| other.name == dialogue.name);
        assert!(is_last || found.is_ok(), "{address} can't be emptied after {}: {found:?}", dialogue.name);
    }
}

fn replay_on_a_fresh_server(name: &str) {
    let dialogue = Dialogue::named(name);
    let mut server = Server::with_flags(&dialogue.flags());
    replay(&dialogue, server.address(), differences_of(server.address()));
    assert_eq!(server.is_running(), dialogue.server_alive_after, "the server is still running");
}

/// Gearhouse's differences if it is Gearhouse, else none.
fn differences_of(address: SocketAddr) -> &'static [differences::Difference] {
    let mut peer = Peer::connect(address);
    let reply = peer.admin("help");
    peer.leave();
    if reply.starts_with("ERR UNKNOWN_COMMAND") { &[] } else { DIFFERENCES }
}

/// Takes every job, drops every function, through the protocol.
fn empty(address: SocketAddr) {
    let mut admin = Peer::connect(address);
    let mut worker = Peer::connect(address);
    let status = admin.admin("status");
    let functions: Vec<&str> = status.lines().filter_map(|line| Some(line.split_once('\t')?.0)).collect();
    for function in &functions {
        worker.can_do(function);
    }
    while let Some(job) = worker.grab() {
        worker.complete(&job.handle, b"");
    }
    // The second list is Gearhouse's own.
    for listing in ["show jobs", "show schedules"] {
        for line in admin.admin(listing).lines() {
            if let Some((handle, _)) = line.split_once('\t') {
                admin.admin(&format!("cancel job {handle}"));
            }
        }
    }
    worker.send(kind::RESET_ABILITIES, &[]);
    worker.expect_nothing();
    for function in &functions {
        admin.admin(&format!("maxqueue {function}"));
        admin.admin(&format!("drop function {function}"));
    }
    worker.leave();
    admin.leave();
}

/// Whether the server is as good as freshly started; otherwise what it still has. Waits a little, since gearmand may
/// close a connection before it forgets it.
fn nothing_is_there(address: SocketAddr) -> Result<(), String> {
    let deadline = now() + Duration::from_secs(2);
    loop {
        let found = look_around(address);
        if found.is_ok() || now() > deadline {
            return found;
        }
    }
}

fn look_around(address: SocketAddr) -> Result<(), String> {
    let mut admin = Peer::connect(address);
    let listings = ["status", "show jobs"].map(|command| admin.admin(command));
    let workers = admin.admin("workers");
    admin.leave();
    let alone = workers.lines().count() == 2;
    if listings.iter().all(|listing| listing == ".\n") && alone {
        return Ok(());
    }
    Err(format!("status, show jobs: {listings:?}; workers: {workers:?}"))
}

fn resolve(text: &str) -> SocketAddr {
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.unwrap_or_else(|| panic!("GEARHOUSE_TEST_ADDRESS is not host:port: {text}"))
}
