//! The programs that play client and worker, one for each library.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// One library.
pub struct Library {
    pub name: &'static str,
    command: Vec<String>,
    /// The priorities that it can ask for.
    pub priorities: &'static [char],
    /// Whether it can wait twice for one job on one connection.
    pub pairs: bool,
}

/// The libraries. One that is missing fails the test.
pub fn all() -> Vec<Library> {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop");
    std::fs::create_dir_all(&built).unwrap();
    let player = |name: &str| {
        let players = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-tests/load/players");
        players.join(name).to_str().unwrap().to_owned()
    };
    let in_c = built.join("kills-player").to_str().unwrap().to_owned();
    let python = built.join("python/bin/python").to_str().unwrap().to_owned();
    must_succeed(&["cc", "-O1", "-o", &in_c, &player("player.c"), "-lgearman"]);
    must_succeed(&[&python, "-c", "import gear, gearman"]);
    must_succeed(&["php", "-r", "exit(extension_loaded('gearman') ? 0 : 1);"]);
    must_succeed(&["perl", "-MGearman::Client", "-MGearman::Worker", "-e1"]);
    let (all, no_low): (&[char], &[char]) = (&['h', 'n', 'l'], &['h', 'n']);
    let (php, perl) = (player("player.php"), player("player.pl"));
    let library = |name, command, priorities, pairs| Library { name, command, priorities, pairs };
    vec![
        library("libgearman", vec![in_c], all, true),
        library("gear", vec![python, player("player_gear.py")], all, false),
        library("php-gearman", vec!["php".into(), php], all, true),
        library("Gearman::Client", vec!["perl".into(), perl], no_low, false),
    ]
}

fn must_succeed(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}: run protocol-tests/setup", words[0]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: run protocol-tests/setup: {said}", words.join(" "));
}

/// A running player, killed at the end at the latest.
pub struct Player {
    child: Child,
    journal: PathBuf,
    errors: PathBuf,
}

impl Player {
    pub fn client(library: &Library, server: SocketAddr, files: &Path, client: usize, plan: &str) -> Player {
        let path = files.join(format!("plan-{client}"));
        std::fs::write(&path, plan).unwrap();
        Player::start(
            library,
            "client",
            server,
            files,
            &format!("client-{client}"),
            &[path.to_str().unwrap()],
        )
    }

    pub fn worker(library: &Library, server: SocketAddr, files: &Path, functions: &[&str]) -> Player {
        Player::start(library, "worker", server, files, "worker", functions)
    }

    fn start(
        library: &Library,
        role: &str,
        server: SocketAddr,
        files: &Path,
        name: &str,
        rest: &[&str],
    ) -> Player {
        let (journal, errors) = (files.join(name), files.join(format!("{name}.errors")));
        let stderr = std::fs::File::create(&errors).unwrap();
        let child = Command::new(&library.command[0])
            .args(&library.command[1..])
            .args([role, &server.ip().to_string(), &server.port().to_string()])
            .arg(&journal)
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Player { child, journal, errors }
    }

    /// What it has noted so far.
    pub fn journal(&self) -> String {
        std::fs::read_to_string(&self.journal).unwrap_or_default()
    }

    /// What it has complained of.
    pub fn said(&mut self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.kill();
    }
}
