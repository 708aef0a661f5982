//! Command lines checked by Gearhouse and by Debian's gearmand: the exit codes are the same.

use std::process::Command;

use super::server::{Folder, debians, finish, stderr, stdout};

/// Each is checked behind `--check-args`.
const LINES: &[&[&str]] = &[
    &[],
    // Forms of a value.
    &["--port=4731"],
    &["--port", "4731"],
    &["-p", "4731"],
    &["-p4731"],
    &["-p=4731"],
    &["--port==4731"],
    &["--port=", "4731"],
    &["--port="],
    &["--port", ""],
    &["--port"],
    &["-p"],
    &["-p", ""],
    &["--port 4731"],
    &["--port", "-1"],
    &["--port", "--daemon"],
    &["--port", "--port=3"],
    &["--port", "--"],
    &["--port", "-"],
    &["--port", "-d"],
    &["--port", "-p"],
    &["--port", "-dR"],
    &["--port", "-Z"],
    &["--port", "--", "word"],
    &["--log-file", "-l"],
    &["-l", "--log-file"],
    // Letters together.
    &["-dR"],
    &["-dRp", "4731"],
    &["-dRp4731"],
    &["-dp"],
    &["-dd"],
    &["-dZ"],
    &["-d5"],
    &["-Zd"],
    &["-hV"],
    // Values where none belong.
    &["--daemon=1"],
    &["--daemon="],
    &["-d=1"],
    &["--ssl=1"],
    &["--round-robin=yes"],
    &["--help=1"],
    &["--check-args"],
    // Abbreviations, bare words, unknown names, other writing.
    &["--verb", "INFO"],
    &["--verb=INFO"],
    &["--por=1"],
    &["--keepalive-i=1"],
    &["--PORT=1"],
    &["-v"],
    &["-vvv"],
    &["-D"],
    &["word"],
    &[""],
    &["-"],
    &["--"],
    &["--", "word"],
    &["--", "--port=1"],
    &["---port=1"],
    &["--=1"],
    &["--unheard-of"],
    &["--unheard-of=1"],
    &["--unheard-of="],
    &["@/etc/gearmand.conf"],
    // More than once.
    &["--port", "1", "--port", "2"],
    &["-p", "1", "--port", "1"],
    &["--listen", "localhost", "-L", "127.0.0.1"],
    &["-d", "--daemon"],
    &["--verbose=INFO", "--verbose=INFO"],
    // Levels.
    &["--verbose=FATAL"],
    &["--verbose=ALERT"],
    &["--verbose=CRITICAL"],
    &["--verbose=ERROR"],
    &["--verbose=WARNING"],
    &["--verbose=NOTICE"],
    &["--verbose=INFO"],
    &["--verbose=DEBUG"],
    &["--verbose", "DEBUG"],
    &["--verbose=info"],
    &["--verbose=Info"],
    &["--verbose=WARN"],
    &["--verbose=6"],
    &["--verbose= INFO"],
    &["--verbose", ""],
    &["--verbose="],
    &["--verbose"],
    // Words that gearmand looks at only when it starts.
    &["--port=abc"],
    &["--port=65536"],
    &["--listen=nowhere.invalid"],
    &["--listen="],
    &["--listen", ""],
    &["--user=nobody-of-this-name"],
    &["--queue-type=foo"],
    &["--queue-type", ""],
    &["-q", "libsqlite3", "--libsqlite3-db=x"],
    &["-q", "MySQL"],
    &["-q", "BUILTIN"],
    &["--protocol=foo"],
    &["--protocol=http", "--http-port=8081"],
    &["--ssl", "--ssl-ca-file=a", "--ssl-certificate=b", "--ssl-key=c"],
    &["--store-queue-on-shutdown"],
    &["--log-file=/nowhere/log"],
    &["--pid-file=/nowhere/pid"],
    &["--job-handle-prefix", "a b"],
    &["--job-handle-prefix=0123456789012345678901234567890123456789012345678901234567890123456789"],
    &["--http-port=abc"],
    &["--redis-port=abc"],
    // Everything at once that asks for something else.
    &["--help"],
    &["-h"],
    &["--version"],
    &["-V"],
    &["--help", "--unheard-of"],
    &["-V", "--backlog=abc"],
    &["-V", "--verbose=x"],
    // The configuration file.
    &["--config-file=/nowhere/gearmand.conf"],
    &["--config-file", "/nowhere/gearmand.conf", "-V"],
    &["--config-file", ""],
    &["--config-file="],
    &["--config-file=/dev/null"],
    // What packages and their init scripts start it with.
    &["--listen=localhost", "--daemon", "--log-file=/var/log/gearman-job-server/gearmand.log"],
    &["--pid-file=/run/gearman/gearmand.pid", "--user=gearman", "--listen=localhost", "--daemon"],
    &["-d", "-u", "gearman", "-L", "127.0.0.1", "-p", "4730", "-t", "4", "-j", "3", "-l", "stderr"],
    &["--daemon", "--syslog", "--coredump", "--exceptions", "--round-robin", "--keepalive"],
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "+1",
    "-0",
    "010",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "-4294967295",
    "-4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "-18446744073709551615",
    "-18446744073709551616",
    "99999999999999999999999999999999999999999",
    "",
    " 1",
    "1 ",
    "abc",
    "1x",
    "0x10",
    "1.5",
    "1e3",
    "1,000",
    "+",
    "-+1",
    "000000000000000000000000000000000000000000000000000000000001",
];

const NUMBER_FLAGS: &[&str] = &[
    "--backlog",
    "-b",
    "--file-descriptors",
    "-f",
    "--job-retries",
    "-j",
    "--threads",
    "-t",
    "--worker-wakeup",
    "-w",
    "--hashtable-buckets",
    "--keepalive-idle",
    "--keepalive-interval",
    "--keepalive-count",
    "--mysql-port",
];

#[test]
fn a_command_line_is_right_or_wrong_as_it_is_for_gearmand() {
    let folder = Folder::new();
    let mut lines: Vec<Vec<&str>> = LINES.iter().map(|line| line.to_vec()).collect();
    for flag in NUMBER_FLAGS {
        lines.extend(NUMBERS.iter().map(|number| vec![*flag, *number]));
    }
    let mut differences = Vec::new();
    for line in &mut lines {
        line.insert(0, "--check-args");
        let theirs = finish(Command::new(debians()).args(line.as_slice()));
        let ours = folder.run(line);
        let (theirs_code, ours_code) = (theirs.status.code(), ours.status.code());
        if theirs_code != ours_code {
            differences.push(format!("{line:?}: {ours_code:?} for {theirs_code:?}: {}", stderr(&ours)));
        }
        assert_eq!(stdout(&ours), "", "{line:?}");
        if ours_code == Some(1) {
            assert!(stderr(&ours).starts_with("gearmand: "), "{line:?}: {}", stderr(&ours));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_flag_of_gearmand_is_known_by_all_its_names() {
    let help = stdout(&finish(Command::new(debians()).arg("--help")));
    let folder = Folder::new();
    let mut count = 0;
    for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // `-b [ --backlog ] arg (=32)  …` or `--exceptions  …`
        let (names, rest) = if words[1] == "[" {
            (vec![words[0], words[2]], &words[4..])
        } else {
            (vec![words[0]], &words[1..])
        };
        for name in names {
            let mut args = vec!["--check-args", name];
            match (rest.first(), name) {
                (Some(&"arg"), "--verbose") => args.push("INFO"),
                (Some(&"arg"), "--config-file") => args.push("/dev/null"),
                (Some(&"arg"), _) => args.push("1"),
                _ => {}
            }
            let output = folder.run(&args);
            assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
            count += 1;
        }
    }
    assert!(count > 60, "only {count} names read out of:\n{help}");
}

#[test]
fn both_names_of_the_program_take_the_same_command_line() {
    let folder = Folder::new();
    for (line, code) in [(["--check-args", "--port=1"], 0), (["--check-args", "--por=1"], 1)] {
        assert_eq!(folder.run(&line).status.code(), Some(code), "gearmand {line:?}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gearhouse"));
        assert_eq!(
            finish(command.arg("gearmand").args(line)).status.code(),
            Some(code),
            "gearhouse gearmand {line:?}"
        );
    }
}

#[test]
fn a_check_tells_of_what_would_not_start_though_it_is_well_formed() {
    let output = Folder::new().run(&["--check-args", "--ssl"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("would not start: --ssl"), "{}", stderr(&output));
}

#[test]
fn flags_of_stores_debian_does_not_build_are_known_too() {
    let folder = Folder::new();
    for flag in ["--libdrizzle-host=x", "--libdrizzle-mysql", "--libtokyocabinet-file=x"] {
        assert_eq!(folder.run(&["--check-args", flag]).status.code(), Some(0), "{flag}");
    }
}
