//! Functions: what waits for them, who can do them, and which of them have something to hand out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::quality::FixedState;

use super::Outcome;
use super::ready::Ready;
use super::tally::{Changed, Counts};
use crate::policy::{Order, Rules};
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
    /// Jobs that wait until an operator releases them.
    pub held: usize,
    /// Bytes of payload of all that wait.
    pub waiting_bytes: u64,
    pub running: usize,
    /// Jobs that are over and kept, in the order of their ends; by [`ending`].
    pub over: [BTreeSet<(Timestamp, JobId)>; 3],
    /// What holds for its jobs.
    pub rules: Arc<Rules>,
    /// Something in the rules may keep ready jobs from being handed out.
    has_gates: bool,
    /// When the next job would be handed out if all came evenly spaced, where there is a rate.
    pace: Timestamp,
    /// Nothing is handed out before this time: the rate is used up.
    throttled: Option<Timestamp>,
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
    /// What happened to its jobs; made for the first of them.
    pub counts: Option<Box<Counts>>,
    /// Since the server began it had nothing but jobs that were over then.
    pub is_memory: bool,
    /// The look before which it changed; see [`Functions::look`].
    changed_before: u32,
}

impl Function {
    pub fn ready_count(&self) -> usize {
        self.ready.iter().map(Ready::len).sum()
    }

    /// Waiting jobs of a priority, due or not.
    pub fn waiting(&self, priority: Priority) -> usize {
        self.ready[priority as usize].len() + self.delayed[priority as usize]
    }

    /// All that wait.
    pub fn waiting_count(&self) -> usize {
        self.ready_count() + self.delayed.iter().sum::<usize>() + self.held
    }

    /// All its jobs that are not over.
    pub fn total(&self) -> usize {
        self.waiting_count() + self.running
    }

    /// Jobs that are over and kept.
    pub fn over_count(&self) -> usize {
        self.over.iter().map(BTreeSet::len).sum()
    }

    /// The best job that may be handed out.
    pub fn first(&self) -> Option<(Priority, JobId)> {
        let priority = self.best_priority()?;
        let ready = &self.ready[priority as usize];
        let first = match self.rules.order {
            Order::Fifo => ready.first(),
            Order::Lifo => ready.last(),
        };
        Some((priority, first?))
    }

    /// How many ready jobs may be handed out now.
    ///
    /// What is left of the burst grows with time alone; so all of it is woken for, and who comes too early sleeps again.
    pub fn open_count(&self) -> usize {
        let ready = self.ready_count();
        if !self.has_gates {
            return ready;
        }
        if !self.is_open() {
            return 0;
        }
        let slots = self.rules.max_running.map_or(usize::MAX, |most| {
            usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(self.running)
        });
        let burst = self.rules.spacing.map_or(usize::MAX, |_| self.rules.burst as usize);
        ready.min(slots).min(burst)
    }

    /// Whether the rules let a job be handed out.
    fn is_open(&self) -> bool {
        let has_slot = || self.rules.max_running.is_none_or(|most| (self.running as u64) < most);
        !self.has_gates || (!self.rules.paused && self.throttled.is_none() && has_slot())
    }

    /// A job was handed out. When the next one may be, if the rate is used up: of `burst` that it allows at once, each
    /// comes back after the spacing.
    fn note_pace(&mut self, now: Timestamp) -> Option<Timestamp> {
        let spacing = self.rules.spacing?;
        self.pace = self.pace.max(now).after(spacing);
        let next = self.pace.before(spacing.saturating_mul(self.rules.burst.saturating_sub(1)));
        (next > now).then_some(next)
    }

    fn best_priority(&self) -> Option<Priority> {
        Priority::ALL.into_iter().find(|priority| self.ready[*priority as usize].len() > 0)
    }

    /// It is there for jobs that were over when the server began, and nothing else: the text protocol, which has no word
    /// for these, does not list it.
    pub fn is_memory(&self) -> bool {
        self.is_memory && self.is_idle()
    }

    /// No one would miss it, but for jobs that are over and kept.
    fn is_idle(&self) -> bool {
        self.workers == 0
            && self.total() == 0
            && self.schedules == 0
            && !self.pinned
            && self.limits == [None; 3]
    }

    /// No one would miss it.
    pub fn is_unused(&self) -> bool {
        self.is_idle() && self.over_count() == 0
    }

    fn key(&self) -> Option<(Priority, u64)> {
        if !self.is_open() {
            return None;
        }
        Some((self.best_priority()?, self.turn))
    }
}

/// Whether something in the rules may keep ready jobs from being handed out.
fn has_gates(rules: &Rules) -> bool {
    rules.paused || rules.max_running.is_some() || rules.spacing.is_some()
}

/// Where a function keeps its jobs that ended like this.
pub(super) fn ending(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Succeeded => 0,
        Outcome::Failed(_) => 1,
        Outcome::Cancelled => 2,
    }
}

/// All functions.
#[derive(Debug)]
pub(super) struct Functions {
    slots: Vec<Option<Function>>,
    /// Slots that are empty, with [`Function::changed_before`] of what was there.
    free: Vec<(FunctionId, u32)>,
    by_name: HashMap<Bytes, FunctionId, FixedState>,
    /// The same in the order of names, for listings.
    names: BTreeMap<Bytes, FunctionId>,
    /// Functions with ready jobs, the one to be served first in front.
    ready: BTreeSet<(Priority, u64, FunctionId)>,
    /// Functions that were unused when last looked at, and when to look again.
    unused: BTreeSet<(Timestamp, FunctionId)>,
    /// When functions whose rate is used up may go on.
    throttled: BTreeSet<(Timestamp, FunctionId)>,
    /// What holds for a function unless it is told otherwise.
    rules: Arc<Rules>,
    turns: u64,
    memory: u64,
    /// What happened to jobs of functions that are gone.
    pub gone: Counts,
    /// Functions that changed since they were last looked at: see [`super::tally`].
    pub changed: Changed,
    /// Counts how often it was begun to look at them, so that each stands there once.
    pub look: u32,
}

impl Functions {
    /// What a function takes besides the bytes of its name: its slot, its places in the tables and its
    /// counts.
    const OVERHEAD: u64 = 500 + size_of::<Counts>() as u64;

    pub fn new(hasher: FixedState, rules: Arc<Rules>) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::with_hasher(hasher),
            names: BTreeMap::new(),
            ready: BTreeSet::new(),
            unused: BTreeSet::new(),
            throttled: BTreeSet::new(),
            rules,
            turns: 0,
            memory: 0,
            gone: Counts::default(),
            changed: Changed::default(),
            look: 1,
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
        let (id, changed_before) = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            let last = self.slots.len() - 1;
            (FunctionId(u32::try_from(last).expect("functions are bounded by a setting of 32 bits")), 0)
        });
        self.memory += Functions::cost(&name);
        self.by_name.insert(name.clone(), id);
        self.names.insert(name.clone(), id);
        self.slots[id.0 as usize] = Some(Function {
            name,
            ready: Default::default(),
            delayed: [0; 3],
            held: 0,
            waiting_bytes: 0,
            running: 0,
            over: Default::default(),
            rules: Arc::clone(&self.rules),
            has_gates: has_gates(&self.rules),
            pace: Timestamp::default(),
            throttled: None,
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
            counts: None,
            is_memory: false,
            changed_before,
        });
        self.change(id);
        id
    }

    /// Removes a function that is unused.
    pub fn remove(&mut self, id: FunctionId) {
        self.change(id);
        if let Some(function) = self.slots[id.0 as usize].take() {
            if let Some(counts) = &function.counts {
                self.gone.merge(counts);
            }
            self.memory -= Functions::cost(&function.name);
            self.by_name.remove(&function.name);
            self.names.remove(&function.name);
            if let Some(when) = function.expires {
                self.unused.remove(&(when, id));
            }
            if let Some(when) = function.throttled {
                self.throttled.remove(&(when, id));
            }
            self.free.push((id, function.changed_before));
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

    /// The same, for a change that whoever watches is to see: of its jobs, workers or limits.
    pub fn change(&mut self, id: FunctionId) -> &mut Function {
        let function = self.slots[id.0 as usize]
            .as_mut()
            .expect("ids are held by jobs and workers, which keep a function alive");
        if function.changed_before != self.look {
            function.changed_before = self.look;
            self.changed.note(id);
        }
        function
    }

    /// The function that has this place now, if any.
    pub fn try_get(&self, id: FunctionId) -> Option<&Function> {
        self.slots.get(id.0 as usize)?.as_ref()
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
    pub fn served(&mut self, id: FunctionId, now: Timestamp) {
        self.turns += 1;
        let turn = self.turns;
        let function = self.get_mut(id);
        function.turn = turn;
        if function.has_gates
            && let Some(when) = function.note_pace(now)
        {
            function.throttled = Some(when);
            self.throttled.insert((when, id));
        }
        self.relist(id);
    }

    /// From now on this holds for its jobs. To be followed by waking.
    pub fn set_rules(&mut self, id: FunctionId, rules: Arc<Rules>) {
        // Who watches is told of it, too.
        let function = self.change(id);
        let is_same_rate = (function.rules.spacing, function.rules.burst) == (rules.spacing, rules.burst);
        function.has_gates = has_gates(&rules);
        function.rules = rules;
        if !is_same_rate {
            // The rate begins anew.
            function.pace = Timestamp::default();
            if let Some(when) = function.throttled.take() {
                self.throttled.remove(&(when, id));
            }
        }
        self.relist(id);
    }

    /// When the next function whose rate is used up may go on.
    pub fn next_release(&self) -> Option<Timestamp> {
        self.throttled.first().map(|(when, _)| *when)
    }

    /// A function whose rate is used up no more; to be followed by waking.
    pub fn release_one(&mut self, now: Timestamp) -> Option<FunctionId> {
        let (when, id) = self.throttled.first().copied().filter(|(when, _)| *when <= now)?;
        self.throttled.remove(&(when, id));
        self.get_mut(id).throttled = None;
        self.relist(id);
        Some(id)
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

    /// All is read: functions that have nothing but jobs that are over are memories.
    pub fn note_memories(&mut self) {
        for function in self.slots.iter_mut().flatten() {
            function.is_memory = function.is_idle();
        }
    }

    /// When the next unused function is to be looked at.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.unused.first().map(|(when, _)| *when)
    }

    /// Looks at one function whose time has come; and removes it, if it is still unused. Which it was, and whether it is
    /// gone.
    pub fn expire_one(&mut self, now: Timestamp) -> Option<(FunctionId, bool)> {
        let (_, id) = self.unused.first().copied().filter(|(when, _)| *when <= now)?;
        self.unused.pop_first();
        let function = self.get_mut(id);
        function.expires = None;
        let is_unused = function.is_unused();
        if is_unused {
            self.remove(id);
        }
        Some((id, is_unused))
    }
}
