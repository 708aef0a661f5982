//! A job that ends the server the moment it is handed out is not handed out for ever.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::Server;

fn serve(data: &Path) -> Server {
    let fixed = ["--data-dir", data.to_str().unwrap(), "--http", "off"];
    Server::serve(&[&fixed[..], &["--job-attempts", "3"]].concat())
}

#[test]
fn attempts_are_counted_although_each_kills_the_server_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = serve(folder.path());
    server.connect().submit_bg("poison", "", b"");
    for attempt in 1..=4 {
        let mut worker = server.connect();
        worker.can_do("poison");
        let is_handed_out = worker.grab().is_some();
        server.signal(Signal::SIGKILL);
        assert_eq!(is_handed_out, attempt <= 3, "attempt {attempt}");
        server.wait();
        server = serve(folder.path());
    }
}
