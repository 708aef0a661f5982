//! The HTTP API by its OpenAPI document: tests that are made from it, and a client that is.
//!
//! `protocol-tests/setup` installs what makes them. README.md beside this file tells how to run them for longer.
#![allow(missing_docs, unreachable_pub, reason = "nothing here is used from outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::{Server, eventually};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The seed of each run that is given no other: what is found here is found everywhere.
const SEED: &str = "4730";

/// Cases that are made up for each operation.
const CASES: &str = "15";

/// Whatever is waited for here ends by itself; and all that is said in the file has a place to be seen.
const CONFIG: &str = "[policy.\"*\"]\nwait_timeout = \"200ms\"\nrun_timeout = \"1h\"\n\n\
    [policy.\"file.*\"]\nmax_waiting = 10\nlease = \"30s\"\n";

/// A server with the HTTP API, and one worker that answers.
struct Stage {
    files: tempfile::TempDir,
    worker: Child,
    api: String,
    server: Server,
}

impl Stage {
    fn set() -> Stage {
        let files = tempfile::tempdir().unwrap();
        let (config, data) = (files.path().join("gearhouse.toml"), files.path().join("data"));
        std::fs::write(&config, CONFIG).unwrap();
        let [config, data] = [&config, &data].map(|path| path.to_str().unwrap());
        let server = Server::serve(&[
            "--http",
            "127.0.0.1:0",
            "--http-rate",
            "unlimited",
            "--handle-prefix",
            "H:test",
            "--config",
            config,
            "--data-dir",
            data,
        ]);
        let api = eventually("the server logs where HTTP is", || {
            let log = server.log();
            let (_, rest) = log.split_once("HTTP on ")?;
            Some(rest.split_once("/api/")?.0.to_owned())
        });
        let worker = Command::new(env!("CARGO_BIN_EXE_gearhouse"))
            .args(["work", "echo", "--server", &server.address().to_string(), "--", "cat"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Stage { files, worker, api, server }
    }

    /// A program of those that `protocol-tests/setup` installed, to be told of the server.
    fn program(&self, name: &str) -> Command {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("api").join("bin").join(name);
        assert!(program.exists(), "{} is not there: run protocol-tests/setup", program.display());
        let mut command = Command::new(program);
        command
            .current_dir(self.files.path())
            .stdin(Stdio::null())
            .env("PYTHONPATH", format!("{}:{}", here().display(), self.files.path().display()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONHASHSEED", "0")
            .env("API", &self.api)
            .env("GEARMAN_PORT", self.server.address().port().to_string());
        command
    }

    /// Runs a program to its end, which must be a good one.
    #[track_caller]
    fn run(&self, command: &mut Command) {
        let ran = command.output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{command:?}: {}\n{said}", ran.status);
        println!("{said}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

fn here() -> PathBuf {
    Path::new(ROOT).join("protocol-tests/api")
}

fn setting(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

#[test]
fn whatever_is_asked_is_answered_as_the_document_says() {
    let mut stage = Stage::set();
    let mut command = stage.program("schemathesis");
    command.arg("--config-file").arg(here().join("schemathesis.toml")).arg("run");
    command.arg(format!("{}/api/v1/openapi.json", stage.api));
    let (seed, cases) = (setting("GEARHOUSE_API_SEED", SEED), setting("GEARHOUSE_API_CASES", CASES));
    // Without one it draws one, and tells it.
    if seed != "random" {
        command.args(["--seed", &seed]);
    }
    // That nothing is left to be acted on is a fault of the run that is known, and to be expected of a long one.
    if (&*seed, &*cases) != (SEED, CASES) {
        command.args(["--warnings", "off"]);
    }
    command.args(["--no-color", "--max-examples", &cases]);
    if let Ok(minutes) = std::env::var("GEARHOUSE_API_MINUTES") {
        let seconds = minutes.parse::<u32>().expect("GEARHOUSE_API_MINUTES is a number") * 60;
        command.args(["--max-time", &seconds.to_string()]);
    }
    stage.run(&mut command);
    assert!(stage.server.is_running());
    assert!(!stage.server.log().contains("panicked"), "{}", stage.server.log());
}

/// What docs/http-api.md says of generated clients is what is done here.
#[test]
fn a_client_made_from_the_document_can_do_everything() {
    let stage = Stage::set();
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/http-api.md")).unwrap();
    let block = |kind: &str| {
        let (_, rest) = text.split_once(&format!("```{kind}\n")).expect(kind);
        rest.split_once("```").unwrap().0.replace("http://127.0.0.1:4780", &stage.api)
    };
    std::fs::write(stage.files.path().join("client.yaml"), block("yaml")).unwrap();
    let generate = block("console");
    let words =
        generate.lines().find_map(|line| line.strip_prefix("$ openapi-python-client ")).expect("a command");
    // What it cannot make sense of it warns of: everything must be usable.
    stage.run(stage.program("openapi-python-client").args(words.split_whitespace()).arg("--fail-on-warning"));
    std::fs::write(stage.files.path().join("example.py"), block("python")).unwrap();
    stage.run(stage.program("python").arg("example.py"));
    stage.run(stage.program("python").arg(here().join("scenario.py")));
}
