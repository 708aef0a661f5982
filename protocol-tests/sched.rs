//! SUBMIT_JOB_SCHED: jobs that come again and again. gearmand never had it.
//!
//! That a schedule fires is shown with virtual time in the engine's own tests: here it would take up to a minute.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::peer::Status;
use crate::support::{Peer, Server, kind};

const DAY: u64 = 86_400;

#[test]
fn a_schedule_has_a_handle_that_is_known_until_it_is_cancelled() {
    let server = Server::gearhouse(&[]);
    let mut client = server.connect();
    let handle = schedule(&mut client, "U", "0 0 * * *");
    assert_eq!(client.status(&handle).state(), Status::WAITING);
    assert_eq!(server.admin(&format!("cancel job {handle}")), "OK\r\n");
    assert_eq!(client.status(&handle).state(), Status::UNKNOWN);
    assert_eq!(server.admin("show schedules"), ".\n");
    assert_eq!(server.admin(&format!("cancel job {handle}")), "ERR UNKNOWN_JOB\r\n");
}

#[test]
fn a_schedule_is_listed_with_the_time_of_its_next_job() {
    let server = Server::gearhouse(&[]);
    let mut client = server.connect();
    let handle = schedule(&mut client, "U", "0 0 * * *");
    let midnight = (unix_time() / DAY + 1) * DAY;
    let row = server.admin("show schedules");
    assert_eq!(row, format!("{handle}\tf\tU\t0 0 * * *\t{midnight}\n.\n"));
}

#[test]
fn a_schedule_outlives_the_client_that_made_it() {
    let server = Server::gearhouse(&[]);
    let mut client = server.connect();
    let handle = schedule(&mut client, "", "0 0 * * *");
    client.leave();
    assert_eq!(server.connect().status(&handle).state(), Status::WAITING);
}

#[test]
fn nothing_is_given_out_before_its_minute() {
    let server = Server::gearhouse(&[]);
    let (mut client, mut worker) = (server.connect(), server.connect());
    schedule(&mut client, "", "0 0 1 1 *");
    worker.can_do("f");
    worker.sleep();
    assert_eq!(worker.grab(), None);
}

#[test]
fn the_same_unique_id_replaces_the_schedule_and_keeps_its_handle() {
    let server = Server::gearhouse(&[]);
    let mut client = server.connect();
    let handle = schedule(&mut client, "U", "0 0 * * *");
    assert_eq!(schedule(&mut client, "U", "30 12 * * *"), handle);
    let rows = server.admin("show schedules");
    assert_eq!(rows.lines().count(), 2, "{rows}");
    assert!(rows.starts_with(&format!("{handle}\tf\tU\t30 12 * * *\t")), "{rows}");
    assert_ne!(schedule(&mut client, "V", "0 0 * * *"), handle);
}

#[test]
fn schedules_without_unique_id_are_never_the_same() {
    let server = Server::gearhouse(&[]);
    let mut client = server.connect();
    assert_ne!(schedule(&mut client, "", "0 0 * * *"), schedule(&mut client, "", "0 0 * * *"));
}

#[test]
fn day_0_of_the_week_is_monday() {
    for (day, number) in [("0", 0), ("6", 6), ("2", 2), ("mon", 0), ("SUN", 6)] {
        let next = next_of(&format!("0 0 * * {day}"));
        // 1 January 1970 was a Thursday, day 3.
        assert_eq!((next / DAY + 3) % 7, number, "day of week {day}");
        assert_eq!(next % DAY, 0);
        assert!(next <= unix_time() + 7 * DAY);
    }
}

#[test]
fn fields_may_be_lists_ranges_and_steps() {
    let minute_of = |cron: &str| next_of(cron) / 60 % 60;
    assert!([0, 15, 30, 45].contains(&minute_of("*/15 * * * *")));
    assert!([5, 50].contains(&minute_of("5,50 * * * *")));
    assert!((20..=22).contains(&minute_of("20-22 * * * *")));
    assert!([10, 30].contains(&minute_of("10-40/20 * * * *")));
    let next = next_of("* * * * *");
    assert!(next.is_multiple_of(60) && next > unix_time() - 60 && next <= unix_time() + 60);
}

#[test]
fn fields_that_make_no_sense_are_refused_and_the_connection_goes_on() {
    let server = Server::gearhouse(&[]);
    let mut client = server.connect();
    for cron in [
        "60 0 * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 32 * *",
        "0 0 * 13 *",
        "0 0 * 0 *",
        "0 0 * * 7",
        "-1 0 * * *",
        "x 0 * * *",
        "*/0 * * * *",
        "1-x 0 * * *",
        "0 0 * * 5-7",
    ] {
        send(&mut client, "", cron);
        let got = client.frame();
        assert!(got.body.starts_with(b"INVALID_ARGUMENT\0"), "{cron}: {got:?}");
    }
    send(&mut client, "", "0 0 31 2 *");
    client.expect_error("INVALID_ARGUMENT");
    client.send(kind::SUBMIT_JOB_SCHED, &[b"f", b"", b"0", b"0"]);
    client.expect_error("INVALID_PACKET");
    assert_eq!(server.admin("show schedules"), ".\n");
}

/// When a schedule made now comes next, in seconds of Unix time.
fn next_of(cron: &str) -> u64 {
    let server = Server::gearhouse(&[]);
    schedule(&mut server.connect(), "", cron);
    let rows = server.admin("show schedules");
    let next = rows.lines().next().and_then(|row| row.rsplit('\t').next()?.parse().ok());
    next.unwrap_or_else(|| panic!("no time in {rows:?}"))
}

fn schedule(client: &mut Peer, unique: &str, cron: &str) -> String {
    send(client, unique, cron);
    client.created()
}

fn send(client: &mut Peer, unique: &str, cron: &str) {
    let fields = cron.split(' ').map(str::as_bytes);
    let arguments: Vec<&[u8]> =
        [&b"f"[..], unique.as_bytes()].into_iter().chain(fields).chain([&b"data"[..]]).collect();
    client.send(kind::SUBMIT_JOB_SCHED, &arguments);
}

#[allow(clippy::disallowed_methods, reason = "schedules are calendar time")]
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
