//! The examples of the documents, run as they stand: each block of `sh` in its order, against a server with its
//! defaults. Only the ports are others, since several servers run beside each other here. What the server refuses fails an
//! example, unless a comment behind it says the status. A block of `toml` is a configuration that a server starts with.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::http::{Api, serve};
use super::support::Server;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What stands before the examples. A refusal is an error for curl, too; `refused STATUS COMMAND` wants one.
const BEFORE: &str = r#"
set -eu -o pipefail
curl() { command curl -fS "$@"; }
refused() {
    local status
    status=$(command "${@:2}" -o /dev/null -w '%{http_code}')
    [ "$status" = "$1" ] || { echo "answered $status, not $1: ${*:2}" >&2; exit 1; }
}
"#;

#[test]
fn what_operators_are_told_works() {
    let (server, api) = serve(&[]);
    run_examples_of("docs/operations.md", &server, &api);
}

#[test]
fn what_users_of_the_http_interface_are_told_works() {
    let (server, api) = serve(&[]);
    run_examples_of("docs/http-api.md", &server, &api);
}

#[test]
fn a_server_starts_with_each_configuration_that_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    for document in ["docs/operations.md", "docs/monitoring/README.md"] {
        let blocks = blocks_of(&read(document), "toml");
        assert!(!blocks.is_empty(), "{document} has configurations");
        for block in blocks {
            let file = folder.path().join("gearhouse.toml");
            fs::write(&file, block).expect("a file");
            serve(&["--store", "memory", "--config", file.to_str().expect("a path")]);
        }
    }
}

fn read(document: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(document)).expect("documents are readable")
}

/// Runs them against this server.
pub fn run_examples_of(document: &str, server: &Server, api: &Api) {
    let address = server.address().to_string();
    let blocks = blocks_of(&read(document), "sh");
    assert!(!blocks.is_empty(), "{document} has examples");
    let lines =
        blocks.iter().flat_map(|block| block.lines()).map(|line| match line.rsplit_once(" # answers ") {
            Some((command, status)) => format!("refused {status} {command}"),
            None => line.to_owned(),
        });
    let script = format!("{BEFORE}{}", lines.collect::<Vec<_>>().join("\n"))
        .replace("127.0.0.1:4780", api.address())
        .replace("127.0.0.1:4730", &address);
    let program = Path::new(env!("CARGO_BIN_EXE_gearhouse")).parent().expect("it lies in a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let ran = Command::new("bash")
        .args(["-x", "-c", &script])
        .env("PATH", format!("{}:{path}", program.display()))
        .env("GEARHOUSE_OPT_SERVER", &address)
        .env("GEARHOUSE_OPT_HTTP_URL", format!("http://{}", api.address()))
        .output()
        .expect("bash can be run");
    assert!(
        ran.status.success(),
        "{document}:\n{}\n{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// The blocks of a kind.
fn blocks_of(text: &str, kind: &str) -> Vec<String> {
    let begin = format!("```{kind}");
    let mut blocks = Vec::new();
    let mut block: Option<Vec<&str>> = None;
    for line in text.lines() {
        match &mut block {
            None if line == begin => block = Some(Vec::new()),
            None => {}
            Some(lines) if line == "```" => {
                blocks.push(lines.join("\n"));
                block = None;
            }
            Some(lines) => lines.push(line),
        }
    }
    blocks
}
