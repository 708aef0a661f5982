//! `gearhouse load`: how busy the server was, over time.

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::api::{Query, Remote};
use super::functions::sum;
use super::show;
use super::table::Column;
use super::values::Span;
use crate::clock::Clock;
use crate::types::Timestamp;

pub(super) const HELP: &str = "\
Examples:
  gearhouse load                                       the last ten minutes, of all functions together
  gearhouse load --function resize --from 24h          a function's last day
  gearhouse load --from 2027-01-31T08:00:00Z --to 2027-01-31T09:00:00Z --step 1m
  gearhouse load --from 1h --json                      for programs

Exit code: 0 done, 1 the server refused, 2 wrong use or no server.";

/// Rows that fit on a screen, if nothing is said.
const ROWS: u64 = 60;

#[derive(Args, Debug)]
pub(super) struct Load {
    #[command(flatten)]
    remote: Remote,

    /// Only this function; without it, all together
    #[arg(long, value_name = "FUNCTION")]
    function: Option<String>,
    /// From when on: a time as 2027-01-31T08:30:00Z, or a length of time before now
    #[arg(long, value_name = "TIME", default_value = "10m")]
    from: Moment,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
    /// Time that one row stands for [default: what gives some sixty rows]
    #[arg(long, value_name = "DURATION")]
    step: Option<Span>,
}

/// A time, or one so long ago.
#[derive(Clone, Copy, Debug)]
enum Moment {
    At(Timestamp),
    Ago(std::time::Duration),
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        if let Ok(Span(span)) = text.parse() {
            return Ok(Moment::Ago(span));
        }
        show::moment(&Value::from(text)).map(Moment::At).ok_or_else(|| {
            format!(
                "{text:?} is neither a time as 2027-01-31T08:30:00Z nor a length of time before now as 10m"
            )
        })
    }
}

impl Moment {
    fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::At(moment) => moment,
            Moment::Ago(span) => {
                Timestamp::from_micros(now.as_micros().saturating_sub(span.as_micros() as u64))
            }
        }
    }
}

impl Load {
    pub(super) fn run(self) -> Result<(), Failure> {
        let api = self.remote.api()?;
        let now = Clock::new().now();
        let (from, to) = (self.from.before(now), self.to.map_or(now, |to| to.before(now)));
        if from >= to {
            return Err(Failure::usage("--from must be before --to"));
        }
        let step =
            self.step.map_or_else(|| fitting(to.since(from).as_secs()), |Span(step)| step.as_secs().max(1));
        let mut query: Query = vec![("from", text(from)), ("to", text(to)), ("step", step.to_string())];
        query.extend(self.function.map(|function| ("function", function)));
        let answer = api.get(&[b"load"], &query)?;
        let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        if self.remote.json {
            return items.iter().try_for_each(show::say);
        }
        show::table(&columns(), &items.iter().map(row).collect::<Vec<_>>())?;
        for title in LINES {
            let values: Vec<f64> = items.iter().map(|item| sum(&item[title]) as f64).collect();
            let most = values.iter().copied().fold(0.0, f64::max);
            show::say(format_args!("{title:<10} {}  most {most}", sparkline(&values, most)))?;
        }
        Ok(())
    }
}

/// The least step of a clock face that gives no more than a screenful of rows.
fn fitting(seconds: u64) -> u64 {
    const STEPS: [u64; 13] = [1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 43200, 86400];
    STEPS.into_iter().find(|step| seconds / step <= ROWS).unwrap_or(86400)
}

fn text(moment: Timestamp) -> String {
    let micros = i64::try_from(moment.as_micros()).ok();
    let moment = micros.and_then(chrono::DateTime::from_timestamp_micros).unwrap_or_default();
    moment.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

fn columns() -> [Column; 10] {
    show::columns([
        "TIME",
        "#WAITING",
        "#RUNNING",
        "#SCHEDULED",
        "#SUBMITTED",
        "#SUCCEEDED",
        "#FAILED",
        "#WORKERS",
        "#OLDEST",
        "#WAIT P95",
    ])
}

fn row(item: &Value) -> Vec<String> {
    let count = |field: &str| match &item[field] {
        Value::Object(_) => sum(&item[field]).to_string(),
        _ => show::text(item, field),
    };
    let time = item["at"].as_str().unwrap_or("-");
    vec![
        time.split('.').next().unwrap_or(time).replace('T', " "),
        count("waiting"),
        count("running"),
        count("scheduled"),
        count("submitted"),
        count("succeeded"),
        count("failed"),
        count("workers"),
        show::seconds(&item["oldest_age"]),
        show::seconds(&item["wait"]["p95"]),
    ]
}

/// What is drawn below the table.
const LINES: [&str; 3] = ["waiting", "running", "submitted"];

/// Values as a line of bars, a character each; `most` is a full one.
pub(super) fn sparkline(values: &[f64], most: f64) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let height = |value: f64| match value {
        value if value <= 0.0 || most <= 0.0 => 0,
        value => ((value / most * 8.0).ceil() as usize).clamp(1, 8),
    };
    values.iter().map(|value| BARS[height(*value)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_value_and_never_gone_if_there_is_one() {
        assert_eq!(sparkline(&[0.0, 0.1, 4.0, 8.0], 8.0), " ▁▄█");
        assert_eq!(sparkline(&[0.0, 0.0], 0.0), "  ");
    }

    #[test]
    fn a_range_is_cut_into_no_more_rows_than_a_screen_has() {
        assert_eq!((fitting(10), fitting(600), fitting(86400)), (1, 10, 1800));
        assert_eq!(fitting(1_000_000_000), 86400);
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let moment = |text: &str| text.parse::<Moment>().map(|moment| super::text(moment.before(now)));
        assert_eq!(moment("10m").as_deref(), Ok("2027-01-15T07:50:00.000000Z"));
        assert_eq!(moment("2027-01-31T08:30:00+01:00").as_deref(), Ok("2027-01-31T07:30:00.000000Z"));
        assert!(moment("yesterday").is_err());
    }
}
