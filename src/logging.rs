//! A stand-in.
use std::io;
use std::path::PathBuf;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

/// What is logged, how and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is logged.
    pub level: Targets,
    /// What a line looks like.
    pub format: Format,
    /// Where lines go.
    pub to: Destination,
}

/// What a line looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// Standard error.
    Stderr,
    /// The end of this file.
    File(PathBuf),
}

/// Starts logging.
pub fn start(options: Options) -> io::Result<()> {
    let writer: Box<dyn Fn() -> Box<dyn io::Write> + Send + Sync> = match options.to {
        Destination::Stderr => Box::new(|| Box::new(io::stderr())),
        Destination::File(path) => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            Box::new(move || Box::new(file.try_clone().expect("clone")))
        }
    };
    let layer = fmt::layer().with_ansi(false).with_writer(writer);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match options.format {
        Format::Text => layer.boxed(),
        Format::Json => layer.json().boxed(),
    };
    tracing_subscriber::registry().with(layer).with(options.level).try_init().map_err(io::Error::other)
}

/// Reopens.
pub fn reopen() {}
