//! `gearhouse top`: the functions, live, in the habit of `gearman_top`.
//!
//! A thread asks the server, so that keys are heard while an answer is late; this one draws.

mod keys;
mod sample;
mod view;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use clap::Args;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event};
use ratatui::layout::Rect;

use self::keys::{Heard, View};
use self::sample::{History, Sample, SortBy};
use super::Failure;
use super::api::{Api, Query, Remote};
use super::show;
use super::values::Span;

pub(super) const HELP: &str = "\
Keys:
  n w t r a i o f        sort by name, workers, waiting, running, age of the oldest, in, out, failed; again: the other way
  /, Esc                 filter by a part of the name; lift that
  x                      hide functions where nothing happens
  space                  stop the view, go on
  arrows, PgUp, PgDn, Home, End    move it
  q                      end

Examples:
  gearhouse top                             all functions, the busiest first
  gearhouse top --function 'img.*' --sort age
  gearhouse top --once                      one view, for pipes

Exit code: 0 done, 2 wrong use or no server.";

/// Functions that are looked at.
const MOST: usize = 10_000;

/// How long to wait for a key before looking whether there is something new.
const BLINK: Duration = Duration::from_millis(100);

#[derive(Args, Debug)]
pub(super) struct Top {
    #[command(flatten)]
    remote: Remote,

    /// Only these functions; `*` stands for any text
    #[arg(long, value_name = "PATTERN")]
    function: Option<String>,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    interval: Span,
    /// What stands first
    #[arg(long, value_name = "COLUMN", default_value = "waiting")]
    sort: SortBy,
    /// Print one view and end: two looks, since rates need two
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(super) fn run(self) -> Result<(), Failure> {
        let api = self.remote.api()?;
        let query: Query = self.function.map(|function| ("function", function)).into_iter().collect();
        let Span(interval) = self.interval;
        let mut view = View::new(self.sort);
        let mut history = History::default();
        if self.once || self.remote.json {
            history.add(Sample::take(&api, &query, MOST)?);
            thread::sleep(interval);
            history.add(Sample::take(&api, &query, MOST)?);
            if self.remote.json {
                return view.rows(&history).into_iter().try_for_each(|row| show::say(row.to_json()));
            }
            return print(&view, &history);
        }
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::usage("top needs a terminal; --once prints one view without"));
        }
        // The first look is taken before the screen is: what goes wrong with it is said like any other error.
        history.add(Sample::take(&api, &query, MOST)?);
        let samples = keep_looking(api, query, interval);
        let mut terminal = ratatui::try_init().map_err(of_terminal)?;
        let watched = watch(&mut terminal, &mut view, &mut history, &samples);
        ratatui::restore();
        watched.map_err(of_terminal)
    }
}

fn of_terminal(error: io::Error) -> Failure {
    Failure::usage(format!("cannot use the terminal: {error}"))
}

/// What looking at the server came to.
type Looked = Result<Sample, String>;

fn keep_looking(api: Api, query: Query, interval: Duration) -> Receiver<Looked> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        loop {
            thread::sleep(interval);
            let looked = Sample::take(&api, &query, MOST).map_err(|failure| failure.message);
            if sender.send(looked).is_err() {
                return;
            }
        }
    });
    receiver
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    view: &mut View,
    history: &mut History,
    samples: &Receiver<Looked>,
) -> io::Result<()> {
    loop {
        terminal.draw(|frame| {
            let area = frame.area();
            view::draw(view, history, area, frame.buffer_mut());
        })?;
        loop {
            let mut has_changed = false;
            if event::poll(BLINK)? {
                match event::read()? {
                    Event::Key(key) => match view.hear(key) {
                        Heard::End => return Ok(()),
                        Heard::Something => has_changed = true,
                        Heard::Nothing => {}
                    },
                    Event::Resize(..) => has_changed = true,
                    _ => {}
                }
            }
            loop {
                match samples.try_recv() {
                    Ok(_) if view.is_stopped() => {}
                    Ok(Ok(sample)) => {
                        history.add(sample);
                        view.trouble = None;
                        has_changed = true;
                    }
                    Ok(Err(why)) => {
                        view.trouble = Some(why);
                        has_changed = true;
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        return Err(io::Error::other("the look-out has failed"));
                    }
                }
            }
            if has_changed {
                break;
            }
        }
    }
}

/// One view as lines of text: as wide as the terminal, or as it needs to be.
fn print(view: &View, history: &History) -> Result<(), Failure> {
    let (width, height) = view::natural(view, history);
    let width = match ratatui::crossterm::terminal::size() {
        Ok((columns, _)) if io::stdout().is_terminal() => columns.max(1),
        _ => width,
    };
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    view::draw_once(view, history, area, &mut buffer);
    for y in 0..height {
        let line: String = (0..width).filter_map(|x| buffer.cell((x, y))).map(|cell| cell.symbol()).collect();
        show::say(line.trim_end())?;
    }
    Ok(())
}
