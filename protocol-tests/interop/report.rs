//! Judges what a script reported: every check that every library owes is there, and nothing was left out
//! that README.md does not tell.

use std::collections::BTreeSet;

use crate::library;
use crate::script::Outcome;
use crate::server::Target;

/// What each script shows with its library, under these names.
const OWED: [&str; 15] = [
    "foreground",
    "background",
    "priorities",
    "progress",
    "data",
    "warning",
    "exception",
    "exception_without_option",
    "fail",
    "unique",
    "status",
    "status_by_unique",
    "payloads",
    "worker_dies",
    "reconnect",
];

/// Says what is wrong with the outcome, if anything is.
pub(crate) fn check(library: &str, target: &Target, outcome: &Outcome) -> Result<(), String> {
    match outcome.status {
        None => return Err("still running at its deadline".into()),
        Some(status) if !status.success() => return Err(format!("ended with {status}")),
        Some(_) => {}
    }
    let report = Report::parse(&outcome.output)?;
    if let Some(name) = OWED.iter().find(|name| !report.names().any(|n| n == **name)) {
        return Err(format!("the check {name} is missing"));
    }
    if matches!(target, Target::Gearhouse)
        && let Some((name, why)) = report.left_out.iter().find(|(_, why)| why.starts_with("gearmand W"))
    {
        return Err(format!("{name} is left out for a fault of another server: {why}"));
    }
    let left_out: BTreeSet<String> = report
        .left_out
        .iter()
        .filter(|(_, why)| !why.starts_with("gearmand W"))
        .map(|(name, _)| name.clone())
        .collect();
    let documented = documented(library);
    if left_out != documented {
        return Err(format!("left out: {left_out:?}, but README.md says: {documented:?}"));
    }
    Ok(())
}

/// Names of the checks passed, and of those left out with the reason.
struct Report {
    passed: Vec<String>,
    left_out: Vec<(String, String)>,
}

impl Report {
    fn parse(output: &str) -> Result<Self, String> {
        let mut report = Self { passed: Vec::new(), left_out: Vec::new() };
        for line in output.lines() {
            if let Some(name) = line.strip_prefix("ok ") {
                report.passed.push(name.trim().to_owned());
            } else if let Some(rest) = line.strip_prefix("n/a ") {
                let (name, why) = rest.split_once(": ").ok_or_else(|| format!("no reason in {line:?}"))?;
                report.left_out.push((name.to_owned(), why.to_owned()));
            }
        }
        Ok(report)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.passed.iter().chain(self.left_out.iter().map(|(name, _)| name)).map(String::as_str)
    }
}

/// The checks that README.md says this library has no call for: rows like `| perl | status_by_unique | why |`.
fn documented(library: &str) -> BTreeSet<String> {
    let readme = crate::script::read(&library::interop().join("README.md"));
    let (_, left_out) = readme.split_once("## What a library does not offer").unwrap_or_default();
    left_out
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
            match cells[..] {
                [name, check, why] if name == library && !why.is_empty() => Some(check.to_owned()),
                _ => None,
            }
        })
        .collect()
}
