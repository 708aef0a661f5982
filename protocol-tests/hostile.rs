//! Peers that mean harm, or are broken. The server stays up, its memory stays bounded, and a good client and a good
//! worker are served all the while.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::SockRef;

use crate::support::peer::{packet, request};
use crate::support::{PATIENCE, Peer, Server, eventually, kind, now};

const MIB: u64 = 1 << 20;

#[test]
fn a_header_that_claims_four_gibibytes_is_refused() {
    let (mut server, good) = served(&[]);
    let before = server.resident();
    for length in [u32::MAX, u32::MAX - 1, (256 << 20) + 1] {
        for kind in [kind::SUBMIT_JOB, kind::ECHO_REQ, kind::CAN_DO, kind::GRAB_JOB, kind::WORK_COMPLETE] {
            let mut peer = server.connect();
            peer.send_raw(&header(kind, length));
            peer.expect_error("ARGUMENT_TOO_LARGE");
            peer.expect_closed();
        }
    }
    good.were_served();
    bounded(&mut server, before, 16 * MIB);
}

#[test]
fn a_thousand_headers_that_claim_200_mebibytes_cost_next_to_nothing() {
    let (mut server, good) = served(&[]);
    may_open_files(1200);
    let before = server.resident();
    let mut peers = Vec::new();
    for _ in 0..1000 {
        let mut peer = server.connect();
        peer.send_raw(&[&header(kind::SUBMIT_JOB_BG, 200 << 20)[..], b"f\0\0begun"].concat());
        peers.push(peer);
    }
    server.connect().expect_nothing();
    good.were_served();
    bounded(&mut server, before, 100 * MIB);
    close_without_trace(peers);
}

#[test]
fn one_who_sends_byte_by_byte_is_closed_when_its_time_is_over() {
    let (server, good) = served(&["--frame-timeout", "1s"]);
    let mut quiet = server.connect();
    quiet.expect_nothing();
    let begun = [&header(kind::SUBMIT_JOB_BG, 1000)[..], b"f\0\0", b"half a line", b"\0RE"];
    let mut slow: Vec<Peer> = begun.iter().map(|_| server.connect()).collect();
    for (peer, bytes) in slow.iter_mut().zip(begun) {
        peer.send_raw(bytes);
    }
    // The second goes on: three bytes are a line begun, and more of it keeps coming.
    let deadline = now() + PATIENCE;
    while !slow.iter().all(Peer::is_closed) {
        for peer in &mut slow {
            if !peer.is_closed() {
                let _ = peer.try_send_raw(b"x");
                peer.receive_until(now() + Duration::from_millis(20), Peer::is_closed);
            }
        }
        assert!(now() < deadline, "a peer that never completes what it began is not closed");
    }
    quiet.expect_nothing();
    good.were_served();
}

#[test]
fn a_client_that_never_reads_its_results_is_closed() {
    let (mut server, good) = served(&["--max-outbox", "1MiB"]);
    let before = server.resident();
    let (mut deaf, mut worker) = (server.connect(), server.connect());
    worker.can_do("f");
    let handle = deaf.submit("f", "", b"");
    worker.take_job();
    for _ in 0..2000 {
        worker.data(&handle, &[b'x'; 64 << 10]);
    }
    worker.settle();
    worker.complete(&handle, b"");
    worker.expect_nothing();
    let deadline = now() + PATIENCE;
    let mut total = 0;
    while !deaf.is_closed() {
        assert!(now() < deadline, "the client that did not read is still connected");
        deaf.receive_until(deadline, |deaf| deaf.unread().len() > 1 << 20);
        total += deaf.take(deaf.unread().len()).len();
    }
    assert!(total < 100 << 20, "the client got {total} bytes after all");
    good.were_served();
    bounded(&mut server, before, 64 * MIB);
}

#[test]
fn one_who_asks_and_never_reads_the_answers_is_not_read_from() {
    let (mut server, good) = served(&["--max-outbox", "1MiB"]);
    let before = server.resident();
    let deaf = server.connect();
    deaf.stream().set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let flood = request(kind::ECHO_REQ, &[b'x'; 64 << 10]);
    let mut sent = 0;
    // Until the server takes no more, or has closed.
    let error = loop {
        match (&mut deaf.stream()).write(&flood) {
            Ok(length) => sent += length,
            Err(error) => break error,
        }
        assert!(sent < 512 << 20, "the server takes on and on from a peer that does not read");
    };
    let expected =
        [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    assert!(expected.contains(&error.kind()), "{error}");
    good.were_served();
    bounded(&mut server, before, 64 * MIB);
}

#[test]
fn garbage_harms_nobody_but_its_sender() {
    let (mut server, good) = served(&[]);
    let before = server.resident();
    let mut random = fastrand::Rng::with_seed(4730);
    for round in 0..600 {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..30) {
            let length = random.usize(0..400);
            let mut body: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            match round % 4 {
                // Anything at all.
                0 => bytes.append(&mut body),
                // A right frame with anything in it.
                1 => bytes.extend(request(random.u32(1..43), &body)),
                // A right frame with few different bytes, so that many of them are separators.
                2 => {
                    body.iter_mut().for_each(|byte| *byte = b"\0\0Hf:1 \n"[usize::from(*byte % 8)]);
                    bytes.extend(request(random.u32(1..43), &body));
                }
                // Lines of text.
                _ => {
                    body.iter_mut().for_each(|byte| {
                        *byte = b"show jobsuniquecancel function\0\n"[usize::from(*byte % 31)]
                    });
                    bytes.extend(&body);
                    bytes.push(b'\n');
                }
            }
        }
        let mut peer = server.connect();
        // The server may have closed before all of it was sent.
        let _ = peer.try_send_raw(&bytes);
        peer.leave();
    }
    good.were_served();
    bounded(&mut server, before, 64 * MIB);
}

#[test]
fn every_packet_type_with_any_number_of_arguments_leaves_the_connection_in_step() {
    let (mut server, good) = served(&[]);
    let before = server.resident();
    for kind in 1..43 {
        let mut peer = server.connect();
        for arguments in 0..10 {
            let plain = vec![&b"1"[..]; arguments].join(&0);
            // Also with a separator too many behind, and with one in front.
            for body in [&plain[..], &[&plain[..], b"\0"].concat(), &[b"\0", &plain[..]].concat()] {
                peer.send_raw(&request(kind, body));
                // Whatever it answers, the next packet is understood.
                peer.settle();
            }
        }
    }
    good.were_served();
    bounded(&mut server, before, 32 * MIB);
}

#[test]
fn every_unknown_packet_type_closes_its_connection() {
    let (server, good) = served(&[]);
    let unknown = (43..=50).chain([
        0,
        255,
        256,
        0x7fff_ffff,
        0x8000_0000,
        0x8000_0001,
        0x8000_0010,
        0xffff_fff0,
        u32::MAX,
    ]);
    for kind in unknown {
        for magic in [b"\0REQ", b"\0RES"] {
            for body in [&b""[..], b"x", b"a\0b\0c\0d"] {
                let mut peer = server.connect();
                peer.send_raw(&packet(magic, kind, body));
                peer.expect_closed();
            }
        }
    }
    good.were_served();
}

#[test]
fn a_million_abilities_are_bounded() {
    let (mut server, good) = served(&[]);
    let before = server.resident();
    let mut greedy = server.connect();
    let mut registered = 0;
    while registered < 1_000_000 {
        let batch: Vec<u8> = (registered..registered + 1000)
            .flat_map(|number| request(kind::CAN_DO, format!("ability-{number}").as_bytes()))
            .collect();
        if greedy.try_send_raw(&batch).is_err() {
            break;
        }
        registered += 1000;
    }
    assert!(registered >= 100_000, "closed after {registered} abilities");
    greedy.receive_until(now() + PATIENCE, Peer::is_closed);
    assert!(greedy.is_closed(), "a connection with a million abilities is still open");
    good.were_served();
    bounded(&mut server, before, 200 * MIB);
}

#[test]
fn a_worker_with_as_many_abilities_as_allowed_is_served_like_any_other() {
    let (server, good) = served(&["--max-abilities", "20000"]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    let all: Vec<u8> = (0..20_000)
        .flat_map(|number| request(kind::CAN_DO, format!("ability-{number}").as_bytes()))
        .collect();
    worker.send_raw(&all);
    worker.sleep();
    for number in [0, 9999, 19_999] {
        let handle = client.submit(&format!("ability-{number}"), "", b"");
        worker.expect_noop();
        assert_eq!(worker.take_job().handle, handle);
        worker.complete(&handle, b"r");
        client.expect_complete(&handle, b"r");
        worker.sleep();
    }
    worker.can_do("one too many");
    worker.expect_closed();
    good.were_served();
}

#[test]
fn functions_beyond_the_bound_are_refused_to_whoever_wants_one_more() {
    let (mut server, good) = served(&["--max-functions", "5000"]);
    let before = server.resident();
    let mut client = server.connect();
    let (mut created, mut refused) = (0, 0);
    for number in 0..20_000 {
        client.send(kind::SUBMIT_JOB_BG, &[format!("function-{number}").as_bytes(), b"", b""]);
        match client.frame() {
            frame if frame.kind == kind::JOB_CREATED => created += 1,
            frame => {
                assert_eq!(frame.kind, kind::ERROR, "{frame:?}");
                refused += 1;
            }
        }
    }
    assert!(created <= 5000 && created > 4900 && refused > 0, "{created} created, {refused} refused");
    client.submit_bg("function-0", "", b"");
    assert_eq!(server.admin("status").lines().filter(|line| line.starts_with("function-")).count(), created);
    good.were_served();
    bounded(&mut server, before, 64 * MIB);
}

#[test]
fn long_function_names_are_bounded_by_the_memory_they_take() {
    let (mut server, good) = served(&["--max-memory", "64MiB"]);
    let before = server.resident();
    let mut greedy = server.connect();
    for number in 0..50_000 {
        if greedy.try_send_raw(&request(kind::CAN_DO, format!("{number:08000}").as_bytes())).is_err() {
            break;
        }
    }
    greedy.receive_until(now() + Duration::from_secs(1), Peer::is_closed);
    good.were_served();
    bounded(&mut server, before, 150 * MIB);
}

#[test]
fn jobs_are_bounded_by_the_memory_they_take() {
    let (mut server, good) = served(&["--store", "memory", "--max-memory", "32MiB"]);
    let before = server.resident();
    let mut client = server.connect();
    let mut accepted = 0;
    let refused = loop {
        client.send(kind::SUBMIT_JOB_BG, &[b"f", b"", &[b'x'; 8000]]);
        match client.frame() {
            frame if frame.kind == kind::JOB_CREATED => accepted += 1,
            frame => break frame,
        }
        assert!(accepted < 10_000, "80 MB of jobs were accepted");
    };
    assert!(refused.body.starts_with(b"QUEUE_ERROR\0"), "{refused:?}");
    assert!(accepted > 2000, "{accepted} accepted");
    // Room comes back with each job that ends.
    let mut worker = server.connect();
    worker.can_do("f");
    let job = worker.take_job();
    worker.complete(&job.handle, b"");
    worker.settle();
    client.submit_bg("f", "", &[b'x'; 8000]);
    good.were_served();
    bounded(&mut server, before, 64 * MIB);
}

#[test]
fn a_client_that_joins_its_own_job_again_and_again_is_bounded() {
    let (mut server, good) = served(&["--max-outbox", "1MiB"]);
    let before = server.resident();
    let (mut greedy, mut worker) = (server.connect(), server.connect());
    let join = request(kind::SUBMIT_JOB, b"f\0U\0x");
    let handle = greedy.submit("f", "U", b"x");
    for _ in 0..100 {
        greedy.send_raw(&join.repeat(1000));
        (0..1000).for_each(|_| assert_eq!(greedy.created(), handle));
    }
    worker.can_do("f");
    worker.take_job();
    // A hundred thousand copies of this are due, six gigabytes.
    worker.complete(&handle, &[b'x'; 64 << 10]);
    worker.expect_nothing();
    good.were_served();
    bounded(&mut server, before, 64 * MIB);
}

#[test]
fn lines_without_end_are_bounded() {
    let (mut server, good) = served(&[]);
    let before = server.resident();
    for _ in 0..20 {
        let mut peer = server.connect();
        let deadline = now() + PATIENCE;
        while peer.try_send_raw(&[b'x'; 8192]).is_ok() {
            assert!(now() < deadline, "the server takes an endless line");
        }
    }
    let mut admin = server.connect();
    admin.send_text(&format!("status{}\r\n", " x".repeat(3000)));
    admin.receive_until(now() + PATIENCE, |admin| admin.is_closed() || !admin.unread().is_empty());
    good.were_served();
    bounded(&mut server, before, 32 * MIB);
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let (mut server, good) = served(&[]);
    let before = server.resident();
    let words =
        [request(kind::CAN_DO, b"f"), request(kind::SUBMIT_JOB, b"f\0\0x"), request(kind::PRE_SLEEP, b"")]
            .concat();
    for round in 0..3000 {
        let mut peer = server.connect();
        peer.send_raw(&words[..round % (words.len() + 1)]);
        close_without_trace([peer]);
    }
    good.were_served();
    eventually("all are forgotten", || (server.admin("workers").lines().count() == 2).then_some(()));
    assert_eq!(server.admin("show jobs"), ".\n", "jobs of clients that left are still there");
    bounded(&mut server, before, 32 * MIB);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_anything_harms_nobody() {
    let (server, good) = served(&[]);
    let dialogue = [
        request(kind::CAN_DO, b"f"),
        request(kind::SUBMIT_JOB, b"f\0u\0payload"),
        b"status\r\n".to_vec(),
        request(kind::GRAB_JOB, b""),
        request(kind::SUBMIT_JOB, b"f\0u\0payload"),
        request(kind::PRE_SLEEP, b""),
    ]
    .concat();
    for cut in 0..=dialogue.len() {
        let mut peer = server.connect();
        peer.send_raw(&dialogue[..cut]);
        peer.leave();
    }
    assert!(server.admin("status").contains("f\t0\t0\t0\n"));
    good.were_served();
}

/// A server, and good peers that it serves.
fn served(options: &[&str]) -> (Server, GoodPeers) {
    let server = Server::serve(options);
    let good = GoodPeers::start(&server);
    (server, good)
}

/// A client and a worker that do one job after the other, in a thread of their own.
struct GoodPeers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(usize, Duration)>>,
}

impl GoodPeers {
    /// Returns when the first job is done.
    fn start(server: &Server) -> GoodPeers {
        let (mut client, mut worker) = (server.connect(), server.connect());
        worker.can_do("good");
        one_job(&mut client, &mut worker);
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut done, mut slowest) = (0, Duration::ZERO);
            while !stopping.load(Ordering::Relaxed) || done == 0 {
                let began = now();
                one_job(&mut client, &mut worker);
                slowest = slowest.max(began.elapsed());
                done += 1;
                // One job each few milliseconds is enough; the rest of the machine is for the attack.
                worker.receive_until(now() + Duration::from_millis(5), |_| false);
            }
            (done, slowest)
        });
        GoodPeers { stop, thread: Some(thread) }
    }

    /// Ends them, and asserts that each job of theirs was done in decent time.
    #[track_caller]
    fn were_served(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        let Some(Ok((done, slowest))) = joined else { panic!("the good peers were not served") };
        assert!(done > 0);
        // Several attacks run side by side on few processors; a server that is stuck takes far longer.
        assert!(slowest < Duration::from_secs(5), "a good peer waited {slowest:?} for one of {done} jobs");
    }
}

impl Drop for GoodPeers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn one_job(client: &mut Peer, worker: &mut Peer) {
    worker.pre_sleep();
    let handle = client.submit("good", "", b"payload");
    worker.expect_noop();
    assert_eq!(worker.take_job().handle, handle);
    worker.complete(&handle, b"result");
    client.expect_complete(&handle, b"result");
}

/// The server still runs, and has grown by no more than this.
#[track_caller]
fn bounded(server: &mut Server, before: u64, allowed: u64) {
    assert!(server.is_running(), "the server is gone");
    let grown = server.resident().saturating_sub(before);
    assert!(grown <= allowed, "the server grew by {} MiB, {} are allowed", grown / MIB, allowed / MIB);
}

/// The header of a packet whose body is to follow.
fn header(kind: u32, length: u32) -> Vec<u8> {
    let mut header = request(kind, b"");
    header[8..].copy_from_slice(&length.to_be_bytes());
    header
}

/// Lets this process open so many files.
#[track_caller]
fn may_open_files(count: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(hard >= count, "this test needs {count} open files; the hard limit is {hard} (ulimit -Hn)");
    if soft < count {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raising the soft limit to the hard one");
    }
}

/// Closes with a reset, so that thousands of ports are not kept from the other tests for a minute.
fn close_without_trace(peers: impl IntoIterator<Item = Peer>) {
    for peer in peers {
        SockRef::from(peer.stream()).set_linger(Some(Duration::ZERO)).expect("a socket option");
    }
}
