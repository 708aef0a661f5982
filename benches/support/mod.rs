//! What the benches share: the packets that peers send, and the allocator that the server runs with.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::Criterion;
use gearhouse::protocol::{Frame, Handle, Kind, Request};
use gearhouse::types::JobId;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Short enough that all benches together take about a minute.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

/// The prefix of all handles.
pub const PREFIX: &str = "H:gearhouse";

const PAYLOAD: [u8; 100] = [b'x'; 100];

/// A small job. Unique ids have the 36 bytes of a UUID, as libraries make them.
pub fn submit(kind: Kind, function: usize, unique: Option<u64>) -> Frame {
    let unique = unique.map_or(String::new(), |number| format!("{number:036}"));
    Frame::request(kind, &[name(function).as_bytes(), unique.as_bytes(), &PAYLOAD])
}

/// Registers a function.
pub fn can_do(function: usize) -> Frame {
    Frame::request(Kind::CanDo, &[name(function).as_bytes()])
}

/// A worker's request for a job.
pub fn grab() -> Frame {
    Frame::request(Kind::GrabJobUniq, &[])
}

/// A worker's word that it waits to be woken.
pub fn pre_sleep() -> Frame {
    Frame::request(Kind::PreSleep, &[])
}

/// The end of a job.
pub fn complete(job: u64) -> Frame {
    Handle { prefix: PREFIX, id: JobId(job) }
        .with_bytes(|handle| Frame::request(Kind::WorkComplete, &[handle, b"result"]))
}

/// What the server makes of a packet.
pub fn request(frame: Frame) -> Request {
    Request::parse(frame)
}

/// Packets as one read brings them.
pub fn read(frames: impl IntoIterator<Item = Frame>) -> Bytes {
    let mut bytes = BytesMut::new();
    frames.into_iter().for_each(|frame| frame.encode(&mut bytes));
    bytes.freeze()
}

fn name(function: usize) -> String {
    format!("function-{function}")
}
