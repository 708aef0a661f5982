//! So many ends that they are put away while others come in.

use super::house::House;
use crate::support::kind;
use crate::support::peer::request;

#[test]
fn ends_stay_ends_while_earlier_ones_are_put_away() {
    const AT_ONCE: usize = 2000;
    let mut house = House::new();
    let (mut client, mut worker) = (house.connect(), house.worker(&["f"]));
    let mut held = Vec::new();
    for _ in 0..20 {
        client.send_raw(&request(kind::SUBMIT_JOB_BG, b"f\0\0x").repeat(AT_ONCE));
        (0..AT_ONCE).for_each(|_| drop(client.created()));
        worker.send_raw(&request(kind::GRAB_JOB, b"").repeat(AT_ONCE));
        held.extend((0..AT_ONCE).filter_map(|_| worker.assigned()).map(|job| job.handle));
    }
    // Far more in the first go than is put away in one, and enough in the second to last until all of it is.
    let (first, second) = held.split_at(25_000);
    for handles in [first, second] {
        let ends =
            handles.iter().map(|handle| request(kind::WORK_COMPLETE, format!("{handle}\0").as_bytes()));
        worker.send_raw(&ends.collect::<Vec<_>>().concat());
        // Its record comes after those of all these ends.
        worker.submit_bg("seal", "", b"");
    }
    house.kill();
    let listed = house.admin("show jobs");
    assert!(listed.lines().count() == 3, "{} jobs beside the two of the end", listed.lines().count() - 3);
}
