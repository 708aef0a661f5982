//! Which rules hold for which function.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Engine, Output, Record, Settings};
use crate::policy::{Policy, Rules};
use crate::protocol::Refusal;
use crate::types::{FunctionId, JobId, RecordNo, fits};

/// Most policies at once.
const MOST: usize = 10_000;

/// Longest pattern, in bytes.
const LONGEST: usize = 1024;

/// Whether there can be a policy for this pattern beside so many others.
///
/// # Errors
/// The pattern is too long, or there would be too many.
pub fn check_pattern(pattern: &str, others: usize) -> Result<(), Refusal> {
    if pattern.len() > LONGEST {
        return Err(Refusal::invalid(format!("A pattern has at most {LONGEST} bytes")));
    }
    if others >= MOST {
        return Err(Refusal::invalid(format!("There are at most {MOST} policies")));
    }
    Ok(())
}

/// Where a policy was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the configuration file. What an operator sets for the same pattern is laid over it.
    File,
    /// By an operator, at run time; the store keeps it.
    Operator,
}

impl Origin {
    /// Its name, as users see it.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::File => "file",
            Origin::Operator => "operator",
        }
    }
}

/// All policies.
#[derive(Debug)]
pub(super) struct Policies {
    /// In the order in which they are laid over each other: the least exact first.
    all: BTreeMap<Rank, Policy>,
}

/// Patterns with fewer bytes beside their stars come first, names without one last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_name: bool,
    exactness: usize,
    pattern: String,
    origin: Origin,
}

impl Rank {
    fn of(pattern: &str, origin: Origin) -> Self {
        let stars = pattern.bytes().filter(|byte| *byte == b'*').count();
        Self { is_name: stars == 0, exactness: pattern.len() - stars, pattern: pattern.to_owned(), origin }
    }
}

impl Policies {
    /// Those of the configuration file.
    pub fn new(of_file: &[(String, Policy)]) -> Self {
        let ranked = |(pattern, policy): &(String, Policy)| (Rank::of(pattern, Origin::File), policy.clone());
        Self { all: of_file.iter().map(ranked).collect() }
    }

    /// Those that fit a name, the least exact first.
    fn fitting<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = (&'a str, Origin, &'a Policy)> {
        let all = self.all.iter().filter(move |(rank, _)| fits(rank.pattern.as_bytes(), name));
        all.map(|(rank, policy)| (rank.pattern.as_str(), rank.origin, policy))
    }
}

impl Engine {
    /// All policies, the least exact first.
    pub fn policies(&self) -> impl Iterator<Item = (&str, Origin, &Policy)> {
        self.policies.all.iter().map(|(rank, policy)| (rank.pattern.as_str(), rank.origin, policy))
    }

    /// The policies that fit a function's name, the least exact first, and what they amount to.
    pub fn rules_for(&self, name: &[u8]) -> (Vec<(&str, Origin, &Policy)>, Rules) {
        let fitting: Vec<_> = self.policies.fitting(name).collect();
        let mut rules = self.settings.rules.clone();
        fitting.iter().for_each(|(.., policy)| rules.overlay(policy));
        (fitting, rules)
    }

    /// What was set once, at start.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether there is a function of this name.
    pub fn has_function(&self, name: &[u8]) -> bool {
        self.functions.find(name).is_some()
    }

    /// The policy of the configuration file for exactly this pattern.
    pub fn file_policy(&self, pattern: &str) -> Option<&Policy> {
        self.policies.all.get(&Rank::of(pattern, Origin::File))
    }

    /// An operator's policy for a pattern, as it is set now.
    pub fn operator_policy(&self, pattern: &str) -> Option<&Policy> {
        self.policies.all.get(&Rank::of(pattern, Origin::Operator))
    }

    /// An operator sets a policy, or lifts it. It holds at once, for the jobs that are there too.
    ///
    /// # Errors
    /// There would be too many, the pattern is too long, or the store cannot keep it.
    pub fn set_policy(
        &mut self,
        pattern: &str,
        policy: Option<Policy>,
        out: &mut impl Output,
    ) -> Result<RecordNo, Refusal> {
        let rank = Rank::of(pattern, Origin::Operator);
        let policy = policy.filter(|policy| *policy != Policy::default());
        let is_new = policy.is_some() && !self.policies.all.contains_key(&rank);
        check_pattern(pattern, if is_new { self.policies.all.len() } else { 0 })?;
        let kept = policy.clone().map(Box::new);
        let record = out.persist(Record::Policy { pattern: pattern.into(), policy: kept })?;
        match policy {
            Some(policy) => self.policies.all.insert(rank, policy),
            None => self.policies.all.remove(&rank),
        };
        for function in self.renew_rules(pattern) {
            self.wake(function, out);
        }
        Ok(record)
    }

    /// A policy from the log.
    pub(super) fn restore_policy(&mut self, pattern: &str, policy: Policy) {
        self.policies.all.insert(Rank::of(pattern, Origin::Operator), policy);
        self.renew_rules(pattern);
    }

    /// Gives a new function its rules.
    pub(super) fn give_rules(&mut self, function: FunctionId) {
        if self.policies.all.is_empty() {
            return;
        }
        let (fitting, rules) = self.rules_for(&self.functions.get(function).name);
        if !fitting.is_empty() {
            self.functions.set_rules(function, Arc::new(rules));
        }
    }

    /// Gives the functions that a pattern fits their rules anew, and has their jobs looked through.
    fn renew_rules(&mut self, pattern: &str) -> Vec<FunctionId> {
        let functions: Vec<FunctionId> = if pattern.contains('*') {
            let all = self.functions.after(None);
            all.filter(|(_, function)| fits(pattern.as_bytes(), &function.name)).map(|(id, _)| id).collect()
        } else {
            self.functions.find(pattern.as_bytes()).into_iter().collect()
        };
        for function in &functions {
            let (_, rules) = self.rules_for(&self.functions.get(*function).name);
            self.functions.set_rules(*function, Arc::new(rules));
        }
        if !functions.is_empty() && self.jobs.len() > 0 {
            self.review = Some(JobId(0));
        }
        functions
    }
}
