//! Client libraries as their users install them, each playing client and worker against a real server.
//!
//! `protocol-tests/setup` installs them; a library that is missing fails its test. README.md beside this file
//! tells how to run one, what every script must check, and what a library does not offer.
#![allow(clippy::disallowed_methods)] // deadlines of real processes are measured with the real clock

mod library;
mod report;
mod script;
mod server;

use library::Library;

/// Fails to compile unless libgearman's headers are there.
const HEADERS: &[&str] = &["cc", "-fsyntax-only", "-include", "libgearman/gearman.h", "-x", "c", "/dev/null"];

#[test]
fn the_gearman_and_gearadmin_tools_work_unchanged() {
    Library {
        name: "tools",
        needs: &[&["gearman", "-H"], &["gearadmin", "--help"], HEADERS],
        build: &[&["cc", "-O1", "-o", "{target}/tools-worker", "c/worker.c", "-lgearman"]],
    }
    .run(&["bash", "c/tools.sh", "{target}/tools-worker"]);
}

#[test]
fn libgearman_works_unchanged() {
    Library {
        name: "libgearman",
        needs: &[HEADERS],
        build: &[
            &["cc", "-O1", "-o", "{target}/libgearman-worker", "c/worker.c", "-lgearman"],
            &["cc", "-O1", "-o", "{target}/libgearman", "c/libgearman.c", "c/support.c", "-lgearman"],
        ],
    }
    .run(&["{target}/libgearman", "{target}/libgearman-worker"]);
}

#[test]
fn php_gearman_works_unchanged() {
    Library {
        name: "php-gearman",
        needs: &[&["php", "-r", "exit(extension_loaded('gearman') ? 0 : 1);"]],
        build: &[],
    }
    .run(&["php", "php/interop.php"]);
}

#[test]
fn gearman_for_perl_works_unchanged() {
    Library {
        name: "perl",
        needs: &[&["perl", "-MGearman::Client", "-MGearman::Worker", "-e1"]],
        build: &[],
    }
    .run(&["perl", "perl/interop.pl"]);
}
