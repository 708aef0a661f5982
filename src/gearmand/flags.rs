//! gearmand's flags, one row each: names, kind of value, what becomes of it here, and the line in `--help`.
//! The rows are gearmand 1.1.20's, with the stores of every build.

/// One flag.
pub(super) struct Flag {
    /// The long name, without its dashes.
    pub(super) name: &'static str,
    /// The letter of its short form.
    pub(super) short: Option<u8>,
    pub(super) takes: Takes,
    pub(super) support: Support,
    /// What stands for the value in the help, and the value when the flag is not given.
    placeholder: &'static str,
    default: &'static str,
    help: &'static str,
}

/// What may follow a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Text,
    /// One of [`LEVELS`].
    Level,
    /// A whole number within these bounds, both included.
    Number(i128, i128),
    /// A whole number other than zero, this far from it at most.
    NonZero(i128),
}

/// What Gearhouse does with a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// It means what it means to gearmand.
    Full,
    /// It is accepted and changes nothing. The text says why.
    NoMeaning(&'static str),
    /// Leaving it out of account would weaken what was asked, so the server does not start. The text says what
    /// to use instead.
    Refused(&'static str),
}

/// The words `--verbose` knows, from the fewest messages to the most.
pub(super) const LEVELS: [&str; 8] =
    ["FATAL", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"];

/// Where Debian's gearmand looks when `--config-file` is not given.
pub(super) const DEFAULT_CONFIG_FILE: &str = "/etc/gearmand.conf";
/// Where Debian's gearmand logs when `--log-file` is not given.
pub(super) const DEFAULT_LOG_FILE: &str = "/var/log/gearmand.log";
/// Where Debian's gearmand writes its process id when `--pid-file` is not given.
pub(super) const DEFAULT_PID_FILE: &str = "/var/gearmand.pid";

const INT: Takes = Takes::Number(i32::MIN as i128, i32::MAX as i128);
// Number readers of C++ take a minus sign for unsigned numbers too, and so does gearmand when it reads its flags.
const U16: Takes = Takes::Number(-(u16::MAX as i128), u16::MAX as i128);
const U32: Takes = Takes::Number(-(u32::MAX as i128), u32::MAX as i128);
const U64: Takes = Takes::Number(-(u64::MAX as i128), u64::MAX as i128);

const OTHER_STORE: &str = "no --queue-type other than builtin is in use";
const OTHER_TLS: &str = "--ssl is not in use";

/// All flags under their headings, in the order of the help.
#[rustfmt::skip] // one row a flag
pub(super) const SECTIONS: &[(&str, &[Flag])] = &[
    ("Network", &[
        text("listen", Some(b'L'), "ADDRESS", "every address", "Host name or address to listen on; a name stands for all its addresses."),
        text("port", Some(b'p'), "PORT", "GEARMAND_PORT, else service gearman, else 4730", "Port number or service name."),
        number("backlog", Some(b'b'), INT, "N", "1024", "Connections the system may hold back until they are accepted."),
        number("threads", Some(b't'), U32, "N", "0: chosen by the machine", "Threads that serve connections, at most one for each processor."),
        number("file-descriptors", Some(b'f'), U64, "N", "as many as allowed", "Open files allowed; each connection needs one."),
        switch("keepalive", None, "Use the three values below; probes themselves are always sent."),
        number("keepalive-idle", None, INT, "SECONDS", "-1: the system's", "Silence before the first probe."),
        number("keepalive-interval", None, INT, "SECONDS", "-1: the system's", "Time between probes."),
        number("keepalive-count", None, INT, "N", "-1: the system's", "Unanswered probes until a peer is given up."),
    ]),
    ("Jobs", &[
        number("job-retries", Some(b'j'), U32, "N", "-1: no limit", "How often a job is handed out, at most, when workers vanish with it; 0 is no limit too."),
        text("job-handle-prefix", None, "PREFIX", "H: and the host's name", "What job handles start with."),
        number("worker-wakeup", Some(b'w'), U32, "N", "one for each ready job", "Sleeping workers woken for each job that comes in; 0 wakes all."),
        switch("round-robin", Some(b'R'), "Take turns between a worker's functions; this is always so."),
        switch("exceptions", None, "Send exceptions to clients that did not ask for them too."),
        number("hashtable-buckets", None, Takes::NonZero(u32::MAX as i128), "N", "991", "Size of gearmand's tables.")
            .no_meaning("tables grow as they need to"),
    ]),
    ("Process", &[
        switch("daemon", Some(b'd'), "Run in the background, detached from the terminal."),
        text("pid-file", Some(b'P'), "FILE", DEFAULT_PID_FILE, "Where the process id is written; removed at exit."),
        text("user", Some(b'u'), "USER", "", "User to become once the addresses are bound; only root can."),
        switch("coredump", None, "Allow core dumps."),
        text("config-file", None, "FILE", DEFAULT_CONFIG_FILE, "Further flags, divided by blanks or lines; the command line wins."),
        switch("check-args", None, "Say by exit code 0 or 1 whether the flags can be understood, and end."),
        switch("help", Some(b'h'), "Print this help and end."),
        switch("version", Some(b'V'), "Print the version and end."),
    ]),
    ("Log", &[
        text("log-file", Some(b'l'), "FILE", DEFAULT_LOG_FILE, "Where messages go: a file, stderr or none. SIGHUP opens the file anew."),
        level("verbose", "ERROR", "The least important messages to log: FATAL, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO or DEBUG."),
        switch("syslog", None, "Log to syslog as well."),
    ]),
    ("Not provided by Gearhouse: the server does not start with these", &[
        text("queue-type", Some(b'q'), "NAME", "builtin", "Where jobs are kept; only builtin, in memory."),
        text("protocol", Some(b'r'), "NAME", "", "Further protocol."),
        switch("ssl", None, "TLS.")
            .refused("TLS is not provided yet; listen on localhost and let a TLS proxy such as stunnel or haproxy stand in front"),
        switch("store-queue-on-shutdown", None, "Store queued jobs at exit.")
            .refused("jobs are kept in memory only; `gearhouse serve --data-dir DIR` keeps background jobs on disk"),
    ]),
    ("Without effect here", &[
        text("http-port", None, "PORT", "8080", "Port of --protocol http.")
            .no_meaning("--protocol http is not in use"),
        text("ssl-ca-file", None, "FILE", "", "Certificate authorities.").no_meaning(OTHER_TLS),
        text("ssl-certificate", None, "FILE", "", "Certificate.").no_meaning(OTHER_TLS),
        text("ssl-key", None, "FILE", "", "Key of the certificate.").no_meaning(OTHER_TLS),
        store("libsqlite3-db"), store("libsqlite3-table"),
        store("libmemcached-servers"), store("libmemcached-prefix"),
        store("libpq-conninfo"), store("libpq-table"),
        store("redis-server"), store("redis-port"), store("redis-password"), store("redis-prefix"),
        store("mysql-host"), number("mysql-port", None, U16, "PORT", "", "").no_meaning(OTHER_STORE),
        store("mysql-user"), store("mysql-password"), store("mysql-db"), store("mysql-table"),
        store("libdrizzle-host"), store("libdrizzle-port"), store("libdrizzle-user"), store("libdrizzle-password"),
        store("libdrizzle-db"), store("libdrizzle-table"),
        switch("libdrizzle-mysql", None, "").no_meaning(OTHER_STORE),
        store("libtokyocabinet-file"),
        switch("libtokyocabinet-optimize", None, "").no_meaning(OTHER_STORE),
    ]),
];

/// All flags.
pub(super) fn all() -> impl Iterator<Item = &'static Flag> {
    SECTIONS.iter().flat_map(|(_, flags)| flags.iter())
}

/// The flag with this short form.
pub(super) fn by_letter(letter: u8) -> Option<&'static Flag> {
    all().find(|flag| flag.short == Some(letter))
}

/// The text of `--help`.
pub(super) fn help() -> String {
    let mut text = String::from(
        "Gearhouse with gearmand's command line.\n\nUsage: gearmand [FLAG]...\n\n\
         A flag's value follows it as the next word or, after a long name, behind '='.\n",
    );
    for (heading, flags) in SECTIONS {
        text.push_str(&format!("\n{heading}:\n"));
        for flag in *flags {
            let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{}, ", char::from(letter)));
            let value = if flag.takes == Takes::Nothing { "" } else { flag.placeholder };
            text.push_str(format!("  {short}--{} {value}", flag.name).trim_end());
            text.push('\n');
            if !flag.help.is_empty() {
                text.push_str(&format!("          {}", flag.help));
                if !flag.default.is_empty() {
                    text.push_str(&format!(" [default: {}]", flag.default));
                }
                text.push('\n');
            }
        }
    }
    text
}

const fn switch(name: &'static str, short: Option<u8>, help: &'static str) -> Flag {
    Flag { name, short, takes: Takes::Nothing, support: Support::Full, placeholder: "", default: "", help }
}

const fn text(
    name: &'static str,
    short: Option<u8>,
    placeholder: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, short, takes: Takes::Text, support: Support::Full, placeholder, default, help }
}

const fn number(
    name: &'static str,
    short: Option<u8>,
    takes: Takes,
    placeholder: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, short, takes, support: Support::Full, placeholder, default, help }
}

const fn level(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        takes: Takes::Level,
        support: Support::Full,
        placeholder: "LEVEL",
        default,
        help,
    }
}

const fn store(name: &'static str) -> Flag {
    text(name, None, "VALUE", "", "").no_meaning(OTHER_STORE)
}

impl Flag {
    const fn no_meaning(mut self, why: &'static str) -> Self {
        self.support = Support::NoMeaning(why);
        self
    }

    const fn refused(mut self, instead: &'static str) -> Self {
        self.support = Support::Refused(instead);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_and_letter_stands_for_one_flag() {
        let mut seen = HashSet::new();
        for flag in all() {
            assert!(seen.insert(flag.name.to_owned()), "{} twice", flag.name);
            if let Some(letter) = flag.short {
                assert!(seen.insert(char::from(letter).to_string()), "-{} twice", char::from(letter));
            }
        }
    }
}
