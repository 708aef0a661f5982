//! Scripts for shells and manual pages: there for every command, and understood by who reads them.

use std::fs;
use std::process::Command;

use super::run::{run, text};

#[test]
fn each_shell_gets_a_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).well();
        for word in ["schedules", "disconnect", "--min-age", "low"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
    }
    assert!(run(&["completions", "tcsh"]).with_code(2).contains("possible values"));
}

#[test]
fn bash_completes_by_its_script() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gearhouse.bash");
    fs::write(&file, run(&["completions", "bash"]).well()).unwrap();
    let ask = r#". "$0"; COMP_WORDS=(gearhouse jobs ca); COMP_CWORD=2
        _gearhouse gearhouse ca jobs; echo "${COMPREPLY[@]}""#;
    let answer = Command::new("bash").args(["-c", ask, text(&file)]).output().expect("run bash");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "cancel\n", "{answer:?}");
}

#[test]
fn every_command_has_a_manual_page_with_its_options_and_examples() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    run(&["man", text(&pages)]).well();
    let page = |name: &str| fs::read_to_string(pages.join(name)).expect(name);
    let jobs = page("gearhouse-jobs.1");
    assert!(jobs.starts_with(".ie") && jobs.contains(".TH"), "{jobs}");
    assert!(jobs.contains(r"\-\-min\-age") && jobs.contains("customer"), "{jobs}");
    for name in
        ["gearhouse.1", "gearhouse-serve.1", "gearhouse-job-log.1", "gearhouse-functions-policy-set.1"]
    {
        assert!(page(name).contains(".SH NAME"), "{name}");
    }
    assert_eq!(run(&["man"]).well(), page("gearhouse.1"));
}
