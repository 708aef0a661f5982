//! `gearhouse top` as it is seen: in a terminal of 80 columns, and once for a pipe.

use std::io::{Read, Write};
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gearhouse::clock::Clock;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use serde_json::{Value, json};

use super::run::{eventually, run};
use super::stand_in::StandIn;

fn function(name: &str, waiting: u64, submitted: u64) -> Value {
    let since = Clock::new().now().before(Duration::from_secs(75));
    let since =
        chrono::DateTime::from_timestamp_micros(since.as_micros() as i64).expect("a time").to_rfc3339();
    json!({
        "function": name, "queued": {"high": 0, "normal": waiting, "low": 0}, "running": 1, "workers": 2,
        "oldest_queued": since, "submitted": submitted, "succeeded": 0, "failed": {"lost": 3},
    })
}

/// A server whose functions get no job more after the second look.
fn busy() -> StandIn {
    let list = "GET /functions?limit=1000";
    let look = |submitted| json!({"items": [function("mail", 5, 0), function("resize", 70, submitted)], "next": null});
    StandIn::start(&[
        ("GET /server", 200, json!({"version": "9.8.7"})),
        (list, 200, look(1_000)),
        (list, 200, look(900_000)),
    ])
}

#[test]
fn one_view_is_printed_for_a_pipe() {
    let view = busy().run(&["top", "--once", "--interval", "10ms"]).well();
    let lines: Vec<&str> = view.lines().collect();
    assert!(lines[0].starts_with("gearhouse 9.8.7  2 functions  75 waiting  2 running"), "{view}");
    let titles: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(titles[..4], ["Name", "Workers", "Waiting", "Running"], "{view}");
    let resize: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(resize[..4], ["resize", "2", "70", "1"], "{view}");
    assert!(resize[4].starts_with("1m"), "{view}");
    assert!(!["-", "0"].contains(&resize[5]), "jobs came between the two looks: {view}");
    let mail: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!((mail[0], mail[5], mail[7]), ("mail", "0", "3"), "{view}");
    assert_eq!(lines.len(), 4);

    let by_name = busy().run(&["top", "--once", "--interval", "10ms", "--sort", "name"]).well();
    assert!(by_name.lines().nth(2).unwrap().starts_with("mail "), "{by_name}");
    let json = busy().run(&["top", "--json", "--interval", "10ms"]).well();
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["function"], &first["jobs"]), (&json!("resize"), &json!(71)));
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    assert!(busy().run(&["top"]).with_code(2).contains("--once"));
    assert!(run(&["top", "--http", "127.0.0.1:1", "--once"]).with_code(2).contains("cannot reach"));
}

fn nonzero(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

/// A command in a terminal of 80 columns and 24 lines.
struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    fn start(args: &[&str]) -> Terminal {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_gearhouse"));
        command.args(args);
        command.env_clear();
        command.env("TERM", "xterm");
        let child = pair.slave.spawn_command(command).expect("start the command");
        let mut output = pair.master.try_clone_reader().expect("what it writes");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(nonzero(24), nonzero(80), 0)));
        let shown = screen.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..length]);
            }
        });
        let keys = pair.master.take_writer().expect("its keyboard");
        Terminal { screen, keys, child, _master: pair.master }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("type");
    }

    fn lines(&self) -> Vec<String> {
        self.screen.lock().unwrap().screen().contents().lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn shows(&self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        eventually(what, || is_so(&self.lines()));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("on the screen: {:#?}", self.lines());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn keys_sort_filter_and_end_it() {
    let api = busy();
    let mut top = Terminal::start(&["top", "--http", &api.url, "--interval", "50ms"]);
    let line = |number: usize, name: &'static str| {
        move |lines: &[String]| lines.get(number).is_some_and(|line| line.starts_with(name))
    };
    top.shows("the busiest first, keys at the bottom", |lines| {
        line(2, "resize ")(lines) && line(3, "mail ")(lines) && line(23, "q quit")(lines)
    });
    top.press("n");
    top.shows("names from a on", line(2, "mail "));
    top.press("n");
    top.shows("names from z on", line(2, "resize "));
    top.press("/mai");
    top.shows("what is typed", line(23, "filter: mai_"));
    top.press("\r");
    top.shows("only mail", |lines| {
        line(2, "mail ")(lines) && !lines.iter().any(|line| line.starts_with("resize"))
    });
    top.press("q");
    eventually("it ends", || {
        top.child.try_wait().expect("ask for it").is_some_and(|status| status.success())
    });
    top.shows("the screen as it was before", |lines| lines.iter().all(|line| line.is_empty()));
}

#[test]
fn a_server_that_goes_away_is_told_and_the_last_view_stays() {
    let list = "GET /functions?limit=1000";
    let broken = json!({"title": "The server cannot do this now", "detail": "It ends"});
    let api = StandIn::start(&[
        ("GET /server", 200, json!({"version": "9.8.7"})),
        (list, 200, json!({"items": [function("mail", 5, 0)], "next": null})),
        (list, 503, broken),
    ]);
    let top = Terminal::start(&["top", "--http", &api.url, "--interval", "50ms"]);
    top.shows("the view and the trouble", |lines| {
        lines.iter().any(|line| line.starts_with("mail "))
            && lines.iter().any(|line| line.contains("It ends"))
    });
}
