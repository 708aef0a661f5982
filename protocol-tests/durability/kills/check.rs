//! Looks at a restarted server, before anyone else does, and tells the ledger.

use std::collections::HashMap;

use fastrand::Rng;

use super::job::{Origin, Payload, Submit, origin, priority};
use super::ledger::{Ledger, Listed};
use super::load::{FUNCTIONS, seconds};
use super::operator::{LIMITED, PINNED, RECURRING};
use super::wire::number;
use crate::support::peer::{Assigned, Status, request};
use crate::support::{PATIENCE, Peer, Server, kind, now};

/// Jobs beyond which the queue is emptied.
const MANY: usize = 2500;

pub struct Check<'a> {
    server: &'a Server,
    ledger: &'a mut Ledger,
    random: Rng,
    peer: Peer,
    token: u64,
    prefix: String,
}

/// What is done with the jobs in the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// As chance has it.
    Any,
    /// All is done, or cancelled.
    Empty,
}

/// Looks at all that can be seen, settles the ledger by it, and returns handles of jobs that are there.
pub fn look(server: &Server, ledger: &mut Ledger, random: Rng, token: u64, then: Then) -> Vec<String> {
    let mut check = Check { server, ledger, random, peer: server.connect(), token, prefix: String::new() };
    let listed = check.list();
    check.ledger.settle(&listed);
    check.statuses(&listed);
    check.functions();
    check.schedules();
    check.unique_ids();
    let many = check.ledger.alive.len() > MANY;
    if then == Then::Empty || many || check.random.u32(..100) < 25 {
        check.drain(then == Then::Empty);
        check.limits();
    }
    let prefix = check.prefix.clone();
    check.ledger.alive.keys().map(|number| format!("{prefix}{number}")).collect()
}

impl Check<'_> {
    /// `show jobs`, with the unique ids beside.
    fn list(&mut self) -> Vec<Listed> {
        let jobs = list(&mut self.peer, "show jobs");
        let unique = list(&mut self.peer, "show unique jobs");
        assert_eq!(jobs.len(), unique.len(), "the two lists differ although nothing happens");
        if let Some((handle, _)) = jobs.first().and_then(|line| line.split_once('\t')) {
            self.prefix = handle[..=handle.rfind(':').unwrap()].to_owned();
        }
        let line = |(line, unique): (String, String)| {
            let fields: Vec<&str> = line.split('\t').collect();
            Listed {
                number: number(fields[0].as_bytes()),
                losses: fields[1].parse().unwrap(),
                is_kept: fields[3] == "1",
                unique,
            }
        };
        jobs.into_iter().zip(unique).map(line).collect()
    }

    /// GET_STATUS of some that are there and some that are not; the totals of functions.
    fn statuses(&mut self, listed: &[Listed]) {
        for _ in 0..10.min(listed.len()) {
            let number = self.random.choice(listed).unwrap().number;
            let status = self.peer.status(&format!("{}{number}", self.prefix));
            if status.state() != Status::WAITING {
                self.ledger.fault(format!("{number} is listed, but its status is {status:?}"));
            }
        }
        let mut known: HashMap<&str, usize> = HashMap::new();
        for claim in self.ledger.alive.values().filter_map(|job| job.claims.first()) {
            *known.entry(&claim.function).or_default() += 1;
        }
        let strangers = self.ledger.alive.values().filter(|job| job.claims.is_empty()).count();
        let mut faults = Vec::new();
        for line in list(&mut self.peer, "status") {
            let fields: Vec<&str> = line.split('\t').collect();
            let (total, known) = (fields[1].parse::<usize>().unwrap(), known.remove(fields[0]).unwrap_or(0));
            if total < known || total > known + strangers || fields[2] != "0" {
                faults.push(format!(
                    "{line:?} in the status, where {known} jobs are known, {strangers} are not"
                ));
            }
        }
        faults.extend((!known.is_empty()).then(|| format!("functions with jobs are not listed: {known:?}")));
        self.ledger.faults.append(&mut faults);
    }

    fn functions(&mut self) {
        let status = list(&mut self.peer, "status");
        for name in PINNED {
            let is_there = status.contains(&format!("{name}\t0\t0\t0"));
            let may_be = self.ledger.pinned.entry(name.to_owned()).or_insert_with(|| vec![false]);
            if !may_be.contains(&is_there) {
                let fault = format!("{name} is there: {is_there}, which should be {may_be:?}");
                self.ledger.faults.push(fault);
            }
            self.ledger.pinned.insert(name.to_owned(), vec![is_there]);
        }
    }

    fn schedules(&mut self) {
        let mut found: HashMap<String, (String, [String; 5])> = HashMap::new();
        for line in list(&mut self.peer, "show schedules") {
            let fields: Vec<&str> = line.split('\t').collect();
            let times: Vec<String> = fields[3].split(' ').map(str::to_owned).collect();
            let twice = found.insert(fields[2].to_owned(), (fields[0].to_owned(), times.try_into().unwrap()));
            assert!(twice.is_none() && fields[1] == RECURRING, "{line}");
        }
        let mut faults = Vec::new();
        for (unique, known) in &mut self.ledger.schedules {
            let now = found.remove(unique);
            let times = now.as_ref().map(|(_, times)| times.clone());
            if !known.fields.contains(&times) {
                faults.push(format!("recurring job {unique} is {now:?}, which should be {known:?}"));
            }
            if let Some((handle, _)) = &now {
                let (number, was_there) = (number(handle.as_bytes()), !known.fields.contains(&None));
                if was_there && number != known.number {
                    faults.push(format!("recurring job {unique} is {number} now: {known:?}"));
                }
                known.number = number;
            }
            known.fields = vec![times];
        }
        faults.extend((!found.is_empty()).then(|| format!("recurring jobs that no one declared: {found:?}")));
        self.ledger.faults.append(&mut faults);
        let there = self.ledger.schedules.iter_mut().find(|(_, known)| known.fields != [None]);
        if let Some((_, known)) = there
            && self.random.u32(..100) < 20
        {
            let colon = self.peer.admin("show schedules");
            let prefix = &colon[..=colon.find('\t').and_then(|end| colon[..end].rfind(':')).unwrap()];
            let reply = self.peer.admin(&format!("cancel job {prefix}{}", known.number));
            assert!(reply.starts_with("OK"), "{reply}");
            known.fields = vec![None];
        }
    }

    /// A submit with the unique id of a job that is there is answered with that job's handle.
    fn unique_ids(&mut self) {
        let keyed: Vec<(u64, Submit)> = self
            .ledger
            .alive
            .iter()
            .filter_map(|(number, job)| {
                Some((*number, job.claims.first().filter(|claim| claim.key().is_some())?.clone()))
            })
            .collect();
        for _ in 0..15.min(keyed.len()) {
            let (number, claim) = self.random.choice(&keyed).unwrap().clone();
            let payload = if claim.unique == "-" { claim.payload } else { Payload::Own(5) };
            let submit = self.make(kind::SUBMIT_JOB_HIGH_BG, &claim.function, &claim.unique, payload);
            let given = self.submit(&submit);
            if given != Some(number) {
                let fault =
                    format!("a submit with the unique id of {number} was answered {given:?}: {claim:?}");
                self.ledger.fault(fault);
            }
            if let Some(given) = given {
                self.ledger.submitted(submit, given);
            }
        }
    }

    /// A function's limit holds: so many are taken, and then none.
    fn limits(&mut self) {
        let function = *self.random.choice(&LIMITED).unwrap();
        if self
            .ledger
            .alive
            .values()
            .any(|job| job.claims.first().is_none_or(|claim| claim.function == function))
        {
            return;
        }
        let mut taken = 0;
        while taken < 5 {
            let submit = self.make(kind::SUBMIT_JOB_BG, function, "", Payload::Own(5));
            let Some(given) = self.submit(&submit) else { break };
            self.ledger.submitted(submit, given);
            taken += 1;
        }
        let found = (taken < 5).then_some(taken);
        let may_be =
            self.ledger.limits.insert(function.to_owned(), vec![found]).unwrap_or_else(|| vec![None]);
        if !may_be.contains(&found) {
            self.ledger.fault(format!("the limit of {function} is {found:?}, which should be {may_be:?}"));
        }
    }

    /// Grabs all there is, looks into it, and ends all of it or a part.
    fn drain(&mut self, all: bool) {
        let mut worker = self.server.connect();
        FUNCTIONS
            .iter()
            .chain(&LIMITED)
            .chain(&["far", RECURRING])
            .for_each(|function| worker.can_do(function));
        let began = seconds();
        let taken = grab_all(&mut worker);
        let ended = seconds();
        let mut order = Order::default();
        let mut numbers = Vec::new();
        for job in &taken {
            let number = number(job.handle.as_bytes());
            numbers.push(number);
            match origin(job) {
                Ok(origin) => {
                    self.ledger.handed_out(number, &job.function, &origin, ended);
                    order.next(self.ledger, number, job, &origin, began);
                }
                Err(fault) => self.ledger.fault(format!("{number}: {fault}")),
            }
        }
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != numbers.len() {
            self.ledger.fault("a job was handed out twice to one worker".to_owned());
        }
        let kept_back = |(number, job): &(&u64, &super::ledger::Job)| {
            sorted.binary_search(number).is_err() && !self.ledger.may_wait(job, began)
        };
        let kept_back: Vec<String> =
            self.ledger.alive.iter().filter(kept_back).map(|job| format!("{job:?}")).collect();
        if !kept_back.is_empty() {
            self.ledger.fault(format!("jobs that are due are not handed out: {kept_back:?}"));
        }
        self.end(&mut worker, &taken, all);
        worker.leave();
        if all || self.random.u32(..100) < 40 {
            self.cancel_the_rest(all);
        }
        self.seal();
        let listed = self.list();
        let now: Vec<(u64, u32)> = listed.iter().map(|line| (line.number, line.losses)).collect();
        let known: Vec<(u64, u32)> =
            self.ledger.alive.iter().map(|(number, job)| (*number, job.losses)).collect();
        if now != known {
            self.ledger.fault(format!("after the drain {now:?} are there, not {known:?}"));
        }
    }

    fn end(&mut self, worker: &mut Peer, taken: &[Assigned], all: bool) {
        let percent = if all { 100 } else { *self.random.choice(&[100, 100, 100, 90, 50, 0]).unwrap() };
        for job in taken {
            let number = number(job.handle.as_bytes());
            if self.random.u32(..100) >= percent {
                if let Some(job) = self.ledger.alive.get_mut(&number) {
                    job.losses += 1;
                }
                continue;
            }
            self.ledger.alive.remove(&number);
            match self.random.u32(..10) {
                0 => worker.fail(&job.handle),
                1 => worker.exception(&job.handle, b"no"),
                _ => worker.complete(&job.handle, b"done"),
            }
        }
    }

    fn cancel_the_rest(&mut self, all: bool) {
        let rest: Vec<u64> = self.ledger.alive.keys().copied().collect();
        for number in rest {
            if all || self.random.u32(..100) < 70 {
                let reply = self.peer.admin(&format!("cancel job {}{number}", self.prefix));
                assert!(reply.starts_with("OK"), "cancel job {number}: {reply}");
                self.ledger.alive.remove(&number);
            }
        }
    }

    /// All that was done so far is safe once a later record is.
    fn seal(&mut self) {
        let submit = self.make(kind::SUBMIT_JOB_LOW_BG, FUNCTIONS[1], "", Payload::Own(0));
        let given = self.submit(&submit).expect("a server that is well takes a job");
        self.ledger.submitted(submit, given);
    }

    fn make(&mut self, kind: u32, function: &str, unique: &str, payload: Payload) -> Submit {
        self.token += 1;
        let (function, unique, reducer) = (function.to_owned(), unique.to_owned(), String::new());
        Submit { token: self.token, kind, function, unique, reducer, due: 0, payload }
    }

    fn submit(&mut self, submit: &Submit) -> Option<u64> {
        self.peer.send_raw(&submit.packet());
        let frame = self.peer.frame();
        match frame.kind {
            kind::JOB_CREATED => Some(number(&frame.body)),
            kind::ERROR => None,
            _ => panic!("{frame:?} for a submit"),
        }
    }
}

/// Inside a function: the high ones first, the low ones last; inside a priority by number.
#[derive(Default)]
struct Order {
    last: HashMap<Vec<u8>, (u8, u64)>,
}

impl Order {
    fn next(&mut self, ledger: &mut Ledger, number: u64, job: &Assigned, origin: &Origin, began: u64) {
        let Some(known) = ledger.alive.get(&number) else { return };
        // A job that became due meanwhile comes when it comes; one that was lost often has gone to the end.
        let is_free = known.claims.iter().any(|claim| claim.due >= began) || known.losses > 2;
        let kind = match origin {
            Origin::Token { due, .. } if *due >= began => return,
            Origin::Token { kind, .. } => *kind,
            // Which of several submits made it is not to be seen.
            _ if !known.maker_is_known() => return,
            _ => known.claims[0].kind,
        };
        if is_free {
            return;
        }
        let place = (priority(kind), number);
        let last = self.last.insert(job.function.clone(), place);
        if let Some(last) = last.filter(|last| *last > place) {
            let function = String::from_utf8_lossy(&job.function).into_owned();
            ledger.fault(format!("{function}: {place:?} came after {last:?} (priority, number)"));
        }
    }
}

/// GRAB_JOB_ALL, many in a row, until there is nothing more.
fn grab_all(worker: &mut Peer) -> Vec<Assigned> {
    const AT_ONCE: usize = 64;
    let mut taken = Vec::new();
    loop {
        worker.send_raw(&request(kind::GRAB_JOB_ALL, b"").repeat(AT_ONCE));
        let before = taken.len();
        taken.extend((0..AT_ONCE).filter_map(|_| worker.assigned()));
        if taken.len() < before + AT_ONCE {
            return taken;
        }
    }
}

/// The lines of a list, without its end.
fn list(peer: &mut Peer, command: &str) -> Vec<String> {
    peer.send_text(&format!("{command}\n"));
    let is_whole = |text: &[u8]| text == b".\n" || text.ends_with(b"\n.\n");
    peer.receive_until(now() + PATIENCE, |peer| is_whole(peer.unread()));
    let text = peer.take(peer.unread().len());
    assert!(is_whole(&text), "{command}: {}", crate::support::readable(&text));
    let text = String::from_utf8(text).unwrap();
    text.strip_suffix(".\n").unwrap().lines().map(str::to_owned).collect()
}
