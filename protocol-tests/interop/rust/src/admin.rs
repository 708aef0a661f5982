//! Every call of the crate's administrative client.

use gearman::GearmanError;
use gearman::admin::{AdminClient, MaxQueueSize};
use gearman::client::{Priority, SubmitOptions};

use crate::jobs::{client, submit};
use crate::support::{Outcome, Report, Worker, address, eventually, function, same};

pub(crate) async fn check(report: &mut Report) {
    report.check("admin_version_verbose_getpid", version_verbose_getpid()).await;
    report.check("admin_status_and_workers", status_and_workers()).await;
    report.check("admin_show_and_cancel", show_and_cancel()).await;
    report.check("admin_create_limit_drop", create_limit_drop()).await;
}

async fn version_verbose_getpid() -> Outcome {
    let mut admin = AdminClient::connect(address()).await?;
    same("a version", &admin.version().await?.is_empty(), &false)?;
    same("a level", &admin.verbose().await?.is_empty(), &false)?;
    same("a pid", &(admin.getpid().await? > 1), &true)
}

async fn status_and_workers() -> Outcome {
    let client = client().await?;
    let mut admin = AdminClient::connect(address()).await?;
    let name = function("admin-hold");
    let high = SubmitOptions::background().with_priority(Priority::High);
    submit(&client, "admin-hold", None, "x", high).await?;
    submit(&client, "admin-hold", None, "x", SubmitOptions::background()).await?;

    let waiting = admin.priority_status().await?.into_iter().find(|f| f.function == name).ok_or("no line")?;
    same(
        "prioritystatus",
        &(waiting.high, waiting.normal, waiting.low, waiting.worker_count),
        &(1, 1, 0, 0),
    )?;

    let mut worker = Worker::start(&["admin-hold"])?;
    worker.wait_for("holding").await?;
    let counts = admin.status().await?.into_iter().find(|f| f.function == name).ok_or("no line")?;
    same("status", &(counts.total, counts.running, counts.worker_count), &(2, 1, 1))?;
    let workers = admin.workers().await?;
    let ours: Vec<_> = workers.iter().filter(|worker| worker.functions.contains(&name)).collect();
    same(
        "workers",
        &ours.iter().map(|w| (w.ip.as_str(), w.client_id.as_str(), w.functions.len())).collect(),
        &vec![("127.0.0.1", "-", 1)],
    )?;

    worker.go().await?;
    worker.wait_for("holding").await?;
    worker.go().await?;
    eventually(async || Ok(admin.status().await?.iter().any(|f| f.function == name && f.total == 0))).await
}

async fn show_and_cancel() -> Outcome {
    let client = client().await?;
    let mut admin = AdminClient::connect(address()).await?;
    let job = submit(&client, "never", Some("shown-unique"), "x", SubmitOptions::background()).await?;
    let handle = job.handle.as_str();
    let jobs = admin.show_jobs().await?;
    let ours: Vec<_> =
        jobs.iter().filter(|job| job.handle == handle).map(|job| (job.retries, job.ignore_job)).collect();
    same("show jobs", &ours, &vec![(0, false)])?;
    let uniques = admin.show_unique_jobs().await?;
    same("show unique jobs", &uniques.iter().filter(|job| job.unique == "shown-unique").count(), &1)?;
    admin.cancel_job(handle).await?;
    match admin.cancel_job("H:nobody:1").await {
        Err(GearmanError::ServerError { code, .. }) => same("the error", &code.as_str(), &"UNKNOWN_JOB"),
        other => Err(format!("cancelling an unknown job says {other:?}").into()),
    }
}

async fn create_limit_drop() -> Outcome {
    let client = client().await?;
    let mut admin = AdminClient::connect(address()).await?;
    let name = function("limited");
    admin.create_function(&name).await?;
    same("the created function", &admin.status().await?.iter().any(|f| f.function == name), &true)?;
    admin.set_max_queue(&name, MaxQueueSize::Uniform(1)).await?;
    let accepted = submit(&client, "limited", None, "1", SubmitOptions::foreground()).await?;
    match submit(&client, "limited", None, "2", SubmitOptions::foreground()).await {
        Err(GearmanError::ServerError { code, .. }) => same("the error", &code.as_str(), &"QUEUE_ERROR")?,
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("a second job went into a queue of one".into()),
    }
    admin.set_max_queue(&name, MaxQueueSize::PerPriority { high: 3, normal: 2, low: 1 }).await?;
    admin.set_max_queue(&name, MaxQueueSize::Default).await?;
    admin.cancel_job(accepted.handle.as_str()).await?;
    admin.drop_function(&name).await?;
    same("the dropped function", &admin.status().await?.iter().any(|f| f.function == name), &false)
}
