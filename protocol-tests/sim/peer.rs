//! Peers: clients, workers of the kinds that exist, operators, and some that do anything at any time.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use fastrand::Rng;
use gearhouse::protocol::{Flavor, Kind, Listing};
use gearhouse::types::{Priority, Timestamp};

use super::ask::{Admin, Ask, Form, Submit, Work};
use super::cron::SCHEDULES;
use super::item::{Item, first_argument};
use super::ledger::Ledger;
use super::swarm::{Swarm, choice};

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

const LISTINGS: [Listing; 6] = [
    Listing::Status,
    Listing::PriorityStatus,
    Listing::Workers,
    Listing::Jobs,
    Listing::UniqueJobs,
    Listing::Schedules,
];

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

fn submit(form: Form, scene: &mut Scene) -> Ask {
    let rng = &mut scene.rng;
    let unique = choice(rng, &scene.swarm.uniques);
    // Jobs with `-` are told apart by their payload: few payloads, so that some are equal.
    let payload =
        if unique == "-" { Bytes::from_static(choice(rng, &[&b""[..], b"p", b"q\0"])) } else { payload(rng) };
    Ask::Submit(Submit { form, function: choice(rng, &scene.swarm.functions), unique, payload })
}

fn update(handle: Bytes, rng: &mut Rng) -> Ask {
    let kind = choice(rng, &[Kind::WorkData, Kind::WorkWarning, Kind::WorkStatus, Kind::WorkStatus]);
    let data = match kind {
        Kind::WorkStatus => {
            let statuses: [Option<&[u8]>; 5] =
                [Some(b"3\x0010"), Some(b"007\x000.5"), Some(b"x\0 12y"), Some(b"4"), None];
            choice(rng, &statuses).map(Bytes::from_static)
        }
        _ => data(rng),
    };
    Ask::Work(Work { kind, handle, data, with_response_magic: rng.u8(0..8) == 0 })
}

fn end(handle: Bytes, rng: &mut Rng) -> Ask {
    let kind = choice(rng, &[Kind::WorkComplete, Kind::WorkComplete, Kind::WorkFail, Kind::WorkException]);
    let data = match kind {
        Kind::WorkFail => choice(rng, &[None, Some(b"")]),
        _ => {
            return Ask::Work(Work { kind, handle, data: data(rng), with_response_magic: rng.u8(0..8) == 0 });
        }
    };
    Ask::Work(Work {
        kind,
        handle,
        data: data.map(|data: &[u8; 0]| Bytes::from_static(data)),
        with_response_magic: false,
    })
}

fn data(rng: &mut Rng) -> Option<Bytes> {
    (rng.u8(0..6) > 0).then(|| payload(rng))
}

/// Any bytes; mostly few, sometimes more than what is copied, chained or shared on its way.
fn payload(rng: &mut Rng) -> Bytes {
    let len = match rng.u8(0..60) {
        0 => rng.usize(4000..4200),
        1 => rng.usize(4200..9000),
        2..20 => 0,
        _ => rng.usize(1..30),
    };
    // Long ones repeat themselves: drawing each byte takes time.
    let part: Vec<u8> = (0..len.min(23)).map(|_| rng.u8(..)).collect();
    part.iter().copied().cycle().take(len).collect()
}

/// A handle that someone was told lately, or one that no one was told.
fn some_handle(scene: &mut Scene) -> Bytes {
    let forged: [&[u8]; 5] = [b"H:sim:0", b"H:sim:99999999999999999999999", b"H:other:1", b"H:sim:01", b"x"];
    match scene.handles.len() {
        0 => Bytes::from_static(forged[0]),
        _ if scene.rng.u8(0..10) == 0 => Bytes::from_static(choice(&mut scene.rng, &forged)),
        len => scene.handles[scene.rng.usize(0..len)].clone(),
    }
}

fn nonsense(scene: &mut Scene) -> Ask {
    if scene.is_late && scene.rng.u8(0..4) == 0 {
        return Ask::Admin(Admin::Shutdown { graceful: scene.rng.bool() });
    }
    let request = b"\0REQ";
    let (magic, kind, body, code): (&'static [u8; 4], _, &'static [u8], _) = match scene.rng.u8(0..8) {
        0 => (request, Kind::Noop, b"", "INVALID_COMMAND"),
        1 => (request, Kind::JobCreated, b"H:sim:1", "INVALID_COMMAND"),
        2 => (request, Kind::AllYours, b"", "INVALID_COMMAND"),
        3 => (b"\0RES", Kind::GrabJob, b"", "INVALID_MAGIC"),
        4 => (request, Kind::SubmitJob, b"no separator", "INVALID_PACKET"),
        5 => (request, Kind::SubmitJobEpoch, b"a\0u\0payload", "INVALID_PACKET"),
        6 => return Ask::Admin(Admin::Unknown(Bytes::from_static(b"nothing"))),
        _ => return Ask::Admin(Admin::Version),
    };
    Ask::Nonsense { magic, kind, body: Bytes::from_static(body), code }
}

fn breaking(scene: &mut Scene) -> Ask {
    let (bytes, is_answered): (&[u8], bool) = match scene.rng.u8(0..4) {
        0 => (b"\0BAD\0\0\0\x01\0\0\0\0", false),
        1 => (b"\0REQ\0\0\0\x2b\0\0\0\0", false),
        2 => (b"\0REQ\x80\0\0\0\0\0\0\0", false),
        _ => {
            let mut header = BytesMut::from(&b"\0REQ\0\0\0\x10"[..]);
            header.put_u32(u32::try_from(scene.swarm.max_frame).expect("bounds are small here") + 1);
            return Ask::Breaking { bytes: header.freeze(), is_answered: true };
        }
    };
    Ask::Breaking { bytes: Bytes::from_static(bytes), is_answered }
}

/// The name, if it can stand in a line.
fn for_text(name: &Bytes) -> Option<Bytes> {
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then(|| name.clone())
}

fn non_empty<T>(slice: &[T]) -> Option<&[T]> {
    (!slice.is_empty()).then_some(slice)
}
