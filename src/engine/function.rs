//! Functions: what waits for them, who can do them, and which of them have something to hand out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use foldhash::quality::FixedState;

use super::ready::Ready;
use crate::protocol::MaxQueue;
use crate::types::{ConnId, FunctionId, JobId, Priority, Timestamp};

/// One function.
#[derive(Debug)]
pub(super) struct Function {
    pub name: Bytes,
    /// Jobs that may be handed out, by priority, then place.
    pub ready: [Ready; 3],
    /// Jobs that are not due yet, by priority.
    pub delayed: [usize; 3],
    pub running: usize,
    /// Recurring jobs that submit to it.
    pub schedules: usize,
    /// Connections that registered it.
    pub workers: usize,
    /// Registered connections that may be asleep, who slept first in front. A connection that was passed over
    /// because it was awake is put back when it falls asleep: see [`super::sleep`].
    pub line: BTreeMap<u64, ConnId>,
    /// Connections that were sent a NOOP for a job of this function and have not answered it.
    pub woken: usize,
    pub limits: MaxQueue,
    /// Assignments until payloads of the jobs ahead are asked for again; see [`super::bodies`].
    pub until_prefetch: u32,
    /// Made by `create function`: stays until dropped.
    pub pinned: bool,
    /// When it was served last, as a count; the smallest goes first among equal priorities.
    turn: u64,
    /// How it stands in [`Functions::ready`].
    listed: Option<(Priority, u64)>,
    /// Its place in [`Functions::unused`].
    expires: Option<Timestamp>,
}

impl Function {
    pub fn ready_count(&self) -> usize {
        self.ready.iter().map(Ready::len).sum()
    }

    /// Waiting jobs of a priority, due or not.
    pub fn waiting(&self, priority: Priority) -> usize {
        self.ready[priority as usize].len() + self.delayed[priority as usize]
    }

    /// All its jobs.
    pub fn total(&self) -> usize {
        self.ready_count() + self.delayed.iter().sum::<usize>() + self.running
    }

    /// The best job that may be handed out.
    pub fn first(&self) -> Option<(Priority, JobId)> {
        let priority = self.best_priority()?;
        Some((priority, self.ready[priority as usize].first()?))
    }

    fn best_priority(&self) -> Option<Priority> {
        Priority::ALL.into_iter().find(|priority| self.ready[*priority as usize].len() > 0)
    }

    /// No one would miss it.
    pub fn is_unused(&self) -> bool {
        self.workers == 0
            && self.total() == 0
            && self.schedules == 0
            && !self.pinned
            && self.limits == [None; 3]
    }

    fn key(&self) -> Option<(Priority, u64)> {
        Some((self.best_priority()?, self.turn))
    }
}

/// All functions.
#[derive(Debug)]
pub(super) struct Functions {
    slots: Vec<Option<Function>>,
    free: Vec<FunctionId>,
    by_name: HashMap<Bytes, FunctionId, FixedState>,
    /// The same in the order of names, for listings.
    names: BTreeMap<Bytes, FunctionId>,
    /// Functions with ready jobs, the one to be served first in front.
    ready: BTreeSet<(Priority, u64, FunctionId)>,
    /// Functions that were unused when last looked at, and when to look again.
    unused: BTreeSet<(Timestamp, FunctionId)>,
    turns: u64,
    memory: u64,
}

impl Functions {
    /// What a function takes besides the bytes of its name: its slot and its places in the tables.
    const OVERHEAD: u64 = 500;

    pub fn new(hasher: FixedState) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::with_hasher(hasher),
            names: BTreeMap::new(),
            ready: BTreeSet::new(),
            unused: BTreeSet::new(),
            turns: 0,
            memory: 0,
        }
    }

    /// Bytes of memory that a function of this name is accounted with.
    pub fn cost(name: &[u8]) -> u64 {
        Functions::OVERHEAD + name.len() as u64
    }

    /// Bytes of memory that all functions are accounted with.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn find(&self, name: &[u8]) -> Option<FunctionId> {
        self.by_name.get(name).copied()
    }

    /// The function with this name, made if there is none.
    pub fn find_or_create(&mut self, name: &[u8]) -> FunctionId {
        if let Some(id) = self.find(name) {
            return id;
        }
        let name = Bytes::copy_from_slice(name);
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            FunctionId(
                u32::try_from(self.slots.len() - 1).expect("functions are bounded by a setting of 32 bits"),
            )
        });
        self.memory += Functions::cost(&name);
        self.by_name.insert(name.clone(), id);
        self.names.insert(name.clone(), id);
        self.slots[id.0 as usize] = Some(Function {
            name,
            ready: Default::default(),
            delayed: [0; 3],
            running: 0,
            schedules: 0,
            workers: 0,
            line: BTreeMap::new(),
            woken: 0,
            limits: [None; 3],
            until_prefetch: 0,
            pinned: false,
            turn: 0,
            listed: None,
            expires: None,
        });
        id
    }

    /// Removes a function that is unused.
    pub fn remove(&mut self, id: FunctionId) {
        if let Some(function) = self.slots[id.0 as usize].take() {
            self.memory -= Functions::cost(&function.name);
            self.by_name.remove(&function.name);
            self.names.remove(&function.name);
            if let Some(when) = function.expires {
                self.unused.remove(&(when, id));
            }
            self.free.push(id);
        }
    }

    pub fn get(&self, id: FunctionId) -> &Function {
        self.slots[id.0 as usize]
            .as_ref()
            .expect("ids are held by jobs and workers, which keep a function alive")
    }

    pub fn get_mut(&mut self, id: FunctionId) -> &mut Function {
        self.slots[id.0 as usize]
            .as_mut()
            .expect("ids are held by jobs and workers, which keep a function alive")
    }

    /// Functions whose names come after `after`, by name.
    pub fn after(&self, after: Option<&Bytes>) -> impl Iterator<Item = (FunctionId, &Function)> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.names.range::<Bytes, _>((from, Bound::Unbounded));
        range.map(|(_, id)| (*id, self.get(*id)))
    }

    /// The same from a name on that begins with this, if that is later.
    pub fn beginning_with<'a>(
        &'a self,
        prefix: &[u8],
        after: Option<&Bytes>,
    ) -> impl Iterator<Item = &'a Function> {
        use std::ops::Bound;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.as_ref()),
            _ => Bound::Included(prefix),
        };
        self.names.range::<[u8], _>((from, Bound::Unbounded)).map(|(_, id)| self.get(*id))
    }

    /// Functions with ready jobs.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Functions with ready jobs, the one to be served first in front.
    pub fn ready(&self) -> impl Iterator<Item = FunctionId> {
        self.ready.iter().map(|(_, _, id)| *id)
    }

    /// What orders a function among those with ready jobs; `None` if it has none.
    pub fn ready_key(&self, id: FunctionId) -> Option<(Priority, u64, FunctionId)> {
        self.get(id).key().map(|(priority, turn)| (priority, turn, id))
    }

    /// To be called after the ready jobs of a function changed, or its turn.
    pub fn relist(&mut self, id: FunctionId) {
        let function = self.get(id);
        let (before, now) = (function.listed, function.key());
        match (before, now) {
            _ if before == now => {}
            // Alone it needs no order: it is put where it belongs when another comes.
            (Some(_), Some(_)) if self.ready.len() == 1 => {}
            (None, Some(_)) if self.ready.len() == 1 => {
                let (.., other) = *self.ready.first().expect("there is one");
                self.list(other);
                self.list(id);
            }
            _ => self.list(id),
        }
    }

    /// Whether a function stands where it belongs among those with ready jobs; for tests.
    pub fn is_listed(&self, id: FunctionId) -> bool {
        let function = self.get(id);
        let is_alone = function.listed.is_some() && self.ready.len() == 1;
        function.listed == function.key() || (is_alone && function.key().is_some())
    }

    fn list(&mut self, id: FunctionId) {
        let function = self.get_mut(id);
        let now = function.key();
        let before = std::mem::replace(&mut function.listed, now);
        if let Some((priority, turn)) = before {
            self.ready.remove(&(priority, turn, id));
        }
        if let Some((priority, turn)) = now {
            self.ready.insert((priority, turn, id));
        }
    }

    /// Sends a function to the end of the round, after it was served.
    pub fn served(&mut self, id: FunctionId) {
        self.turns += 1;
        self.get_mut(id).turn = self.turns;
        self.relist(id);
    }

    /// Notes that a function may have become unused; it is looked at again at `when`.
    pub fn expire_later(&mut self, id: FunctionId, when: Timestamp) {
        let function = self.get_mut(id);
        if function.is_unused()
            && let Some(earlier) = function.expires.replace(when)
        {
            self.unused.remove(&(earlier, id));
        }
        if self.get(id).expires == Some(when) {
            self.unused.insert((when, id));
        }
    }

    /// When the next unused function is to be looked at.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.unused.first().map(|(when, _)| *when)
    }

    /// Removes one function whose time has come, if it is still unused. Whether there was one to look at.
    pub fn expire_one(&mut self, now: Timestamp) -> bool {
        let Some((_, id)) = self.unused.first().copied().filter(|(when, _)| *when <= now) else {
            return false;
        };
        self.unused.pop_first();
        let function = self.get_mut(id);
        function.expires = None;
        if function.is_unused() {
            self.remove(id);
        }
        true
    }
}
