//! `gearhouse completions` and `gearhouse man`: made from the same description of the command line as `--help`.

use std::io;
use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::Failure;
use super::show;

pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  gearhouse completions bash > /etc/bash_completion.d/gearhouse
  gearhouse completions zsh > ~/.zfunc/_gearhouse
  gearhouse completions fish > ~/.config/fish/completions/gearhouse.fish";

pub(super) const MAN_HELP: &str = "\
Examples:
  gearhouse man | man -l -                          the page of gearhouse itself
  gearhouse man /usr/local/share/man/man1           a page for each command: man gearhouse-jobs";

#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "gearhouse", &mut script);
        show::written(io::Write::write_all(&mut io::stdout().lock(), &script))
    }
}

#[derive(Args, Debug)]
pub(super) struct Man {
    /// Folder for the pages, one for each command; without it the first page goes to standard output
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(folder) = self.folder else {
            let mut page = Vec::new();
            // As the pages of a folder are: `help` needs none.
            let described = super::command().disable_help_subcommand(true);
            let rendered = clap_mangen::Man::new(described).render(&mut page);
            return show::written(
                rendered.and_then(|()| io::Write::write_all(&mut io::stdout().lock(), &page)),
            );
        };
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(super::command(), &folder));
        written.map_err(|error| {
            Failure::usage(format!("cannot write the pages to {}: {error}", folder.display()))
        })
    }
}
