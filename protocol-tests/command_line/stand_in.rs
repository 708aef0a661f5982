//! A stand-in for the HTTP API: gives answers that were laid ready, and tells what it was asked. For what a real server
//! does seldom or slowly: pages without end, refusals, answers that make no sense.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::run::{Ended, end, gearhouse};

/// What it was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As `GET /jobs?limit=2`, without `/api/v1`.
    pub line: String,
    /// The value of the header.
    pub authorization: Option<String>,
    pub body: Value,
}

type Answers = HashMap<String, VecDeque<(u16, Value)>>;

pub struct StandIn {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl StandIn {
    /// With these answers: the question as in [`Asked::line`], the status, the body. Answers to the same question come in
    /// this order, the last of them again and again.
    pub fn start(answers: &[(&str, u16, Value)]) -> StandIn {
        let mut ready = Answers::new();
        for (line, status, body) in answers {
            ready.entry((*line).to_owned()).or_default().push_back((*status, body.clone()));
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let kept = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &mut ready, &kept);
            }
        });
        StandIn { url, asked }
    }

    /// `gearhouse` with these arguments, asking here.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = gearhouse(args);
        command.env("GEARHOUSE_OPT_HTTP_URL", &self.url);
        command
    }

    /// The same, run to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ended {
        end(&mut self.command(args), b"")
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The bodies of what was asked by this line.
    pub fn bodies(&self, line: &str) -> Vec<Value> {
        let asked = self.asked().into_iter().filter(|asked| asked.line == line);
        asked.map(|asked| asked.body).collect()
    }
}

fn answer(stream: TcpStream, ready: &mut Answers, kept: &Mutex<Vec<Asked>>) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let mut lines = lines.iter().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the whole body");
    let line = lines[0].trim_end_matches(" HTTP/1.1").replacen("/api/v1", "", 1);
    let body = serde_json::from_slice(&body).unwrap_or_default();
    kept.lock().unwrap().push(Asked { line: line.clone(), authorization: header("authorization"), body });
    let (status, body) = match ready.get_mut(&line) {
        Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
        Some(answers) => answers[0].clone(),
        None => (404, serde_json::json!({"title": "Not laid ready", "detail": line})),
    };
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let body = if status == 204 { String::new() } else { body.to_string() };
    let head = format!("HTTP/1.1 {status} So\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n", body.len());
    // Who asked may be gone.
    let _ = stream.get_mut().write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes());
}
