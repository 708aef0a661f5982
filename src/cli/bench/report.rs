//! What was measured, as a table for people and as JSON for programs.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::table::{self, Column};
use super::measure::Figures;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

pub(super) fn table(figures: &[Figures]) -> io::Result<()> {
    let number = |title| Column { title, is_number: true };
    let columns = [
        Column { title: "SCENARIO", is_number: false },
        number("JOBS"),
        number("JOBS/S"),
        number("P50"),
        number("P90"),
        number("P99"),
        number("P99.9"),
        number("MAX"),
        number("SERVER CPU/JOB"),
    ];
    let row = |figures: &Figures| {
        let mut row =
            vec![figures.scenario.to_owned(), figures.jobs.to_string(), format!("{:.0}", figures.rate())];
        row.extend(
            QUANTILES.iter().map(|(_, quantile)| time(figures.latencies.value_at_quantile(*quantile))),
        );
        row.push(time(figures.latencies.max()));
        row.push(figures.cpu_micros().map_or("-".to_owned(), |micros| format!("{micros:.2}us")));
        row
    };
    table::write(io::stdout().lock(), &columns, &figures.iter().map(row).collect::<Vec<_>>())
}

pub(super) fn json(figures: &[Figures]) -> io::Result<()> {
    let entry = |figures: &Figures| {
        let mut entry = json!({
            "scenario": figures.scenario,
            "jobs": figures.jobs,
            "seconds": figures.time.as_secs_f64(),
            "jobs_per_second": figures.rate(),
            "max_us": figures.latencies.max(),
            "server_cpu_us_per_job": figures.cpu_micros(),
        });
        for (name, quantile) in QUANTILES {
            entry[format!("{name}_us")] = figures.latencies.value_at_quantile(quantile).into();
        }
        entry
    };
    let all: Vec<Value> = figures.iter().map(entry).collect();
    serde_json::to_writer_pretty(io::stdout().lock(), &all)?;
    println!();
    Ok(())
}

impl Figures {
    fn rate(&self) -> f64 {
        self.jobs as f64 / self.time.as_secs_f64()
    }

    fn cpu_micros(&self) -> Option<f64> {
        let server = self.server.filter(|_| self.jobs > 0)?;
        Some(server.as_secs_f64() * 1e6 / self.jobs as f64)
    }
}

/// Microseconds in a unit that leaves few digits.
fn time(micros: u64) -> String {
    let time = Duration::from_micros(micros);
    match micros {
        0..10_000 => format!("{micros}us"),
        10_000..10_000_000 => format!("{}ms", time.as_millis()),
        _ => format!("{}s", time.as_secs()),
    }
}
