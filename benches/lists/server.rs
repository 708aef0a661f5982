//! A server and what it holds.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gearhouse::client::Client;
use gearhouse::clock::Stopwatch;
use gearhouse::load::{Ask, Load, Setup, Unique};
use gearhouse::protocol::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Result;

/// How long a server may take for what it owes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Jobs that one request submits.
const AT_ONCE: u64 = 5_000;

/// Pages hold as many rows.
const A_PAGE: u64 = 100;

/// What a server holds: so many functions, with so many queued jobs between them; and enough of everything else to fill a
/// page, or what a thousandth of the jobs is.
#[derive(Clone, Copy)]
pub struct Holds {
    pub functions: usize,
    pub jobs: u64,
}

/// A server, ended when dropped.
pub struct Server {
    child: Child,
    base: String,
    agent: ureq::Agent,
    pub is_filled: bool,
    /// Of the first job, for the page of one handle.
    handle: String,
    /// Workers, which go with their connections.
    workers: Vec<Client>,
    _directory: TempDir,
}

/// An answer that went well.
pub struct Answer {
    is_json: bool,
    body: Vec<u8>,
}

impl Server {
    /// Starts one on free ports and fills it.
    pub fn start(holds: Option<Holds>) -> Result<Server> {
        let directory = tempfile::tempdir()?;
        let [gearman, http] =
            [free_port()?, free_port()?].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let log = directory.path().join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_gearhouse"))
            .args(["serve", "--store", "memory", "--http-rate", "unlimited"])
            .args(["--max-memory", "8GiB", "--http", &http.to_string(), "--listen", &gearman.to_string()])
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()?;
        let agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
        let base = format!("http://{http}");
        let is_filled = holds.is_some();
        let (handle, workers) = ("H:none:1".to_owned(), Vec::new());
        let mut server = Server { child, base, agent, is_filled, handle, workers, _directory: directory };
        let watch = Stopwatch::start();
        while server.get("/readyz", "*/*").is_err() {
            if server.child.try_wait()?.is_some() || watch.elapsed() > PATIENCE {
                return Err(format!("the server does not start:\n{}", fs::read_to_string(&log)?).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(holds) = holds {
            server.fill(gearman, holds)?;
        }
        Ok(server)
    }

    /// Bytes of memory that it has.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// The page; `{handle}` stands for that of a job.
    pub fn get(&self, path: &str, accept: &str) -> Result<Answer> {
        let url = format!("{}{}", self.base, path.replace("{handle}", &self.handle));
        let mut answer = self.agent.get(url).header("accept", accept).call()?;
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
        Ok(Answer { is_json, body: answer.body_mut().with_config().limit(u64::MAX).read_to_vec()? })
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Result<()> {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/json").body(body.to_string())?;
        self.agent.run(request).map_err(|error| format!("{method} {path}: {error}"))?;
        Ok(())
    }

    fn fill(&mut self, gearman: SocketAddr, holds: Holds) -> Result<()> {
        submit(gearman, holds)?;
        let first: Value = serde_json::from_slice(&self.get("/api/v1/jobs?limit=1", "*/*")?.body)?;
        self.handle = first["items"][0]["handle"].as_str().unwrap_or_default().to_owned();
        let few = A_PAGE.max(holds.jobs / 1000);
        self.submit_few("scheduled", few, &json!({ "delay": 86400 }))?;
        self.submit_few("held", few, &json!({}))?;
        self.submit_few("cancelled", few, &json!({}))?;
        self.submit_few("running", few, &json!({}))?;
        self.submit_few("succeeded", few, &json!({ "keep": 86400 }))?;
        for (action, function) in [("hold", "held"), ("cancel", "cancelled")] {
            let filter = json!({ "function": function });
            self.send("POST", "/api/v1/jobs/actions", &json!({ "action": action, "filter": filter }))?;
        }
        for number in 0..A_PAGE {
            let schedule =
                json!({ "function": format!("recurring-{number}"), "unique": "one", "cron": "0 4 * * *" });
            self.send("POST", "/api/v1/schedules", &schedule)?;
            self.send("PUT", &format!("/api/v1/policies/set-{number}.%2A"), &json!({ "attempts": 3 }))?;
        }
        let mut all = Client::connect(&[gearman])?;
        for function in holds.names() {
            all.send(Kind::CanDo, &[function.as_bytes()])?;
        }
        all.ask(Kind::EchoReq, &[b""])?;
        self.workers.push(all);
        for number in 0..A_PAGE {
            let mut worker = Client::connect(&[gearman])?;
            worker.send(Kind::CanDo, &[b"running"])?;
            for _ in 0..few.div_ceil(A_PAGE) {
                worker.ask(Kind::GrabJob, &[])?;
            }
            if number == 0 {
                worker.send(Kind::CantDo, &[b"running"])?;
                worker.send(Kind::CanDo, &[b"succeeded"])?;
                for _ in 0..few {
                    let job = worker.ask(Kind::GrabJob, &[])?;
                    let handle = job.body.split(|byte| *byte == 0).next().unwrap_or_default();
                    worker.send(Kind::WorkComplete, &[handle, b"done"])?;
                }
                worker.ask(Kind::EchoReq, &[b""])?;
            }
            self.workers.push(worker);
        }
        Ok(())
    }

    fn submit_few(&self, function: &str, jobs: u64, said: &Value) -> Result<()> {
        let mut job = said.clone();
        job["function"] = function.into();
        let mut left = jobs;
        while left > 0 {
            let now = left.min(AT_ONCE);
            self.send("POST", "/api/v1/jobs", &Value::Array(vec![job.clone(); now as usize]))?;
            left -= now;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended by itself if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Holds {
    fn names(self) -> Vec<String> {
        (0..self.functions).map(|number| format!("function-{number:06}")).collect()
    }
}

impl Answer {
    pub fn looked_at(&self) -> Result<Option<u64>> {
        if !self.is_json {
            return Ok(None);
        }
        Ok(serde_json::from_slice::<Value>(&self.body)?["looked_at"].as_u64())
    }

    /// Whether it is a list with nothing on it.
    pub fn is_empty(&self) -> Result<bool> {
        if !self.is_json {
            return Ok(self.body.is_empty());
        }
        let body: Value = serde_json::from_slice(&self.body)?;
        Ok(body["items"].as_array().is_some_and(Vec::is_empty))
    }
}

/// The queued jobs, over Gearman's protocol.
fn submit(gearman: SocketAddr, holds: Holds) -> Result<()> {
    let mut load = Load::new(Setup {
        addresses: vec![gearman],
        functions: holds.names(),
        payload: 20,
        unique: Unique::Each,
        ask: Ask::Background,
        outstanding: 500,
        grab: Kind::GrabJob,
        grabs: 1,
    })?;
    load.connect_clients(4)?;
    load.allow(holds.jobs);
    let patience = PATIENCE.max(Duration::from_micros(50) * u32::try_from(holds.jobs)?);
    if !load.run(patience, |load| load.tally().answered == holds.jobs)? {
        return Err("the jobs are not accepted in time".into());
    }
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
