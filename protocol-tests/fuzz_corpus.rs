//! The corpus of the fuzz targets, replayed in the plain test run.

use std::fs;
use std::path::Path;

#[path = "fuzz/checks.rs"]
mod checks;

/// Runs a check on every input of a corpus; how many there were.
fn replay(target: &str, check: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-tests/fuzz/corpus").join(target);
    let inputs = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    inputs.map(|input| check(&input)).count()
}

#[test]
fn the_decoder_takes_its_whole_corpus() {
    assert!(replay("decode", checks::decode) >= 50);
}

#[test]
fn the_admin_parser_takes_its_whole_corpus() {
    assert!(replay("admin_line", checks::admin_line) >= 20);
}
