//! The worker process. What a job does is told by the last word of its function's name.

use bytes::Bytes;
use gearman::worker::{GrabMode, WorkError, Worker, WorkerBuilder, WorkerJob};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::address;

pub(crate) async fn work(functions: Vec<String>) {
    // Only a reducer needs GRAB_JOB_ALL; the others use what the crate takes by itself.
    let all = functions.iter().any(|function| function.ends_with("-reduce"));
    let builder = Worker::builder().servers([address()]).concurrency(1);
    let builder = builder.grab_mode(if all { GrabMode::All } else { GrabMode::Uniq });
    let running = functions
        .into_iter()
        .fold(builder, |builder: WorkerBuilder, name| builder.register(name, perform))
        .run();
    std::future::pending::<()>().await;
    running.shutdown().await;
}

async fn perform(job: WorkerJob) -> Result<Bytes, WorkError> {
    let kind = job.function.rsplit('-').next().unwrap_or_default();
    match kind {
        "echo" => Ok(job.payload),
        "record" => {
            println!("ran {}", String::from_utf8_lossy(&job.payload));
            Ok(job.payload)
        }
        "hold" => {
            job.reporter.report_status(3, 10).await.map_err(|_| WorkError::Fail)?;
            println!("holding {}", job.unique.as_deref().unwrap_or_default());
            wait_for_go().await;
            Ok(job.payload)
        }
        "progress" => {
            for step in 1..=4 {
                job.reporter.report_status(step, 4).await.map_err(|_| WorkError::Fail)?;
            }
            Ok(Bytes::new())
        }
        "chunks" => {
            for piece in job.payload.split(|byte| *byte == b',') {
                job.reporter.send_data(piece.to_vec()).await.map_err(|_| WorkError::Fail)?;
            }
            Ok(Bytes::from_static(b"end"))
        }
        "warn" => {
            job.reporter.warn(job.payload).await.map_err(|_| WorkError::Fail)?;
            Ok(Bytes::from_static(b"warned"))
        }
        "raise" => Err(WorkError::Exception(job.payload)),
        "reduce" => Ok(job.reducer.unwrap_or_default().into()),
        _ => Err(WorkError::Fail),
    }
}

async fn wait_for_go() {
    let mut line = String::new();
    let told = BufReader::new(tokio::io::stdin()).read_line(&mut line).await;
    if told.is_err() || line != "go\n" {
        std::process::exit(1);
    }
}
