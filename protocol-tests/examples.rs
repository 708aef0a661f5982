//! The examples of the documents, run as they stand: each block of `sh` in its order, against a server with its
//! defaults. Only the ports are others, since several servers run beside each other here.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::http::{Api, serve};
use super::support::Server;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

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

/// Runs them against this server.
pub fn run_examples_of(document: &str, server: &Server, api: &Api) {
    let text = fs::read_to_string(Path::new(ROOT).join(document)).expect("documents are readable");
    let address = server.address().to_string();
    let blocks = blocks_of(&text);
    assert!(!blocks.is_empty(), "{document} has examples");
    let script = format!("set -eu -o pipefail\n{}", blocks.join("\n"))
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

/// The blocks that are marked as `sh`.
fn blocks_of(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<Vec<&str>> = None;
    for line in text.lines() {
        match &mut block {
            None if line == "```sh" => block = Some(Vec::new()),
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
