//! So many ends that they are put away while others come in.

use std::collections::HashSet;

use super::house::House;
use crate::support::kind;
use crate::support::peer::request;

/// More than the store lets gather before it puts ends away beside its other work.
const MANY: usize = 40_000;

#[test]
fn ends_stay_ends_while_earlier_ones_are_put_away() {
    const AT_ONCE: usize = 500;
    let mut house = House::new();
    let (mut client, mut worker) = (house.connect(), house.worker(&["f"]));
    let submits = request(kind::SUBMIT_JOB_BG, b"f\0\0x").repeat(AT_ONCE);
    let grabs = request(kind::GRAB_JOB, b"").repeat(AT_ONCE);
    client.send_raw(&submits);
    let mut ended = HashSet::new();
    while ended.len() < MANY {
        // The next ones are on their way while these are done: the store always has something to write.
        client.send_raw(&submits);
        (0..AT_ONCE).for_each(|_| drop(client.created()));
        worker.send_raw(&grabs);
        let jobs: Vec<String> =
            (0..AT_ONCE).filter_map(|_| worker.assigned()).map(|job| job.handle).collect();
        let ends = jobs.iter().map(|handle| request(kind::WORK_COMPLETE, format!("{handle}\0").as_bytes()));
        worker.send_raw(&ends.collect::<Vec<_>>().concat());
        ended.extend(jobs);
    }
    // Its record comes after those of all ends.
    worker.submit_bg("seal", "", b"");
    house.kill();
    let listed = house.admin("show jobs");
    let back: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split('\t').next())
        .filter(|handle| ended.contains(*handle))
        .collect();
    assert!(back.is_empty(), "{} of {} came back: {back:?}", back.len(), ended.len());
}
