//! Whether lists and scrapes stay quick however much the server holds: first pages and metrics of one that holds much
//! beside one that holds little and one that holds nothing.
//!
//! `cargo bench --bench lists` fills a server with 100,000 functions and 5 million queued jobs, asks all three in turns,
//! and prints what each page took and its bound; it ends with exit code 1 if one is exceeded. The ratio is that to the server
//! that holds little, whose pages are as full: what an empty page takes less is the page's own, not the search for it.

mod pages;
mod server;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use gearhouse::clock::Stopwatch;
use hdrhistogram::Histogram;

use self::pages::{Bound, Page};
use self::server::{Holds, Server};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is little: enough to fill every page.
const LITTLE: Holds = Holds { functions: 1_000, jobs: 5_000 };

/// What lies within this is not told apart from what else the machine does.
const SLACK: Duration = Duration::from_millis(5);

/// First pages and scrapes of a server that holds much
#[derive(Parser)]
struct Options {
    /// Functions of the server that holds much
    #[arg(long, default_value = "100000")]
    functions: usize,

    /// Queued jobs there
    #[arg(long, default_value = "5000000")]
    jobs: u64,

    /// How often each page is asked for
    #[arg(long, default_value = "50")]
    requests: u32,

    /// Only shows that everything works: little load, few requests, and no verdict
    #[arg(long)]
    smoke: bool,

    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether no bound was exceeded.
fn measure(options: &Options) -> Result<bool> {
    let (little, much, requests) = if options.smoke {
        (Holds { functions: 10, jobs: 1_000 }, Holds { functions: 2_000, jobs: 20_000 }, 3)
    } else {
        (LITTLE, Holds { functions: options.functions, jobs: options.jobs }, options.requests)
    };
    let watch = Stopwatch::start();
    let servers = [Server::start(None)?, Server::start(Some(little))?, Server::start(Some(much))?];
    eprintln!(
        "{} functions and {} jobs after {:.0} s, in {} MiB",
        much.functions,
        much.jobs,
        watch.elapsed().as_secs_f64(),
        servers[2].resident()? >> 20,
    );
    println!("| page | empty p50 | little p50 | much p50 | much p99 | ratio | looked at | bound | |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut all_met = true;
    for (page, times) in ask_in_turns(&servers, Page::all(much), requests)? {
        all_met &= tell(&page, &times);
    }
    Ok(all_met || options.smoke)
}

/// What one server took for one page.
struct Times {
    micros: Histogram<u64>,
    looked_at: Option<u64>,
}

/// All pages in each round, and all servers for each page: what else the machine does for a moment concerns few of the
/// times of any page.
fn ask_in_turns(servers: &[Server; 3], pages: Vec<Page>, requests: u32) -> Result<Vec<(Page, [Times; 3])>> {
    let new = || Histogram::new(3).map(|micros| Times { micros, looked_at: None });
    let mut asked = Vec::new();
    for page in pages {
        asked.push((page, [new()?, new()?, new()?]));
    }
    // The first round opens connections.
    for round in 0..=requests {
        for (page, times) in &mut asked {
            for (server, times) in servers.iter().zip(times) {
                let watch = Stopwatch::start();
                let answer = server.get(page.path, page.accept)?;
                let took = watch.elapsed();
                if round > 0 {
                    times.micros.record(took.as_micros() as u64)?;
                } else {
                    times.looked_at = answer.looked_at()?;
                    page.check(server, &answer)?;
                }
            }
        }
    }
    Ok(asked)
}

/// Prints a row. Whether the page is within its bound.
fn tell(page: &Page, [empty, little, much]: &[Times; 3]) -> bool {
    let at = |times: &Times, quantile| Duration::from_micros(times.micros.value_at_quantile(quantile));
    let [none, few, many] = [empty, little, much].map(|times| at(times, 0.5));
    let most = at(much, 0.99);
    let (is_met, bound) = match page.bound {
        Bound::Times(times) => (many <= few * times + SLACK, format!("≤ {times} × + {SLACK:?}")),
        Bound::AtMost(time) => (most <= time, format!("p99 ≤ {time:?}")),
    };
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    println!(
        "| {} | {} | {} | {} | {} | {:.2} | {} | {bound} | {} |",
        page.name(),
        ms(none),
        ms(few),
        ms(many),
        ms(most),
        many.as_secs_f64() / few.as_secs_f64(),
        much.looked_at.map_or("–".to_owned(), |looked| looked.to_string()),
        if is_met { "met" } else { "**exceeded**" },
    );
    is_met
}
