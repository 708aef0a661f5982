//! The verdict: each figure that is asked something, of all servers, as a table in Markdown.

use std::collections::BTreeMap;

use super::Outcome;
use super::measure::Figures;
use super::scenarios::{Bar, Row};
use super::servers::OURS;

/// How far medians of one day lie from those of another: so much is forgiven.
const WITHIN: f64 = 1.1;

/// Prints the table. Whether nothing fell short that was measured.
pub fn print(outcomes: &[Outcome]) -> bool {
    let mut servers: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !servers.contains(&outcome.server.as_str()) {
            servers.push(&outcome.server);
        }
    }
    let titles = ["scenario", "figure"].into_iter().chain(servers.iter().copied());
    let titles = titles.chain(["ratio", "must", "aim", ""]).map(str::to_owned).collect();
    let (mut lines, mut falls_short) = (vec![titles], false);
    for row in Row::all() {
        let figures = |server: &str| figures_of(outcomes, &row, server);
        if figures(OURS).is_empty() {
            continue;
        }
        let mut line = vec![row.scenario.clone(), row.figure.to_owned()];
        line.extend(servers.iter().map(|server| spread(figures(server).into_values().collect())));
        let (ratio, verdict) = match row.bar {
            Bar::Over(rivals, must, aim) => {
                let ratio = ratio(&figures(OURS), rivals.iter().map(|rival| figures(rival)));
                line.extend([ratio.map_or("–".into(), |ratio| format!("{} ×", number(ratio)))]);
                line.extend([must, aim].map(|times| format!("{times} ×")));
                (ratio, ratio.map(|ratio| [ratio * WITHIN >= must, ratio >= must, ratio >= aim]))
            }
            Bar::AtMost(must, aim) => {
                let ours = median(figures(OURS).into_values().collect());
                line.extend(["–".to_owned(), format!("≤ {must}"), format!("≤ {aim}")]);
                (ours, ours.map(|ours| [ours <= must * WITHIN, ours <= must, ours <= aim]))
            }
        };
        let verdict = verdict.filter(|_| ratio.is_some());
        falls_short |= verdict.is_some_and(|[within, ..]| !within);
        line.push(match verdict {
            None => "not compared".into(),
            Some([false, ..]) => "**falls short**".into(),
            Some([_, false, _]) => "within a tenth".into(),
            Some([.., false]) => "met".into(),
            Some(_) => "aim met".into(),
        });
        lines.push(line);
    }
    write(&lines);
    for outcome in outcomes.iter().filter(|outcome| outcome.error.is_some()) {
        let why = outcome.error.as_deref().unwrap_or_default();
        println!("\n{} of {}, round {}: {why}", outcome.scenario, outcome.server, outcome.round);
    }
    !falls_short
}

/// The figures of one run in a line.
pub fn summary(figures: &Figures) -> String {
    let one = |(name, figure): (&String, &f64)| format!("{name} {}", number(*figure));
    figures.iter().filter(|(name, _)| !name.contains("rate")).map(one).collect::<Vec<_>>().join(", ")
}

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count.is_multiple_of(2) => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

/// By round.
fn figures_of(outcomes: &[Outcome], row: &Row, server: &str) -> BTreeMap<u32, f64> {
    let runs = outcomes.iter().filter(|outcome| outcome.server == server && outcome.scenario == row.scenario);
    runs.filter_map(|outcome| Some((outcome.round, *outcome.figures.get(row.figure)?))).collect()
}

/// The median of the ratios within a round of the best rival to us.
fn ratio(ours: &BTreeMap<u32, f64>, rivals: impl Iterator<Item = BTreeMap<u32, f64>>) -> Option<f64> {
    let mut best: BTreeMap<u32, f64> = BTreeMap::new();
    for (round, figure) in rivals.flatten() {
        best.entry(round).and_modify(|best| *best = best.min(figure)).or_insert(figure);
    }
    median(ours.iter().filter_map(|(round, ours)| Some(best.get(round)? / ours)).collect())
}

fn spread(values: Vec<f64>) -> String {
    let least = values.iter().copied().reduce(f64::min);
    let most = values.iter().copied().reduce(f64::max);
    match (median(values), least, most) {
        (Some(median), Some(least), Some(most)) => {
            format!("{} ({}–{})", number(median), number(least), number(most))
        }
        _ => "–".into(),
    }
}

/// Three digits are what a measurement is worth.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn write(lines: &[Vec<String>]) {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    for (index, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            println!("|{}", " --- |".repeat(line.len()));
        }
    }
}
