//! Peers: clients, workers of the kinds that exist, operators, and some that do anything at any time.

use std::collections::VecDeque;

use bytes::Bytes;
use fastrand::Rng;
use gearhouse::protocol::{Flavor, Kind};
use gearhouse::types::{Priority, Timestamp};

use super::ask::{Admin, Ask, Form, LISTINGS};
use super::cron::SCHEDULES;
use super::item::{Item, first_argument};
use super::ledger::Ledger;
use super::swarm::{Swarm, choice};
use super::words::{breaking, end, for_text, nonsense, payload, some_handle, submit, update};

/// How a peer goes about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Habit {
    /// Submits, and asks about jobs.
    Client,
    /// Grabs until there is nothing, then sleeps until a NOOP: most libraries.
    Worker,
    /// Grabs only after a NOOP: some libraries.
    Sleeper,
    /// Does anything at any time.
    Moody,
    /// Sends lines of text.
    Operator,
}

/// What a peer speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    Submit,
    Epoch,
    Sched,
    Reduce,
    Status,
    StatusUnique,
    Option,
    Grab,
    PreSleep,
    Update,
    End,
    /// A packet for a job that this peer held once.
    Late,
    /// A packet for a job that this peer never held.
    Foreign,
    CanDo,
    CanDoTimeout,
    CantDo,
    Reset,
    List,
    Cancel,
    Create,
    Drop,
    MaxQueue,
    ShowUnique,
    Echo,
    ClientId,
    Nonsense,
    Breaking,
}

/// One end of a connection.
pub struct Peer {
    pub habit: Habit,
    pub ledger: Ledger,
    mood: Mood,
    flavor: Flavor,
    /// Functions that it still wants to register.
    to_register: usize,
    held: Vec<Bytes>,
    given_up: VecDeque<Bytes>,
    /// It sent something after which no one listens to it.
    is_broken: bool,
}

/// What a worker does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Eager,
    Asked,
    Drowsy,
    Asleep,
}

/// What all peers know of the world, and the source of all chance.
pub struct Scene {
    pub rng: Rng,
    pub swarm: Swarm,
    pub now: Timestamp,
    /// Handles that anyone was told lately.
    pub handles: VecDeque<Bytes>,
    /// There are so many jobs that no one submits.
    pub is_crowded: bool,
    /// The end is near, so that `shutdown` is no pity.
    pub is_late: bool,
}

impl Peer {
    pub fn new(habit: Habit, scene: &mut Scene) -> Self {
        Self {
            habit,
            ledger: Ledger::default(),
            mood: if habit == Habit::Sleeper { Mood::Drowsy } else { Mood::Eager },
            flavor: choice(&mut scene.rng, &[Flavor::Plain, Flavor::Unique, Flavor::All]),
            to_register: scene.rng.usize(1..=4),
            held: Vec::new(),
            given_up: VecDeque::new(),
            is_broken: false,
        }
    }

    /// What it says next, if anything.
    pub fn speak(&mut self, scene: &mut Scene) -> Option<Ask> {
        if self.is_broken {
            return None;
        }
        let is_whim = scene.rng.u32(0..100) < scene.swarm.whims;
        let ask = match self.habit {
            _ if is_whim => scene.swarm.topics.choose(&mut scene.rng).and_then(|topic| self.on(topic, scene)),
            Habit::Moody => scene.swarm.topics.choose(&mut scene.rng).and_then(|topic| self.on(topic, scene)),
            Habit::Client => self.as_client(scene),
            Habit::Worker | Habit::Sleeper => self.as_worker(scene),
            Habit::Operator => {
                let topics =
                    [Topic::List, Topic::List, Topic::Cancel, Topic::Create, Topic::Drop, Topic::MaxQueue];
                self.on(choice(&mut scene.rng, &topics), scene)
            }
        }?;
        self.is_broken = matches!(ask, Ask::Breaking { .. });
        self.ledger.asks(&ask);
        Some(ask)
    }

    /// It reads what the server sent.
    pub fn read(&mut self, item: &Item, rng: &mut Rng) {
        self.ledger.reads(item);
        let Item::Packet { kind, body } = item else { return };
        match kind {
            Kind::JobAssign | Kind::JobAssignUniq | Kind::JobAssignAll => {
                self.held.push(first_argument(body).0);
                self.mood = Mood::Eager;
            }
            Kind::NoJob => self.mood = Mood::Drowsy,
            // Some answer a NOOP by going to sleep again, some are slow to notice it.
            Kind::Noop if self.mood == Mood::Asleep => {
                self.mood = choice(rng, &[Mood::Eager, Mood::Eager, Mood::Eager, Mood::Drowsy, Mood::Asleep]);
            }
            _ => {}
        }
    }

    /// Takes one of the jobs that it was assigned.
    pub fn take_held(&mut self) -> Option<Bytes> {
        self.held.pop()
    }

    fn as_client(&mut self, scene: &mut Scene) -> Option<Ask> {
        let usual = [Topic::Submit, Topic::Submit, Topic::Submit, Topic::Status];
        let liked = scene.swarm.topics.choose(&mut scene.rng).filter(|topic| is_for_clients(*topic));
        self.on(liked.unwrap_or_else(|| choice(&mut scene.rng, &usual)), scene)
    }

    fn as_worker(&mut self, scene: &mut Scene) -> Option<Ask> {
        if self.to_register > 0 {
            self.to_register -= 1;
            let topic = if scene.rng.u8(0..4) == 0 { Topic::CanDoTimeout } else { Topic::CanDo };
            return self.on(topic, scene);
        }
        if !self.held.is_empty() && scene.rng.bool() {
            let topic = choice(&mut scene.rng, &[Topic::Update, Topic::End, Topic::End]);
            return self.on(topic, scene);
        }
        let is_whole_hearted = self.held.is_empty() || scene.rng.u8(0..4) == 0;
        match self.mood {
            Mood::Eager if is_whole_hearted => self.on(Topic::Grab, scene),
            Mood::Drowsy => self.on(Topic::PreSleep, scene),
            // It waits for a NOOP, but not for ever.
            Mood::Asleep if scene.rng.u8(0..40) == 0 => self.on(Topic::Grab, scene),
            _ => None,
        }
    }

    fn on(&mut self, topic: Topic, scene: &mut Scene) -> Option<Ask> {
        let Swarm { functions, uniques, .. } = &scene.swarm;
        let rng = &mut scene.rng;
        Some(match topic {
            Topic::Submit | Topic::Epoch | Topic::Sched | Topic::Reduce if scene.is_crowded => return None,
            Topic::Submit => {
                let priority = choice(rng, &Priority::ALL);
                submit(Form::Plain { priority, background: rng.bool() }, scene)
            }
            Topic::Reduce => {
                let reducer = if rng.bool() { Bytes::from_static(b"red") } else { Bytes::new() };
                submit(Form::Reduce { reducer, background: rng.bool() }, scene)
            }
            Topic::Epoch => {
                let now = scene.now.as_micros() / 1_000_000;
                let seconds =
                    choice(rng, &[0, now - 5, now, now + 1, now + 1, now + 3, now + 100, now + 10_000]);
                submit(Form::Epoch { seconds }, scene)
            }
            Topic::Sched => submit(Form::Sched { fields: choice(rng, &SCHEDULES).0 }, scene),
            Topic::Status => {
                let mut handle = some_handle(scene).to_vec();
                if scene.rng.u8(0..4) == 0 {
                    handle.extend_from_slice(b"\0rest");
                }
                Ask::GetStatus(handle.into())
            }
            Topic::StatusUnique => Ask::GetStatusUnique(choice(rng, uniques)),
            Topic::Option => {
                let options: [&[u8]; 4] = [b"exceptions", b"EXCEPTIONS", b"exceptions\0", b"other"];
                Ask::Option(Bytes::from_static(choice(rng, &options)))
            }
            Topic::Grab => {
                self.mood = Mood::Asked;
                Ask::Grab(self.flavor)
            }
            Topic::PreSleep => {
                self.mood = Mood::Asleep;
                Ask::PreSleep
            }
            Topic::Update => update(choice(rng, non_empty(&self.held)?), rng),
            Topic::End => {
                let index = rng.usize(0..non_empty(&self.held)?.len());
                let handle = self.held.swap_remove(index);
                self.given_up.push_back(handle.clone());
                if self.given_up.len() > 8 {
                    self.given_up.pop_front();
                }
                end(handle, rng)
            }
            Topic::Late => {
                let handles = non_empty(self.given_up.make_contiguous())?;
                let handle = choice(rng, handles);
                if rng.bool() { update(handle, rng) } else { end(handle, rng) }
            }
            Topic::Foreign => {
                let handle = some_handle(scene);
                if scene.rng.bool() { update(handle, &mut scene.rng) } else { end(handle, &mut scene.rng) }
            }
            Topic::CanDo => {
                let mut function = choice(rng, functions).to_vec();
                if rng.u8(0..8) == 0 {
                    function.push(0);
                }
                Ask::CanDo { function: function.into(), milliseconds: None }
            }
            Topic::CanDoTimeout => {
                let milliseconds = Some(choice(rng, &[0, 1, 1000, 1500, 5000, 100_000, u64::MAX]));
                Ask::CanDo { function: choice(rng, functions), milliseconds }
            }
            Topic::CantDo => Ask::CantDo(choice(rng, functions)),
            Topic::Reset => Ask::ResetAbilities,
            Topic::List => Ask::Admin(Admin::List(choice(rng, &LISTINGS))),
            Topic::Cancel => Ask::Admin(Admin::CancelJob(some_handle(scene))),
            Topic::Create => Ask::Admin(Admin::CreateFunction(for_text(&choice(rng, functions))?)),
            Topic::Drop => Ask::Admin(Admin::DropFunction(for_text(&choice(rng, functions))?)),
            Topic::MaxQueue => {
                let limits = (0..rng.usize(0..4)).map(|_| choice(rng, &[0, 1, 3, 10])).collect();
                Ask::Admin(Admin::MaxQueue(for_text(&choice(rng, functions))?, limits))
            }
            Topic::ShowUnique => {
                let unique = for_text(&choice(rng, uniques))?;
                Ask::Admin(Admin::ShowUnique(for_text(&choice(rng, functions))?, unique))
            }
            Topic::Echo => Ask::Echo(payload(rng)),
            Topic::ClientId => {
                let ids: [&[u8]; 4] = [b"me", b"", b"two words\n", &[b'i'; 200]];
                Ask::ClientId(Bytes::copy_from_slice(choice(rng, &ids)))
            }
            Topic::Nonsense => nonsense(scene),
            Topic::Breaking => breaking(scene),
        })
    }
}

fn is_for_clients(topic: Topic) -> bool {
    matches!(
        topic,
        Topic::Submit
            | Topic::Epoch
            | Topic::Sched
            | Topic::Reduce
            | Topic::Status
            | Topic::StatusUnique
            | Topic::Option
    )
}

fn non_empty<T>(slice: &[T]) -> Option<&[T]> {
    (!slice.is_empty()).then_some(slice)
}
