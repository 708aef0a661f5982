//! Power cuts under the real binary: what had left by a socket counts as acknowledged, whatever clients had read.

use std::collections::{BTreeMap, HashMap};

use gearhouse::store::sqlite::SqliteStore;

use super::page_cache::PageCache;
use super::power_cuts::number;
use super::script::Model;
use super::server::Server;
use super::shim::{Bench, quick_place};
use super::trace::Event;
use crate::support::peer::whole_frame;
use crate::support::{Peer, kind};

/// Images that are looked at in a plain test run; `GEARHOUSE_POWER_CUTS` names another number.
const CUTS: u64 = 400;

#[test]
fn no_power_cut_loses_a_job_whose_job_created_had_left_the_server() {
    let bench = Bench::new();
    let server = Server::traced(&bench);
    let mut submitted: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut clients: Vec<Peer> = (0..3).map(|_| server.connect()).collect();
    let mut worker = server.connect();
    worker.can_do("kept");
    let mut done = Vec::new();
    for round in 0..25_usize {
        // Some at a time on each connection, so that they gather.
        let bodies = |client: usize| {
            (0..=round % 4).map(move |n| format!("kept\0{round}-{client}-{n}\0{}", "x".repeat(round * 40)))
        };
        for (index, client) in clients.iter_mut().enumerate() {
            bodies(index).for_each(|body| client.send(kind::SUBMIT_JOB_BG, &[body.as_bytes()]));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            for body in bodies(index) {
                submitted.insert(job_number(client.created().as_bytes()), body.into_bytes());
            }
        }
        if round % 3 == 0 {
            let job = worker.take_job();
            worker.complete(&job.handle, b"");
            worker.expect_nothing();
            done.push(job_number(job.handle.as_bytes()));
        }
    }
    server.kill();

    let events = bench.trace();
    let out = events.iter().filter(|event| matches!(event, Event::Out { .. })).count();
    let syncs = events.iter().filter(|event| matches!(event, Event::Synced(_))).count();
    let images = number("GEARHOUSE_POWER_CUTS", CUTS) as usize;
    let each = images.div_ceil(out + syncs);
    let mut random = fastrand::Rng::with_seed(3);
    let (mut cache, mut streams) = (PageCache::default(), HashMap::<u32, Vec<u8>>::new());
    let (mut acknowledged, mut looked_at) = (Vec::new(), 0);
    for event in &events {
        cache.apply(event);
        match event {
            Event::Out { fd, data } => {
                let stream = streams.entry(*fd).or_default();
                stream.extend(data);
                acknowledged.extend(created(stream));
            }
            Event::SyncBegins(_) | Event::Synced(_) => {}
            _ => continue,
        }
        for _ in 0..each {
            let folder = tempfile::tempdir_in(quick_place()).unwrap();
            let mood = cache.cut(random.u64(..), folder.path());
            let (found, first) = SqliteStore::open(folder.path(), false)
                .and_then(|mut store| Model::of(&mut store))
                .unwrap_or_else(|error| panic!("after {looked_at} images, disk {mood}: {error}"));
            for id in &acknowledged {
                let body = found.jobs.get(id).map(|job| &job.body);
                let is_there = body == submitted.get(id) || (body.is_none() && done.contains(id));
                assert!(is_there, "job {id} was acknowledged and is not there as it was; disk {mood}");
                assert!(first > *id, "number {id} may be given out again");
            }
            looked_at += 1;
        }
    }
    assert_eq!(acknowledged.len(), submitted.len(), "the trace misses acknowledgements");
    println!(
        "{} acknowledged, {out} writes to sockets, {syncs} syncs, {looked_at} images",
        acknowledged.len()
    );
}

/// Takes whole packets off a stream: the numbers of the jobs that they say were created.
fn created(stream: &mut Vec<u8>) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some(length) = whole_frame(stream) {
        let frame: Vec<u8> = stream.drain(..length).collect();
        if frame[4..8] == kind::JOB_CREATED.to_be_bytes() {
            found.push(job_number(&frame[12..]));
        }
    }
    found
}

fn job_number(handle: &[u8]) -> u64 {
    let text = std::str::from_utf8(handle).unwrap();
    text.rsplit(':').next().unwrap().parse().unwrap()
}
