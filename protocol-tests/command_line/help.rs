//! Help that teaches, and complaints that name what is wrong.

use std::collections::BTreeSet;

use super::run::{end, gearhouse, run};

const COMMANDS: [&[&str]; 19] = [
    &[],
    &["serve"],
    &["submit"],
    &["work"],
    &["jobs"],
    &["job"],
    &["functions"],
    &["functions", "policy"],
    &["workers"],
    &["schedules"],
    &["load"],
    &["top"],
    &["admin"],
    &["admin", "max-queue"],
    &["bench"],
    &["store"],
    &["token"],
    &["completions"],
    &["man"],
];

/// Commands that have commands, and what is typed to reach these. The manual names them by all words behind the first.
const GROUPS: [(&[&str], &[&str]); 9] = [
    (&["admin"], &["admin"]),
    (&["store"], &["store"]),
    (&["jobs"], &["jobs"]),
    (&["job"], &["job", "H:a:1"]),
    (&["functions"], &["functions"]),
    (&["functions", "policy"], &["functions", "policy"]),
    (&["workers"], &["workers"]),
    (&["schedules"], &["schedules"]),
    (&["token"], &["token"]),
];

fn help(command: &[&str]) -> String {
    run(&[command, &["--help"]].concat()).well()
}

#[test]
fn the_help_of_each_command_has_examples() {
    for command in COMMANDS {
        let help = help(command);
        let (_, examples) =
            help.split_once(if command.is_empty() { "Try it" } else { "Examples:" }).expect(&help);
        let shown = examples.lines().filter(|line| line.trim_start().contains("gearhouse")).count();
        assert!(shown >= 2, "{command:?}: {help}");
    }
}

#[test]
fn the_manual_names_every_option_and_command_and_none_that_does_not_exist() {
    let manual = include_str!("../../docs/command-line.md");
    let mut named_by_help = BTreeSet::new();
    for command in COMMANDS {
        named_by_help.extend(options(&help(command)));
    }
    for (group, reached) in GROUPS {
        let help_of_group = help(group);
        let (_, list) = help_of_group.split_once("Commands:\n").unwrap();
        let (list, _) = list.split_once("\n\n").unwrap();
        for line in list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let command = line.split_whitespace().next().unwrap();
            if command == "help" {
                continue;
            }
            let named = [&group[1..], &[command]].concat().join(" ");
            assert!(
                manual.contains(&format!("`{named}")),
                "docs/command-line.md lacks {group:?}'s {command}"
            );
            named_by_help.extend(options(&help(&[reached, &[command]].concat())));
        }
    }
    let (_, here) = manual.split_once("## The server").expect("the manual's parts");
    let named_by_manual = options(here);
    let lacking: Vec<_> = named_by_help.difference(&named_by_manual).collect();
    assert!(lacking.is_empty(), "docs/command-line.md lacks {lacking:?}");
    let unknown: Vec<_> = named_by_manual.difference(&named_by_help).collect();
    assert!(unknown.is_empty(), "docs/command-line.md names {unknown:?}, which no command has");
}

/// Everything in a text that looks like a long option.
fn options(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = text.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("--") && !word.ends_with('-')).map(str::to_owned).collect()
}

#[test]
fn the_version_is_told() {
    assert_eq!(run(&["--version"]).well(), format!("gearhouse {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_option_or_value_is_named() {
    let cases: [(&[&str], &str); 12] = [
        (&["sevre"], "'sevre'"),
        (&["serve", "--max-fram", "1"], "'--max-fram'"),
        (&["serve", "--max-frame", "huge"], "'huge' for '--max-frame"),
        (&["serve", "--frame-timeout", "30"], "'30' for '--frame-timeout"),
        (&["serve", "--store", "redis"], "possible values: sqlite, memory"),
        (&["serve", "--exceptions=maybe"], "'maybe' for '--exceptions"),
        (&["serve", "--listen", "4730"], "write :4730"),
        (&["submit"], "FUNCTION"),
        (&["submit", "f", "--priority", "urgent"], "high, normal, low"),
        (&["submit", "f", "--at", "soon"], "'soon' for '--at"),
        (&["work", "f"], "COMMAND"),
        (&["admin", "staus"], "'staus'"),
    ];
    for (args, named) in cases {
        let ended = run(args);
        assert!(ended.with_code(2).contains(named), "{args:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty(), "{args:?} wrote its complaint to standard output");
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let cases: [&[&str]; 4] = [
        &["submit", "f", "x", "--at", "+1m", "--every", "* * * * *"],
        &["submit", "f", "x", "--at", "+1m", "--priority", "high"],
        &["submit", "f", "x", "--reducer", "r", "--priority", "low"],
        &["submit", "f", "x", "--lines"],
    ];
    for args in cases {
        assert!(run(args).with_code(2).contains("cannot be used with"), "{args:?}");
    }
}

#[test]
fn an_environment_variable_that_is_no_option_is_named() {
    let ended = end(gearhouse(&["admin", "status"]).env("GEARHOUSE_OPT_MAX_FRAM", "1"), b"");
    assert!(ended.with_code(2).contains("GEARHOUSE_OPT_MAX_FRAM;"), "{}", ended.stderr);
}

#[test]
fn help_is_shown_whatever_the_environment_says() {
    for command in COMMANDS {
        let mut asked = gearhouse(&[command, &["--help"]].concat());
        asked.env("GEARHOUSE_OPT_MAX_FRAM", "1").env("GEARHOUSE_OPT_MAX_FRAME", "huge");
        assert!(end(&mut asked, b"").well().contains("Usage:"), "{command:?}");
    }
    assert!(run(&["help", "serve"]).well().contains("--max-frame"));
}

#[test]
fn a_wrong_value_in_the_environment_is_named_with_its_variable() {
    let ended = end(gearhouse(&["serve"]).env("GEARHOUSE_OPT_MAX_FRAME", "huge"), b"");
    let said = ended.with_code(2);
    assert!(
        said.contains("'huge'") && said.contains("environment variable GEARHOUSE_OPT_MAX_FRAME"),
        "{said}"
    );

    let ended = end(gearhouse(&["serve", "--max-frame", "big"]).env("GEARHOUSE_OPT_MAX_FRAME", "1MiB"), b"");
    let said = ended.with_code(2);
    assert!(said.contains("'big'") && !said.contains("environment variable"), "{said}");
}
