//! What a library needs before its script can run, and the run itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report;
use crate::script;
use crate::server::{Server, Target};

/// One client library. In every command `{target}` stands for the directory of things built by the tests.
pub(crate) struct Library {
    /// As in the tables of README.md.
    pub(crate) name: &'static str,
    /// Commands that succeed only if the library is installed.
    pub(crate) needs: &'static [&'static [&'static str]],
    /// Commands that build the script.
    pub(crate) build: &'static [&'static [&'static str]],
}

impl Library {
    /// Runs the script against a server of its own. Panics unless everything README.md promises was shown.
    pub(crate) fn run(&self, script: &[&str]) {
        if let Err(problem) = self.try_run(script) {
            panic!("{}: {problem}", self.name);
        }
    }

    fn try_run(&self, script: &[&str]) -> Result<(), String> {
        std::fs::create_dir_all(built()).map_err(|error| format!("{}: {error}", built().display()))?;
        for need in self.needs {
            self.must_succeed(need)
                .map_err(|error| format!("not installed, run protocol-tests/setup ({error})"))?;
        }
        for step in self.build {
            self.must_succeed(step)?;
        }
        let outcome = script::run(command(script), Server::start(Target::chosen())?)?;
        report::check(self.name, &Target::chosen(), &outcome).map_err(|problem| {
            format!("{problem}\n--- script\n{}\n--- server\n{}", outcome.output, outcome.server_log)
        })?;
        print!("{}", outcome.output);
        Ok(())
    }

    fn must_succeed(&self, words: &[&str]) -> Result<(), String> {
        let output = command(words).output().map_err(|error| format!("{}: {error}", words.join(" ")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!("{}: {}\n{}", words.join(" "), output.status, String::from_utf8_lossy(&said)))
    }
}

/// Where the tests build things: `interop` in Cargo's target directory, as `protocol-tests/setup` has it.
pub(crate) fn built() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop")
}

/// The directory of this test.
pub(crate) fn interop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-tests/interop")
}

fn command(words: &[&str]) -> Command {
    let built = built();
    let expand = |word: &&str| word.replace("{target}", &built.to_string_lossy());
    let mut words = words.iter().map(expand);
    let mut command = Command::new(words.next().expect("a command has a first word"));
    command.args(words).current_dir(interop());
    command
}
