//! Ways to stop a server.

use nix::sys::signal::Signal;

use crate::support::peer::Status;
use crate::support::{Peer, Server, eventually, kind};

#[test]
fn term_and_int_end_gearmand_at_once_with_exit_code_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start();
        let (mut client, mut worker) = (server.connect(), server.connect());
        client.submit("f", "", b"");
        worker.can_do("f");
        worker.take_job();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal}");
        client.expect_closed();
        worker.expect_closed();
    }
}

#[test]
fn usr1_ends_an_idle_server_although_peers_are_connected() {
    let mut server = Server::start();
    let mut worker = server.connect();
    worker.can_do("f");
    worker.settle();
    server.signal(Signal::SIGUSR1);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn usr1_lets_the_work_be_done_and_accepts_no_new_connections() {
    // gearmand now and then misses the end of its last job, and stays.
    let mut server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handles = [(); 2].map(|()| client.submit("f", "", b""));
    worker.can_do("f");
    worker.take_job();
    server.signal(Signal::SIGUSR1);
    let address = server.address();
    eventually("new connections are refused", || Peer::try_connect(address).is_err().then_some(()));
    worker.complete(&handles[0], b"1");
    client.expect_complete(&handles[0], b"1");
    assert_eq!(worker.take_job().handle, handles[1]);
    assert_eq!(client.status(&handles[1]).state(), Status::RUNNING);
    worker.complete(&handles[1], b"2");
    client.expect_complete(&handles[1], b"2");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn hup_leaves_a_server_running() {
    let server = Server::start();
    let mut client = server.connect();
    client.submit_bg("f", "", b"");
    server.signal(Signal::SIGHUP);
    client.expect_nothing();
    assert_eq!(server.admin("status"), "f\t1\t0\t0\n.\n");
}

#[test]
fn a_graceful_stop_gives_running_jobs_their_time() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::serve(&["--stop-timeout", "20s"]);
        let (mut client, mut worker) = (server.connect(), server.connect());
        let handle = client.submit("f", "", b"");
        worker.can_do("f");
        worker.take_job();
        server.signal(signal);
        refuses_new_work(&mut client);
        worker.complete(&handle, b"r");
        client.expect_complete(&handle, b"r");
        assert_eq!(server.wait().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_graceful_stop_tells_the_clients_whose_jobs_nobody_has_begun() {
    let mut server = Server::serve(&["--stop-timeout", "20s"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    let running = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    let waiting = client.submit("f", "", b"");
    server.signal(Signal::SIGTERM);
    client.expect_fail(&waiting);
    worker.complete(&running, b"r");
    client.expect_complete(&running, b"r");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_graceful_stop_ends_when_its_time_is_over() {
    let mut server = Server::serve(&["--stop-timeout", "1s"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    let handle = client.submit("f", "", b"");
    worker.can_do("f");
    worker.take_job();
    server.signal(Signal::SIGTERM);
    client.expect_fail(&handle);
    client.expect_closed();
    assert!(server.wait().code().is_some());
}

#[test]
fn the_command_shutdown_stops_the_server() {
    for command in ["shutdown", "shutdown graceful"] {
        let mut server = Server::serve(&[]);
        let reply = server.admin(command);
        assert!(reply.starts_with("OK"), "{reply}");
        assert_eq!(server.wait().code(), Some(0), "{command}");
    }
}

/// The server has taken notice of its end: it accepts nothing new, on connections that it has.
fn refuses_new_work(client: &mut Peer) {
    eventually("new submits are refused", || {
        client.send(kind::SUBMIT_JOB_BG, &[b"other", b"", b""]);
        let got = client.frame();
        got.body.starts_with(b"SHUTDOWN\0").then_some(())
    });
}
