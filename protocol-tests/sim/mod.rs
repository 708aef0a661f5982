//! The seeded simulation: whole worlds of clients, workers and operators around the server's own decoder, engine,
//! outboxes and broker, in one thread and with a clock of their own. A plain model says what must happen.
//!
//! A world that goes wrong shows its seed, its last lines, and how to run it again:
//! `GEARHOUSE_SIM_SEED=7 cargo test --test protocol sim -- --nocapture`.
//! `GEARHOUSE_SIM_SEEDS` sets how many worlds there are. README.md lists what each rule has caught.

mod ask;
mod compare;
mod cron;
mod disk;
mod finish;
mod item;
mod keeper;
mod ledger;
mod model;
mod operate;
mod peer;
mod seen;
mod serve;
mod swarm;
mod trace;
mod wire;
mod words;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::trace::{Mode, Trace};
use self::world::World;

/// Worlds of a plain run, and how long each of them goes on.
const SEEDS: u64 = 1000;
const STEPS: usize = 2000;

/// One world in so many is run twice more, with tables hashed in two ways.
const REPEATED: u64 = 10;

/// Any two numbers.
const HASHES: [u64; 2] = [0x5eed, 0xd1ce];

#[test]
fn every_world_keeps_every_promise() {
    if let Some(seed) = number_from("GEARHOUSE_SIM_SEED") {
        let mut trace = Trace::new(Mode::Printed);
        return live(seed, HASHES[0], &mut trace);
    }
    for seed in 0..number_from("GEARHOUSE_SIM_SEEDS").unwrap_or(SEEDS) {
        let went_well = catch_unwind(|| live(seed, HASHES[0], &mut Trace::new(Mode::Off)));
        if went_well.is_err() {
            report(seed);
        }
    }
}

#[test]
fn a_world_repeats_itself_however_its_tables_are_hashed() {
    for seed in (0..number_from("GEARHOUSE_SIM_SEEDS").unwrap_or(SEEDS)).step_by(REPEATED as usize) {
        let digests = HASHES.map(|hash| {
            let mut trace = Trace::new(Mode::Kept);
            live(seed, hash, &mut trace);
            trace.digest()
        });
        assert_eq!(digests[0], digests[1], "seed {seed}: the same happens with tables hashed in another way");
    }
}

/// One world from its beginning to its end.
fn live(seed: u64, hash: u64, trace: &mut Trace) {
    let mut world = World::new(seed, hash, trace);
    world.run(STEPS);
    world.finish();
}

/// Lives a world that went wrong again, and tells its last lines.
fn report(seed: u64) -> ! {
    let mut trace = Trace::new(Mode::Kept);
    let again = catch_unwind(AssertUnwindSafe(|| live(seed, HASHES[0], &mut trace)));
    let again =
        if again.is_err() { "" } else { "It went well the second time: something is left to chance.\n" };
    panic!(
        "the world of seed {seed} went wrong in step {}, for the reason above:\n{}{again}\
         To see all of it: GEARHOUSE_SIM_SEED={seed} cargo test --test protocol sim -- --nocapture",
        trace.step,
        trace.last()
    );
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
