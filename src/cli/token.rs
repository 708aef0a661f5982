//! `gearhouse token`: access tokens of the HTTP API.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Failure;
use crate::http::tokens::{self, Scope};

pub(super) const HELP: &str = "\
The file has the tokens' hashes only. To take a token back, delete its part of the file: the server sees that at once.

Examples:
  gearhouse token create ci --scope submit --functions 'img.*' --file tokens.toml
  gearhouse token create grafana --scope read --file tokens.toml
  gearhouse serve --http :4780 --http-tokens tokens.toml";

#[derive(Args, Debug)]
pub(super) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a token, add its hash to the file, and print it: it cannot be shown again
    #[command(after_long_help = HELP)]
    Create {
        /// Whose token it is: what the server calls its user in logs
        name: String,
        /// What it allows; each includes those before it
        #[arg(long, value_name = "SCOPE")]
        scope: ScopeName,
        /// Functions that it is good for, `*` standing for any text; may be repeated [default: all]
        #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
        functions: Vec<String>,
        /// The file, made if there is none
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum ScopeName {
    /// To look at everything
    Read,
    /// To submit jobs
    Submit,
    /// To change what others submitted, and how the server works
    Operate,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Scope {
        match name {
            ScopeName::Read => Scope::Read,
            ScopeName::Submit => Scope::Submit,
            ScopeName::Operate => Scope::Operate,
        }
    }
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Command::Create { name, scope, functions, file } = self.command;
        if name.is_empty() {
            return Err(Failure::usage("a token needs a name"));
        }
        let token = tokens::create(&file, &name, scope.into(), &functions).map_err(Failure::refused)?;
        println!("{token}");
        Ok(())
    }
}
