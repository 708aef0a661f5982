//! What was planned, noted and found. At the end of a round nothing is left in the queue.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use fastrand::Rng;

use super::players::Library;
use crate::support::peer::Assigned;
use crate::support::{Server, kind};

pub const FUNCTIONS: [&str; 3] = ["thumb", "mail.send", "report"];

#[derive(Default)]
pub struct Accounts {
    round: u64,
    library: &'static str,
    planned: HashMap<String, Planned>,
    /// Job by handle: the submits that were answered with it.
    acknowledged: HashMap<String, Vec<String>>,
    ended: HashSet<String>,
    /// Handles of all rounds that are over.
    over: HashSet<String>,
    told: usize,
    found: usize,
}

struct Planned {
    is_background: bool,
    priority: char,
    function: &'static str,
    unique: Option<String>,
    payload: String,
}

impl Accounts {
    pub fn begin(&mut self, round: u64, library: &'static str) {
        self.over.extend(self.acknowledged.drain().map(|(handle, _)| handle));
        self.planned.clear();
        self.ended.clear();
        (self.round, self.library) = (round, library);
    }

    /// What one client is to submit: batches of one and of many, now and then two with one unique id.
    pub fn plan(&mut self, client: usize, library: &Library, random: &mut Rng) -> String {
        let mut text = String::new();
        let mut count = 0;
        for batch in 0..400 {
            for _ in 0..*random.choice(&[1, 1, 1, 5, 40]).unwrap() {
                let unique = (random.u32(..10) == 0).then(|| format!("u{}-{client}-{batch}", self.round));
                // Those with one unique id are of one function; the second joins the first if that is still there.
                let (function, twice) =
                    (*random.choice(&FUNCTIONS).unwrap(), unique.is_some() && library.pairs);
                for _ in 0..=usize::from(twice) {
                    count += 1;
                    let id = format!("{}.{client}.{count}", self.round);
                    let is_background = random.u32(..10) < 8;
                    let priority = *random.choice(library.priorities).unwrap();
                    let (ms, padding) =
                        (random.u32(..2), random.choice(&[0, 10, 100, 3000, 20_000]).copied().unwrap());
                    let mode = if is_background { 'b' } else { 'f' };
                    let shown = unique.as_deref().unwrap_or("-");
                    writeln!(text, "{id} {mode} {priority} {function} {shown} {ms} {padding}").unwrap();
                    let payload = format!("{id} {ms} {}", "x".repeat(padding));
                    let unique = unique.clone();
                    self.planned.insert(id, Planned { is_background, priority, function, unique, payload });
                }
            }
            text.push('\n');
        }
        text
    }

    /// Takes in a player's journal.
    pub fn read(&mut self, journal: &str) {
        for line in journal.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["a", id, handle] => {
                    self.told += 1;
                    assert!(!self.over.contains(handle), "{handle} was given out in an earlier round");
                    self.acknowledged.entry(handle.to_owned()).or_default().push(id.to_owned());
                }
                ["e", id] => drop(self.ended.insert(id.to_owned())),
                _ => {}
            }
        }
    }

    /// Takes all jobs that the restarted server has, holds them against the books, and ends them.
    pub fn settle(&mut self, server: &Server) {
        let mut worker = server.connect();
        FUNCTIONS.iter().for_each(|function| worker.can_do(function));
        let mut found: Vec<Assigned> = Vec::new();
        while let Some(job) = worker.grab_as(kind::GRAB_JOB_UNIQ) {
            found.push(job);
        }
        let mut faults = self.check_found(&found);
        faults.extend(self.check_missing(&found));
        let (round, library) = (self.round, self.library);
        assert!(faults.is_empty(), "round {round}, {library}:\n{}", faults.join("\n"));
        self.found += found.len();
        for job in &found {
            worker.complete(&job.handle, b"");
        }
        worker.settle();
        assert_eq!(server.admin("show jobs"), ".\n", "round {round}: more is there than is handed out");
    }

    fn check_found(&self, found: &[Assigned]) -> Vec<String> {
        let mut faults = Vec::new();
        let (mut handles, mut ids) = (HashSet::new(), HashSet::new());
        let mut last: HashMap<&[u8], (u8, u64)> = HashMap::new();
        for job in found {
            let payload = String::from_utf8_lossy(&job.data);
            let id = payload.split(' ').next().unwrap_or_default().to_owned();
            let Some(planned) = self.planned.get(&id) else {
                faults.push(format!("{} was not submitted in this round: {job:?}", job.handle));
                continue;
            };
            if !handles.insert(&job.handle) || !ids.insert(id.clone()) {
                faults.push(format!("{} is there twice: {id}", job.handle));
            }
            let is_whole = payload == planned.payload && job.function == planned.function.as_bytes();
            let unique = planned.unique.as_ref();
            if !is_whole || unique.is_some_and(|unique| unique.as_bytes() != job.unique) {
                faults.push(format!("{} is not what was submitted as {id}: {job:?}", job.handle));
            }
            let answered = self.acknowledged.iter().find(|(_, claims)| claims.contains(&id));
            if let Some((handle, _)) = answered.filter(|(handle, _)| **handle != job.handle) {
                faults.push(format!("{id} was acknowledged as {handle} and is {}", job.handle));
            }
            let partners = self
                .planned
                .values()
                .filter(|other| other.unique.is_some() && other.unique == planned.unique);
            if !planned.is_background && !partners.into_iter().any(|other| other.is_background) {
                faults.push(format!("{id} was in the foreground and is there"));
            }
            let priority = "hnl".find(planned.priority).unwrap_or(9) as u8;
            let number = job.handle.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            let before = last.insert(planned.function.as_bytes(), (priority, number));
            if let Some(before) = before.filter(|before| *before > (priority, number)) {
                faults.push(format!("{id}, {number} of priority {priority}, came after {before:?}"));
            }
        }
        faults
    }

    fn check_missing(&self, found: &[Assigned]) -> Vec<String> {
        let found: HashSet<&String> = found.iter().map(|job| &job.handle).collect();
        let mut faults = Vec::new();
        for (handle, claims) in &self.acknowledged {
            let is_kept = claims.iter().any(|id| self.planned[id].is_background);
            // Who made the job may be one of those that share its unique id and were not answered.
            let uniques: HashSet<&String> =
                claims.iter().filter_map(|id| self.planned[id].unique.as_ref()).collect();
            let has_ended = claims.iter().any(|id| self.ended.contains(id))
                || self.ended.iter().any(|id| {
                    self.planned[id].unique.as_ref().is_some_and(|unique| uniques.contains(unique))
                });
            if is_kept && !has_ended && !found.contains(handle) {
                faults.push(format!("{handle}, acknowledged to {claims:?}, is gone"));
            }
        }
        faults
    }
}

impl std::fmt::Display for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} jobs acknowledged to libraries, {} there after the kills", self.told, self.found)
    }
}
