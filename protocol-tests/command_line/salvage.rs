//! A damaged store: refused with its place, and gone on with only when that is asked for.

use std::fs;
use std::path::Path;

use gearhouse::types::Priority;
use nix::sys::signal::Signal;

use super::run::{Ended, run, text};
use super::server::Server;
use super::store::{Place, import, info, job, store, tamper, whole};

/// A start that must fail.
fn serve(data: &Path, options: &[&str]) -> Ended {
    run(&[&["serve", "--listen", "127.0.0.1:0", "--data-dir", text(data)], options].concat())
}

fn handles(server: &Server) -> Vec<String> {
    let jobs = server.json(&["admin", "jobs"]);
    let handle = |job: &serde_json::Value| job["handle"].as_str().unwrap().to_owned();
    jobs.as_array().unwrap().iter().map(handle).collect()
}

#[test]
fn a_damaged_store_is_refused_with_its_place_until_the_server_may_go_on_without_it() {
    let place = Place::new();
    let data = whole(&place);
    tamper(
        &data,
        "UPDATE job SET meta = zeroblob(40) WHERE id = 2; DELETE FROM body WHERE id = 7;
         UPDATE schedule SET fields = '* * * * *'",
    );
    let before = fs::read(data.join("jobs.db")).unwrap();
    let refused = serve(&data, &[]);
    let said = refused.with_code(1);
    assert!(said.contains(text(&data.join("jobs.db"))) && said.contains("row 2 of table job"), "{said}");
    assert!(said.contains("1 more") && said.contains("--salvage"), "{said}");
    assert!(fs::read(data.join("jobs.db")).unwrap() == before, "the refusal changed the file");

    let options = ["--data-dir", text(&data), "--handle-prefix", "H:x"];
    let mut server = Server::start(&[&options[..], &["--salvage"]].concat());
    for lost in
        ["table job, row 2: ", "table job, row 7: its payload is not there", "table schedule, row 8: "]
    {
        server.logged(&format!("taken out: {lost}"));
    }
    assert_eq!(handles(&server), ["H:x:3", "H:x:4", "H:x:5", "H:x:6"]);
    server.signal(Signal::SIGTERM);
    server.wait();

    // What was taken out is no fault any more.
    store("verify", &data, &[]).well();
    let server = Server::start(&options);
    assert_eq!(handles(&server), ["H:x:3", "H:x:4", "H:x:5", "H:x:6"]);
    assert_eq!(server.json(&["admin", "schedules"]), serde_json::json!([]));
}

#[test]
fn numbers_do_not_repeat_although_their_count_is_damaged() {
    let place = Place::new();
    let data = whole(&place);
    tamper(&data, "UPDATE numbers SET next = zeroblob(12)");
    assert!(serve(&data, &[]).with_code(1).contains("row 1 of table numbers"));
    let server = Server::start(&["--data-dir", text(&data), "--handle-prefix", "H:x", "--salvage"]);
    let handle = server.run(&["submit", "f", "--background", "x"]).well();
    // All that the process before could give out lies below.
    assert_eq!(handle.trim_end(), format!("H:x:{}", (1_u64 << 40) + 1));
}

#[test]
fn jobs_on_both_sides_of_a_damaged_page_are_taken_out_by_an_export() {
    let place = Place::new();
    let jobs: Vec<_> = (1..=400).map(|id| job(id, Priority::Low, b"f", b"unique", b"x")).collect();
    let data = place.store("data", &[&jobs]);
    zero_a_page_in_the_middle(&data, "job");

    assert!(serve(&data, &[]).with_code(1).contains("is damaged: table job: rows from "));
    let refused = serve(&data, &["--salvage"]);
    assert!(refused.with_code(1).contains("`gearhouse store export --salvage`"), "{}", refused.stderr);
    store("export", &data, &[]).with_code(1);

    let ended = store("export", &data, &["--salvage"]);
    let lines = ended.well();
    let (_, told) = ended.stderr.split_once("rows from ").expect(&ended.stderr);
    let numbers = told.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
    let [first, beyond] = *numbers.take(2).collect::<Vec<_>>() else { panic!("{told}") };
    assert!(first > 1 && first < beyond && beyond <= 400, "{told}");
    for id in 1..=400 {
        let is_there = lines.contains(&format!("\"number\":{id},"));
        assert_eq!(is_there, !(first..beyond).contains(&id), "job {id}: {told}");
    }
    let there = place.path("there");
    import(&there, &lines).with_code(0);
    assert_eq!(info(&there)["jobs"], 400 - (beyond - first));
}

#[test]
fn payloads_on_a_damaged_page_cost_their_jobs_and_no_others() {
    let place = Place::new();
    let jobs: Vec<_> = (1..=400).map(|id| job(id, Priority::Low, b"f", b"unique", b"x")).collect();
    let data = place.store("data", &[&jobs]);
    zero_a_page_in_the_middle(&data, "body");
    let ended = store("export", &data, &["--salvage"]);
    let exported = ended.well().lines().filter(|line| line.contains("\"job\"")).count();
    let lost = ended.stderr.lines().filter(|line| line.contains("its payload is missing or damaged")).count();
    assert!(exported > 100 && lost > 10, "{exported} {lost}");
    assert_eq!(exported + lost, 400);
}

/// Writes zeros over one of the pages that hold the table's rows.
fn zero_a_page_in_the_middle(data: &Path, table: &str) {
    const PAGE: usize = 4096;
    let file = data.join("jobs.db");
    let select = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'");
    let root: u32 =
        rusqlite::Connection::open(&file).unwrap().query_row(&select, [], |row| row.get(0)).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    // SQLite's file format: an inner page of a table is of type 5, its cells begin with the number of a child.
    let page = &bytes[(usize::try_from(root).unwrap() - 1) * PAGE..][..PAGE];
    assert_eq!(page[0], 5, "there are too few rows for more than one page");
    let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
    let pointer = &page[12 + cells / 2 * 2..][..2];
    let cell = usize::from(u16::from_be_bytes([pointer[0], pointer[1]]));
    let child = u32::from_be_bytes(page[cell..][..4].try_into().unwrap());
    bytes[(usize::try_from(child).unwrap() - 1) * PAGE..][..PAGE].fill(0);
    fs::write(file, bytes).unwrap();
}
