//! The crate gearman: its client, its worker and its administrative client.
//!
//! Prints one line for each check: `ok NAME`, `n/a NAME: reason`, or `failed NAME: reason`; the exit code is 0 only if nothing
//! failed. With the word `work` it is the worker process.

mod admin;
mod jobs;
mod support;
mod worker;

use support::Report;

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("work") {
        return worker::work(words.collect()).await;
    }
    let mut report = Report::default();
    jobs::check(&mut report).await;
    admin::check(&mut report).await;
    jobs::check_reconnect(&mut report).await;
    std::process::exit(i32::from(report.failures > 0));
}
