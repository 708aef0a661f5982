//! Whether all is as it must be: the engine's own tables, and everything that can be listed.

use gearhouse::engine::Lister;
use gearhouse::protocol::Listing;
use gearhouse::types::Timestamp;

use super::ask::LISTINGS;
use super::world::World;

impl World<'_> {
    pub(super) fn check(&self) {
        self.twin.check();
        self.broker.check();
    }

    pub(super) fn check_empty(&self) {
        self.twin.check_empty();
        self.broker.check_empty();
    }

    /// Everything that can be listed is as the model counts it.
    pub(super) fn compare(&self) {
        for listing in LISTINGS {
            let (told, expected) = (self.twin_list(listing), self.model.list(listing));
            assert!(
                told == expected,
                "{listing:?} told\n{}\nand must tell\n{}",
                told.escape_ascii(),
                expected.escape_ascii()
            );
        }
        // A store that failed forgets no end: see `World::end_process` for what it brings back.
        let log = self.seen.log.keys().copied().collect();
        assert!(
            self.seen.has_failed() || self.model.log() == log,
            "what the log brings back is what was kept"
        );
        assert_eq!(self.broker.connections(), self.seats.len(), "connections");
        assert_eq!(self.broker.is_drained(), self.model.is_drained(), "the end is reached");
        let due = self.twin.next_deadline();
        assert_eq!(due, self.broker.next_deadline(), "both are due at the same time");
        if let Some(model) = self.model.next_due() {
            assert!(due.is_some_and(|due| due <= model), "due at {due:?}, at the latest {model:?}");
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.twin.next_deadline()
    }

    pub(super) fn twin_list(&self, listing: Listing) -> Vec<u8> {
        let mut text = Vec::new();
        let mut lister = Lister::new(listing);
        while self.twin.list(&mut lister, usize::MAX, &mut text) {}
        text
    }

    /// The numbers of all jobs.
    pub(super) fn listed(&self) -> Vec<u64> {
        let text = self.twin_list(Listing::Jobs);
        let rows = std::str::from_utf8(&text).expect("handles are text").lines();
        rows.filter_map(|row| row.split('\t').next()?.rsplit(':').next()?.parse().ok()).collect()
    }
}
