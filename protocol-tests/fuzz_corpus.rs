//! The fuzz targets without a fuzzer: their corpora, and any bytes that proptest makes up, through the same checks.

#[path = "fuzz/checks.rs"]
mod checks;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

/// A corpus that lost its files would pass.
const FEWEST: usize = 20;

#[test]
fn the_corpus_of_decode_holds() {
    replay("decode", checks::decode);
}

#[test]
fn the_corpus_of_request_holds() {
    replay("request", checks::request);
}

#[test]
fn the_corpus_of_admin_line_holds() {
    replay("admin_line", checks::admin_line);
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-tests/fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("the folder can be read").path()).collect();
    paths.sort();
    assert!(paths.len() >= FEWEST, "{} has only {} files", folder.display(), paths.len());
    for path in paths {
        println!("{}", path.display());
        check(&fs::read(&path).expect("the file can be read"));
    }
}

/// Bytes that look a little like the protocol.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = || prop_oneof![4 => any::<u8>(), 2 => Just(0), 1 => Just(b'\n'), 1 => Just(b' ')];
    let magic =
        prop::sample::select(vec![&b"\0REQ\0\0\0"[..], b"\0RES\0\0\0", b"H:1\0", b"show ", b"\0\0\0\x05"]);
    let part = prop_oneof![magic.prop_map(<[u8]>::to_vec), prop::collection::vec(byte(), 0..30)];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_bytes_pass_decode(input in bytes()) {
        checks::decode(&input);
    }

    #[test]
    fn any_bytes_pass_request(input in bytes()) {
        checks::request(&input);
    }

    #[test]
    fn any_bytes_pass_admin_line(input in bytes()) {
        checks::admin_line(&input);
    }
}
